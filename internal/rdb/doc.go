// Package rdb reads what Redis (2.2 to 8) and Valkey (7.2 to 9) write of their data:
// RDB streams and DUMP payloads.
//
// A Reader takes an RDB apart into entries without decoding values: it skips to the
// end of each and hands out the raw bytes, which with a version and a CRC64 are the
// payload of RESTORE (AppendDump). A value over Options.MaxValue is not held: Walk
// streams it, element by element, to a keyspace.Visitor. WalkValue does the same with
// raw bytes in memory, and DecodeDump builds a whole value of a DUMP payload. An
// Encoder makes payloads that an older server, or one of the other flavor, reads:
// the same bytes if it knows their type, else the value in an older encoding.
//
// The table in types.go says everything about a type of values: which servers read
// it, how they hold it in memory, and its layout, which skips and walks the bytes.
//
// Invariants: no input makes the package panic or pass unnoticed when it is cut short
// or damaged; memory grows with the bytes that arrived, never with a length that the
// input claims; an error names the byte offset and, inside a value, the key.
//
// The package writes no RDB files and knows no server.
package rdb
