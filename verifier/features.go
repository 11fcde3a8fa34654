package verifier

import (
	"context"

	"github.com/redis/rueidis"
)

// fieldCommands are commands that only servers have whose hash fields can expire. A server that knows one of them may
// hold expiring fields, even where the command that reads the expiries is renamed or disabled.
var fieldCommands = []string{"HPEXPIRETIME", "HPTTL", "HPEXPIREAT", "HPEXPIRE", "HEXPIREAT", "HEXPIRE", "HEXPIRETIME", "HTTL", "HPERSIST"}

// learn derives from the version of a node what the node can do. Only calling a command shows whether the user may
// call it, so a refused command does not count as one that the server lacks.
func (n *node) learn(ctx context.Context, client rueidis.Client) {
	number, flavor := n.facts.Number, n.facts.Flavor
	n.flight = newFlight()
	n.expireTimes = number >= 70000
	n.fullStreams = number >= 60000
	n.noTouch = number >= 70200
	n.fieldTTLs = flavor == "redis" && number >= 70400 || flavor == "valkey" && number >= 90000
	if n.fieldTTLs {
		return
	}
	// A fork may have these commands at any version number. Where COMMAND INFO is refused, the version alone decides.
	info, _ := client.Do(ctx, client.B().Arbitrary("COMMAND", "INFO").Args(fieldCommands...).Build()).ToArray()
	for i := range info {
		n.fieldTTLs = n.fieldTTLs || info[i].IsArray()
	}
}

// forbids says whether a reply shows that this reader's user may not call the command at all.
func forbids(command string, reply error) bool {
	return reply != nil && forbidden(replyError(command, reply))
}
