// Package load writes a snapshot to the target.
//
//	Loader  reads entries (an RDB, or the keys of a server that is scanned) and collects their values in batches, one for each node
//	worker  writes batches by RESTORE, with a writer of its own; the bytes of all batches together are bounded
//	big     a value that is too large for memory: it is built by commands while it is read
//
// A value is not decoded on its way: the bytes of the RDB are the payload of RESTORE. Where the target does not take a payload, the value is
// built by commands. Bounds and sizes of batches are in loader.go; those of the commands that build a value are in target/direct_restore.go.
//
// A key that expires soon is written without its expiry, and put on the ledger's list of held keys, if Config.Hold says so (Loader.expiry).
//
// Function libraries are handed over all at once, before the first key; package libraries brings them to the target.
//
// Each key of the snapshot ends in one counter of the ledger. The package decides neither which keys are carried (scope) nor how a server is
// written (target), and applies no command of the stream.
package load
