// Package reread reads keys from the source by commands, beside the snapshot and the stream that the source sends.
//
//	Reader  reads keys at a known offset of the stream, so that what was read can take the place of the commands up to there
//	Copy    one key as the source held it at an offset
//	Scan    lists all keys of a server that is not replicated, by SCAN, and reads their values
//	Clock   tells the time by the clock of the source
//
// Where a server refuses DUMP, a Scan reads values by the commands of their types. The verifier has an implementation of its own on purpose:
// if both used the same one, a mistake in it would read the same wrong value twice and call it equal. The two share only the parsing of
// single replies (internal/reply).
//
// The package only reads, and knows nothing of the target.
package reread
