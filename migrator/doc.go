// Package migrator copies a live Redis into another, full then incremental, over the replication protocol.
//
// The package is the public face and the life of a migration: a Migration runs one link per source shard, and remembers in its state
// directory how far each has come (its stage). The work is done in packages under internal, and each begins with a description:
//
//	receive  reads the source's socket, and writes the snapshot file and the spool; it resumes, and follows failovers of the source
//	load     writes a snapshot to the target, in batches
//	stream   reads commands from the spool or a file, plans how each is carried, and sends it to the target through a lane
//	reread   reads keys again from the source, at a known offset or by a scan
//	target   writes to the target, directly or through a proxy; keeps checkpoints, the claim and the witnesses
//	scope    which keys a link carries, and their names and databases on the target
//	ledger   how each key and command has ended; which keys are held without their expiry
//	keylist  lists of keys on disk
//	slab     parts of large allocations
//	libraries  which function libraries each shard has, and which the target is to have
//	slots    which link applies the commands of a slot that moves (docs/moving-slots.md)
//
// Imports run downwards: migrator knows all of them; load and stream use target, reread, scope, slots and ledger, and stream also libraries,
// which uses target and ledger; these use keylist and slab; receive uses none. A linter rule keeps it so. None of them knows the link: it
// gives each a Config, and gives stream an interface as well (link_stream.go).
//
// A link has one of three origins (origin.go): a source that is replicated (replica.go), one that is scanned (scanned.go), or a file (file.go).
// It loads the snapshot (loading.go) and then applies the stream, and keeps records of that on the target (records.go).
//
// Besides the links, a Migration watches three things while it runs (runLinks): the slots of the source (mover.go; reshard.go where they are not followed), its claim on the target,
// and the witnesses, which show if the target has lost keys (mend.go). After a loss, or a failover, a link begins anew (follow.go).
//
// The guard (guard.go) tells of every wait for a server, and ends a run that waits for too long, or whose state directory is gone.
//
// A link has caught up, and is done, by what the shard's primary says of its offset (receive/standing.go), and not by what was received.
//
// Words:
//
//	stage     how far a link has come with snapshot and stream, as the next run finds it
//	link      the replication of one source shard into the target
//	held key  a key that the target holds without its expiry until the link has caught up
//	witness   one of surecut's own keys on the target: while it exists, its node has not lost its data
//	claim     the record on the target that says which run may write
//	reach     through a proxy: the offset up to which a run has possibly applied commands
//
// Which keys are held is decided in load/loader.go (expiry) for the snapshot, and in stream/hold.go for the stream. Holding is switched on
// by loading.go, and once more by record.go after the source was lost; stream/release.go ends it by giving the keys their expiry.
//
// The package does not compare source and target. Every key and command ends in exactly one counter of its Report.
package migrator
