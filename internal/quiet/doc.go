// Package quiet finds out whether anybody writes to the servers of a deployment, and who.
//
// A Reading is what one primary says about its writes at one moment. Two readings of the same server process show whether it was
// written in between, by two independent counters: the calls of writing commands (INFO commandstats), and the changes of the data
// set (rdb_changes_since_last_save). The replication offset is recorded as well, but it also grows when nobody writes: with the
// PINGs to replicas, with published messages (including those of sentinels), and with keys that expire or are evicted, whose
// deletion is replicated but is not a client's write. So a growing offset does not prove a writer.
//
// A server whose counters do not tell is never taken for quiet: a server that was restarted, that is no longer a primary, or whose
// counters were reset, or that ran commands which are not in the command table, while it also saved its data.
//
// ChangedTarget asks the target of a migration the other question: whether anybody but the migration has written to it, whose own writes
// the migration counts.
package quiet
