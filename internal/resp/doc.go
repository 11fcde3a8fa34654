// Package resp frames the commands of a replication stream or of an AOF body, and
// types the error replies of servers.
//
// A stream is a sequence of commands: multibulk ("*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n"), which is
// all that servers of today send; inline ("PING\r\n"), which very old ones send; and
// between them keep-alives (a bare "\n" or "\r\n") and AOF annotations ("#TS:1700000000\r\n").
// Every byte of them counts for the replication offset, so ReadCommand tells how many
// bytes a command took, with all that stood before it.
//
// The invariant: the sizes that ReadCommand returns, and at the end of the stream the one
// that comes with io.EOF, add up to the bytes of the stream. Nothing is skipped to find
// the next command again; what does not parse is an error that names its byte.
//
// Memory follows the bytes that have arrived, never a length that was announced.
//
// Replies are not parsed here, except that Error types an error reply.
package resp
