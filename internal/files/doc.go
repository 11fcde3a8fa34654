// Package files finds and frames what a server loads at its start: an RDB, or an AOF of one or more parts.
//
// An AOF is one file until Redis 6.2: commands, or an RDB with commands behind it. Since 7.0 it is a directory with a manifest
// that names a base (an RDB or commands) and the commands written since, in files of their own. A Source is either; its
// bytes are numbered through all of its parts, so that one number says how far someone has come.
//
// Of the last part the end may be missing, as after a crash of the server: a command that is cut off, or a MULTI whose EXEC
// is missing. A server drops both when it loads the file; here they are reported, and the caller decides. Everything else
// that is wrong is damage and an error that names file and byte.
//
// The package never writes, and does not look at what the commands do.
package files
