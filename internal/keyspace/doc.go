// Package keyspace holds the plain values that all other packages use: Key, Type, Value, Slot and Digest.
//
// A value has one of two forms. A Value holds it as a whole. A Visitor receives it piece by piece, so that a value of any size is
// processed in bounded memory. The RDB decoder and the typed readers produce pieces; the digest, the command writer and the
// collector of a whole Value receive them.
//
// The package does no I/O and knows no server.
package keyspace
