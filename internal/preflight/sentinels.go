package preflight

import (
	"context"
	"fmt"
	"strings"

	"surecut/internal/endpoint"
)

const wantedSentinels = "every sentinel answers and names the same primary, enough of them agree for a failover, and a replica can take over"

// sentinels checks how each sentinel sees the group that a URL names.
func sentinels(_ context.Context, r *run) []Check {
	var checks []Check
	for _, s := range []*side{&r.source, &r.target} {
		if s.open() && s.spec.Kind == endpoint.Sentinel {
			checks = append(checks, judgeSentinels(s.d.Sentinels(), s.primaries()[0].addr)...)
		}
	}
	switch {
	case len(checks) > 0:
	case !r.source.open() || !r.target.open():
		return []Check{skip("source, target", "one of them could not be opened; see the check connectivity", wantedSentinels)}
	default:
		return []Check{pass("source, target", "neither side has sentinels", wantedSentinels)}
	}
	return checks
}

// judgeSentinels returns a row for each sentinel. The parameter primary is the server that itself says that it is the primary.
func judgeSentinels(views []endpoint.SentinelView, primary string) []Check {
	answering := 0
	for _, v := range views {
		if v.Err == nil {
			answering++
		}
	}
	var checks []Check
	for _, v := range views {
		subject := "sentinel " + v.Addr
		if v.Err != nil {
			checks = append(checks, alarm(subject, oneLine(v.Err), wantedSentinels, "bring the sentinel back, or remove it from the URL"))
			continue
		}
		candidates := 0
		for _, replica := range v.Replicas {
			if replica.Fit() && replica.Priority > 0 {
				candidates++
			}
		}
		found := fmt.Sprintf("primary %s (%s), %d replicas that can take over, quorum %d of %d sentinels", v.Primary, v.Flags, candidates, v.Quorum, len(v.Peers)+1)
		cli := "redis-cli " + cliAddr(v.Addr) + " sentinel "
		switch {
		case v.Primary != primary:
			checks = append(checks, alarm(subject, found+"; but the primary is "+primary, wantedSentinels,
				"wait until the sentinel has noticed the last failover ("+cli+"masters)"))
		case strings.Contains(v.Flags, "down"), strings.Contains(v.Flags, "failover"):
			checks = append(checks, alarm(subject, found, wantedSentinels, "wait until the failover has ended ("+cli+"masters shows flags master)"))
		case answering < v.Quorum || 2*answering <= len(v.Peers)+1:
			checks = append(checks, alarm(subject, fmt.Sprintf("%s, of which %d answer", found, answering), wantedSentinels, "bring the other sentinels back; without a majority, no replica is promoted"))
		case candidates == 0:
			checks = append(checks, alarm(subject, found, wantedSentinels, "add a replica whose replica-priority is not 0: "+cli+"replicas NAME"))
		default:
			checks = append(checks, pass(subject, found, wantedSentinels))
		}
	}
	return checks
}
