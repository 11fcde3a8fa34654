// Package files finds and reads what a server loads at its start: an RDB, or an AOF of one or more parts.
//
// Up to Redis 6.2, an AOF is one file: commands, or an RDB followed by commands. Since 7.0 it is a directory with a manifest, which
// names a base (an RDB or commands) and files of commands that were written later. A Source is an RDB or an AOF of either form. Its
// bytes are numbered through all of its parts, so that one number says how far a reader has come.
//
// The end of the last part may be missing, as after a crash of the server: a command may be cut off, or a MULTI may lack its EXEC.
// A server drops both when it loads the file; here they are reported, and the caller decides. Everything else that is wrong is
// damage, and an error names file and byte.
//
// The package never writes, and does not interpret what the commands do.
package files
