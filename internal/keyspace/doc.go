// Package keyspace holds the pure values that every other package speaks of:
// Key, Type, Value, Slot and Digest.
//
// A value travels in one of two forms. Value holds it whole. A Visitor takes it
// piece by piece, so that a value of any size passes in bounded memory; the RDB
// decoder and the typed readers are sources of pieces, the digest, the command
// writer and the collector of a whole Value are sinks.
//
// The package does no I/O and knows no server.
package keyspace
