// Package psync is the replica's side of Redis replication: the handshake, the snapshot,
// the stream and the acknowledgements, on a connection that is already authenticated.
//
// A Session goes through these states; each step is one request and its one reply, never
// pipelined, since a server refuses PSYNC "with pending output".
//
//	greeting ---PING---> announcing ---REPLCONF listening-port---> offering ---REPLCONF capa---> naming ---REPLCONF version---> asking
//
//	asking --+-- +CONTINUE ------------------------------------------------------> streaming
//	         +-- +FULLRESYNC --> awaiting -- $len or $EOF: --> receiving --------> streaming
//	         +-- -ERR --> asking again, by SYNC ----> awaiting
//
// and from each of them to ended, by Close or by an error. There is no way back: what
// comes after an error is a new connection and a new Session.
//
// Offsets number the bytes of the stream. Session.Offset is the number of the byte before
// the first one that Read will return, so "PSYNC id Offset+1" asks for the same again.
// Every byte of the stream counts, whatever it is.
//
// What callers must know:
//
//   - After a full resynchronisation a primary selects a database in the stream before its
//     first command. A replica that serves as the source does not: the database is the
//     repl-stream-db of the snapshot. After a continuation nobody selects: the database is
//     part of the position that the caller has kept.
//   - A source drops a replica whose last Ack is older than its repl-timeout (60 s by
//     default): call Ack every second, also when there is nothing new.
//   - REPLCONF GETACK in the stream asks for an Ack at once.
//   - The source buffers for a replica that reads slowly and then drops it: read into the
//     spool, never at the pace of a target.
package psync
