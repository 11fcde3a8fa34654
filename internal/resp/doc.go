// Package resp splits a replication stream or the body of an AOF into commands, and types the error replies of servers.
//
// A stream is a sequence of commands in two forms: multibulk ("*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n"), which is all that current servers
// send, and inline ("PING\r\n"), which very old ones send. Between the commands there are keep-alives (a bare "\n" or "\r\n") and
// AOF annotations ("#TS:1700000000\r\n"). All of these bytes count for the replication offset, so ReadCommand returns how many
// bytes a command took, including everything before it.
//
// The invariant: the sizes that ReadCommand returns, including the one that comes with io.EOF at the end, add up to the bytes of
// the stream. The Reader never skips bytes to find the next command; data that does not parse is an error that names its byte.
//
// Memory use depends on the bytes that have arrived, never on a length that was announced.
//
// Replies are not parsed here, except that Error types an error reply.
package resp
