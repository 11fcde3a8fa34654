// Package quiet tells whether anybody writes to the servers of a deployment, and who.
//
// A Reading is what one primary says of its writes at one moment. Two readings of one server process say whether it was written in
// between, by two witnesses that do not depend on each other: how often commands that write were called (INFO commandstats), and how
// many changes the data set has seen (rdb_changes_since_last_save). The replication offset is recorded beside them. It also moves
// where nobody writes: with the PINGs to replicas, with published messages (those of sentinels among them), and with keys that expire
// or are evicted, whose deletion is replicated but is no client's write. So an offset that moves is no evidence of a writer.
//
// What the witnesses do not tell is never taken for quiet: a server that was restarted, that is no primary any more, or whose counters
// were reset together with a save in between.
package quiet
