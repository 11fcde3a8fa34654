package migrator

import (
	"time"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// newTestTarget is a target whose servers do not exist.
func newTestTarget() *target {
	t := &target{
		facts: facts{dbs: keyspace.Databases{Home: -1}, number: 80000, dialect: command.DialectOf(80000, 0), held: command.DialectOf(60000, 0),
			can: abilities{transactions: true, processes: true, placement: true, nodes: true, messages: true, ends: true}},
		d: &endpoint.Deployment{}, id: "id", bytes: limiter(0), ops: limiter(0), retryFor: time.Second, lanes: 3, expiring: newExpiring(),
	}
	t.way = nodeByNode{t}
	return t
}
