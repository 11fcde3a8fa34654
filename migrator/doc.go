// Package migrator copies a live Redis into another, full then incremental, over the replication protocol.
//
// A Migration runs one link per source shard. A link has four parts, each with one owner:
//
//	receiver   reads the source's socket into the snapshot file and the spool (internal/receive), and writes to no server
//	loader     reads the snapshot from its file and writes its values to the target by RESTORE, in batches for each node (limits: loader.go)
//	dispatcher reads the stream from the spool, and hands each command to the lanes of its keys
//	lanes      apply their commands in order: what waits in a lane becomes one transaction for each unit (lane.go), or goes without one
//
// The four parts share small types, each with a lock of its own: positions (how far the link has come), doubts (which keys are still to be
// copied from the source), the ledger (how each key and command has ended) and expiries (which keys the target holds without their expiry;
// both in internal/ledger). internal/scope says which keys the link carries, internal/reread reads keys again from the source. How
// far a link has come with snapshot and stream is its stage, which the state on disk remembers.
//
// The loader, the dispatcher and each lane have a writer of their own. There are two kinds: direct writes to each node of the target, in
// transactions; proxied writes through a proxy, which passes no transactions on. newTarget chooses the kind; the rest of the package asks
// the target's abilities instead of its kind.
//
// Every key belongs to one lane, by its slot. For each unit (a slot of a cluster, a lane of a standalone server) the target holds a
// checkpoint: the offset up to which the unit's commands are applied. Every transaction also writes the checkpoints of its units
// (direct.go), so that every command is applied exactly once even if the run crashes at any instant and is restarted. Commands that may be
// applied again (command.Spec.Absolute) need no checkpoint and go bare, as single commands; the link's record, which is written once they
// are answered, says from where on they are applied again. docs/consistency.md has the whole rule.
//
// A server of the target that comes back with older data, or a replica that is promoted, may lack bare commands. So where another server
// answers than before (instances.go), the link goes back to the checkpoints and records that the new one holds (follow.go).
//
// A proxy passes no MULTI on, so that after a lost connection or a crash it is not known which commands were applied; proxied says how that
// is repaired.
//
// An error reply of the target has one of three consequences, on which each writer decides. Out of memory or a missing permission ends the
// migration, and the same command resumes it. What passes by itself (LOADING, MOVED and the like, see endpoint.Passing) is waited for.
// Everything else concerns the command alone.
//
// A command that the target cannot run (its keys lie in several slots, or it failed) is settled by copying the keys that it changed: the
// dispatcher stops between two commands, reads the keys from the source at this offset or a later one, and does not apply
// commands up to that offset to those keys. Freeze uses the same stop to show source and target at one offset.
//
// A key that expired on the target while nobody applied the stream is noticed at its next change, and copied once the link has caught up.
//
// Words:
//
//	stage     how far a link has come with snapshot and stream, as the next run finds it
//	group     one command of the stream, or all of a MULTI ... EXEC
//	stretch   groups that were received together and travel together from the parser to the dispatcher
//	piece     one call for the target, with the slot that decides on its lane
//	item      the pieces of one group for one lane, which are never separated; a lane applies many items at once
//	transaction  the calls and the checkpoints that one MULTI ... EXEC applies to the target; or, without checkpoints, calls that go bare
//	bare      sent as single commands, without a transaction and without a checkpoint
//	record    the offset up to which all units of a link have applied the stream, as the target holds it; on a cluster, as each node does
//	meeting   a point of the stream at which several lanes stand still
//	unit      the keys that one checkpoint covers: those of a slot of a cluster, or of a lane of a standalone server
//	fence     the offset as of which a key was copied: commands up to this offset are not applied to the key
//	doubt     a key whose value on the target may differ from the source's, and that is therefore copied from the source
//	held key  a key that the target holds without its expiry until the link has caught up
//	witness   one of surecut's own keys on the target: while it exists, its node has not lost its data
//	claim     the record on the target that says which run may write
//	reach     through a proxy: the offset up to which a run may have applied commands
//
// The package does not compare source and target. Every key and command ends in exactly one counter of its Report.
package migrator
