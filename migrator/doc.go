// Package migrator copies a live Redis into another, full then incremental, over the replication protocol.
//
// A Migration runs one link per source shard. A link has four parts, each with one owner:
//
//	receiver   reads the source's socket into the snapshot file and the spool (internal/receive); it writes to no server
//	loader     reads the snapshot from the spool and writes its values to the target by RESTORE
//	dispatcher reads the stream from the spool, and hands each command to the lanes of its keys
//	lanes      apply their commands in order, each transaction together with its checkpoint
//
// What the four share are small types with a lock of their own: scope (which keys a link carries), positions (how far it has come),
// doubts (which keys it has still to copy), ledger (how each key and command has ended),
// expiries (which keys the target holds without theirs). Where a link stands is its stage, which the state on disk remembers.
//
// Loader, dispatcher and lanes write to the target by a writer each. There are two: direct writes to each node by itself, in transactions;
// proxied writes through a proxy, which has none. Which one a target gets is decided where it is opened, and what else depends on that is asked
// of its abilities.
//
// Every key belongs to one lane, by its slot. The target remembers per unit (a slot of a cluster, a lane of
// a standalone server) the offset up to which it has applied the unit, and that record is written in the
// transaction that applies the commands. So a crash at any instant, followed by a restart, applies every command once.
//
// Through a proxy there is no MULTI, so that nothing can be applied once by itself: see proxied.
//
// What a target cannot run (a command across slots, a command that failed) is settled by copying the resulting
// keys: the dispatcher stops between two commands, the source is read at an offset at or after that point, and
// commands up to that offset no longer apply to those keys. The same stop serves whoever wants to see source and
// target at one offset (Freeze).
//
// A key of the target that expired by itself while nobody applied the stream is noticed at its next change, and copied
// when the link has caught up.
//
// Values of a source that refuses DUMP are read by the commands of their types, in a loop of this package's own. The verifier
// has another one on purpose: one wrong loop in both would read the same wrong value twice and call it the same. They share
// the parsing of single replies alone (internal/reply).
//
// Words:
//
//	stage     how far a link is with snapshot and stream, as the next run finds it
//	group     one command of the stream, or all of a MULTI ... EXEC
//	stretch   groups that were received together, and travel from the parser to the dispatcher as one
//	piece     what one lane has to do for a command
//	item      the pieces of one group that a lane applies in one go
//	meeting   a point of the stream at which several lanes stand still
//	unit      what one checkpoint speaks of: a slot of a cluster, a lane of a standalone server
//	fence     the offset as of which a key was copied: commands up to it do not apply to that key
//	doubt     a key that the target may not hold as the source does, and that is copied from the source
//	held key  a key that the target holds without its expiry until the link has caught up
//	witness   a key beside the data that shows that a node of the target has not lost it
//	claim     the record on the target that says which run may write
//	reach     through a proxy: the offset up to which a run may have applied commands
//
// The package does not compare and does not judge; the counters of its Report add up.
package migrator
