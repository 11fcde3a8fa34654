// Package receive receives one shard of a source: its snapshot into a file, and its stream into a spool.
//
// A Receiver is a replica to the source. It connects to a node of the Shard, asks for the stream from where the spool ends, or for a
// snapshot if there is none, and connects again when the connection is lost. A Shard knows the nodes of the shard and chooses the one to
// receive from, also after a failover. A Snapshot is the file of a snapshot, which can be read while it grows.
//
// The invariant is that the source never waits for anybody but the disk. Whoever applies what was received reads the files, and
// nothing of that is known here. A Record makes durable how far receiving has come before the Receiver goes on, so that a crash at any
// instant leaves a state from which the next run resumes.
//
// The package writes to no server, parses no command and no snapshot, and does not decide whether a new snapshot may replace what was
// copied: it returns an error that says why the stream does not go on.
package receive
