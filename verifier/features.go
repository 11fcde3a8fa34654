package verifier

import (
	"context"

	"github.com/redis/rueidis"
)

// fieldCommands are commands of servers on which the fields of a hash can expire. A server that knows one of them has fields that
// expire, even where the command by which the expiries are read has another name or none.
var fieldCommands = []string{"HPEXPIRETIME", "HPTTL", "HPEXPIREAT", "HPEXPIRE", "HEXPIREAT", "HEXPIRE", "HEXPIRETIME", "HTTL", "HPERSIST"}

// learn finds out what a node can do, as far as its version tells it. Whether a command may be called shows when it is called: one
// that is refused is not taken for one that the server does not have.
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
	// A fork may have them at any version number. Where COMMAND INFO is refused, the version alone decides.
	info, _ := client.Do(ctx, client.B().Arbitrary("COMMAND", "INFO").Args(fieldCommands...).Build()).ToArray()
	for i := range info {
		n.fieldTTLs = n.fieldTTLs || info[i].IsArray()
	}
}

// forbids says whether a reply shows that this reader's user may not call a command at all.
func forbids(command string, reply error) bool {
	return reply != nil && forbidden(replyError(command, reply))
}
