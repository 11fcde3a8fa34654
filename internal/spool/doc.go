// Package spool is the durable log between receiving a replication stream and applying it.
//
// One writer appends; any number of readers follow, each from the offset of its choice to
// the end and then along with it. The bytes are numbered by their replication offsets:
// a Log holds those from Begin to End, both included. An offset that says how far someone
// has come is the number of the last byte he has, so NewReader(offset) goes on with the
// byte offset+1, and a Log that was started after offset has Begin offset+1 and End offset.
//
// The invariant: what a reader gets is what was appended, byte for byte and without a gap,
// or an error. FORMAT.md specifies the files, what survives which crash, and recovery.
//
// Appending never waits for the disk: a goroutine of the Log makes it durable every second.
// The Log does not look at what it holds: frames are not commands.
package spool
