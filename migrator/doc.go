// Package migrator copies a live Redis into another, full then incremental, over the replication protocol.
//
// The package is the public face and the life of a migration: a Migration runs one link per source shard, and remembers in its state
// directory how far each has come (its stage). The work is done in rooms, packages under internal; each has a doc.go, and knows no other
// room than those below it:
//
//	receive  the source's socket to the snapshot file and the spool; resume and failover of the source. It writes to no server
//	load     the snapshot to a Writer, in batches
//	stream   spool or file to commands to a plan to lanes to a Writer
//	reread   keys read again from the source, at a known offset or by a scan
//	target   the Writer, direct or through a proxy; checkpoints, payloads, claim, witnesses
//	scope    which keys a link carries, and their names and databases on the target
//	ledger   how each key and command has ended; which keys are held without their expiry
//	keylist  lists of keys on disk
//	slab     parts of large allocations
//
// The imports run downwards: migrator -> load, stream, receive -> target, reread -> scope, ledger -> keylist, slab. A linter rule keeps it
// so. What a room asks of its link is a Config of parts and settings, and for stream an interface (link_stream.go); the link wires them
// (link.go, link_load.go).
//
// A link has one of three origins (origin.go): a source that is replicated (replica.go), one that is scanned (scanned.go), or a file (file.go).
// It loads the snapshot (loading.go) and then applies the stream, and keeps records of that on the target (records.go).
//
// Besides the links, a Migration watches three things while it runs (runLinks): the slots of the source (reshard.go), its claim on the target,
// and the witnesses, which show if the target has lost keys (mend.go). After a loss, or a failover, a link begins anew (follow.go).
//
// Words:
//
//	stage     how far a link has come with snapshot and stream, as the next run finds it
//	link      the replication of one source shard into the target
//	held key  a key that the target holds without its expiry until the link has caught up
//	witness   one of surecut's own keys on the target: while it exists, its node has not lost its data
//	claim     the record on the target that says which run may write
//	reach     through a proxy: the offset up to which a run may have applied commands
//
// The package does not compare source and target. Every key and command ends in exactly one counter of its Report.
package migrator
