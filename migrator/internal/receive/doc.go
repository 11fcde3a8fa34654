// Package receive receives one shard of a source: its snapshot into a file, and its stream into a spool.
//
// To the source, a Receiver is a replica. It connects to a node of the Shard, asks for the stream from the offset at which the spool ends,
// or for a snapshot if there is none yet, and connects again when the connection is lost. It gives up when the source has sent nothing new
// for Config.RetryFor, or at once after an error that cannot pass (final in errors.go); the link then decides whether to begin anew. A Shard
// knows the nodes of the shard and chooses the one to receive from, also after a failover. A Snapshot is the file of a snapshot, which can
// be read while it grows.
//
// The invariant is that the source never waits for anything but the disk. The code that applies what was received reads the files, and the
// Receiver knows nothing of it. A Record makes durable how far receiving has come before the Receiver goes on, so that a crash at any
// instant leaves a state from which the next run resumes.
//
// The package writes to no server, and parses neither commands nor snapshots. It does not decide whether a new snapshot may replace what
// was copied: it returns an error that says why the stream cannot be continued.
package receive
