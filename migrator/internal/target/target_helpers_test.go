package target

import (
	"time"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// newTestTarget is a target whose servers do not exist.
func newTestTarget() *Target {
	t := newTarget(&nodes{
		Facts: Facts{DBs: keyspace.Databases{Home: -1}, Number: 80000, Dialect: command.DialectOf(80000, 0), Held: command.DialectOf(60000, 0),
			Can: Abilities{Transactions: true, Processes: true, Placement: true, Nodes: true, Messages: true, Ends: true}},
		d: &endpoint.Deployment{}, id: "id", retryFor: time.Second, lanes: 3,
	}, newLimits(0, 0))
	t.goBy(nodeByNode{t})
	return t
}
