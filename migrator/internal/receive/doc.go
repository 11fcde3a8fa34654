// Package receive receives one shard of a source: its snapshot into a file, and its stream into a spool.
//
// To the source, a Receiver is a replica. It connects to a node of the Shard, asks for the stream from the offset at which the spool ends,
// or for a snapshot if there is none yet. When the connection is lost, it connects again for up to Config.RetryFor, which begins anew with
// each connection that has brought new bytes of the stream. The same setting bounds how long the target is waited for; its default is in
// migrator/config.go. An error that cannot pass (final in errors.go) ends the Receiver at once; the link then decides whether to begin anew.
// A Shard knows the nodes of the shard and chooses the one to receive from, also after a failover. A Snapshot is the file of a snapshot,
// which can be read while it grows.
//
// What was received says nothing of what the source has written since, so the primary of the shard is asked for its offset: every second, and
// once the Receiver is told to stop. It then receives up to that offset before it ends (standing.go).
//
// A connection over which nothing comes although the source has sent more is given up after 10 seconds (hearing.go); one that is silent
// otherwise, after a minute. That the source is waited for stands in Config.Waits.
//
// The invariant is that the source never waits for anything but the disk. The code that applies what was received reads the files, and the
// Receiver knows nothing of it. A Record makes durable how far receiving has come before the Receiver goes on, so that a crash at any
// instant leaves a state from which the next run resumes.
//
// The package writes to no server, and parses neither commands nor snapshots. It does not decide whether a new snapshot may replace what
// was copied: it returns an error that says why the stream cannot be continued.
package receive
