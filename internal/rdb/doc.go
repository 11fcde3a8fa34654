// Package rdb reads the formats in which Redis (2.2 to 8) and Valkey (7.2 to 9) write their data: RDB streams and DUMP payloads.
//
// A Reader divides an RDB into entries without decoding values: it skips to the end of each value and returns its raw bytes, which
// together with a version and a CRC64 are a payload for RESTORE (AppendDump). A value over Options.MaxValue is not held in memory:
// Walk streams it, element by element, to a keyspace.Visitor. WalkValue does the same for raw bytes in memory, and DecodeDump
// builds the whole value of a DUMP payload. An Encoder makes payloads for an older server, or one of the other flavor: the same
// bytes if the server knows their type, else the value in an older encoding.
//
// The table in types.go has a row for each type of values: which servers read it, how they hold it in memory, and its layout, which
// skips, walks and measures the bytes. A new encoding of a known data type is a new row; reencode.go writes it for older servers.
//
// Invariants: no input makes the package panic, and no input that is cut short or damaged goes unnoticed; memory grows with the
// bytes that have arrived, never with a length that the input claims; an error names the byte offset and, inside a value, the key.
//
// The package does not write RDB files and knows no server.
package rdb
