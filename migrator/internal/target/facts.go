package target

import (
	"surecut/internal/command"
	"surecut/internal/keyspace"
)

// Facts are what is known of a target once it is open. They do not change.
type Facts struct {
	Cluster  bool // keys are spread over its nodes by slot
	DBs      keyspace.Databases
	Can      Abilities
	Number   int              // the lowest Redis-compatible version of its nodes, 70015 for 7.0.15
	Dialect  *command.Dialect // the commands that all its nodes understand
	Held     *command.Dialect // dialect without SET with an absolute expiry: an expiry that may be held gets a command of its own
	Forgets  bool             // XCLAIM drops pending entries whose message was deleted (since 7.0), and the source keeps them
	Bounds   Bounds           // what its nodes take at most, by their settings; see Most
	Payloads Payloads         // encodes values as RESTORE takes them
}

// Abilities says what the way to a target's servers allows. Code that depends on an ability asks for it, and not for the kind of the
// target.
type Abilities struct {
	Transactions bool // MULTI works, so that a checkpoint is written together with the data
	Processes    bool // a connection leads to one server process, which tells its run_id
	Tells        bool // the servers behind a proxy tell a script who they are; see proxied_servers.go
	Ends         bool // connections of an earlier run, or such that broke, can be found and ended; see endsConnections
	Placement    bool // it is known which server holds a key
	Nodes        bool // each server is written at an address of its own
	Messages     bool // PUBLISH is passed on
}

// Level returns, as Report.Level, what happens after a restart or a lost connection to the writes that were on their way: each is applied
// exactly once, or its keys are copied again.
func (f Facts) Level() string {
	if f.Can.Transactions {
		return "exactly_once"
	}
	return "repaired"
}
