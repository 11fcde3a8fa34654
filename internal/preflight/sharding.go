package preflight

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

const wantedSharding = "keys are on the servers where the proxy looks for them, and stay there"

// sharding checks on every server behind a proxy whether its keys are those that the proxy looks for there, according to the URL.
func sharding(ctx context.Context, r *run) []Check {
	var checks []Check
	for _, s := range []*side{&r.source, &r.target} {
		if s.open() && len(s.d.Proxies()) > 0 {
			checks = append(checks, judgeSharding(s, sampleSharding(ctx, s)))
		}
	}
	switch {
	case len(checks) > 0:
	case !r.source.open() || !r.target.open():
		return []Check{skip("source, target", "one of them could not be opened; see the check connectivity", wantedSharding)}
	default:
		return []Check{pass("source, target", "neither side is behind a proxy", wantedSharding)}
	}
	return checks
}

// shardingSample is what was found on a side behind a proxy.
type shardingSample struct {
	silent        error // why no proxy answers
	moving        int   // number of slots that are moving
	ejects        bool
	keys, astray  int
	example, addr string // a key on a server where the proxy does not look for it, and that server
	unread        error
}

func sampleSharding(ctx context.Context, s *side) shardingSample {
	out := shardingSample{moving: s.d.Moving(), ejects: s.d.Ejects()}
	_, out.silent = s.d.Proxy(ctx)
	for _, n := range s.primaries() {
		if n.err == nil {
			out.look(ctx, s, n)
		}
	}
	return out
}

// look samples the first keys of each database of a server over one connection.
func (out *shardingSample) look(ctx context.Context, s *side, n *node) {
	c, err := s.d.OpenSession(ctx, n.addr)
	if err != nil {
		out.unread = err
		return
	}
	defer c.Close()
	for _, db := range slices.Sorted(maps.Keys(n.dbs)) {
		if err := c.Select(ctx, db); err != nil {
			out.unread = err
			continue
		}
		for cursor, seen := "0", 0; seen < lookedAt; {
			names, next, err := c.Scan(ctx, cursor, "")
			if err != nil {
				out.unread = err
				break
			}
			for _, name := range names {
				if strings.HasPrefix(name, keyspace.Prefix) {
					continue
				}
				if out.keys++; !s.d.Holds(n.addr, name) {
					out.astray++
					out.example, out.addr = name, n.addr
				}
			}
			seen += len(names)
			if cursor = next; cursor == "0" {
				break
			}
		}
	}
}

// lookedAt is about how many keys of each database behind a proxy are sampled.
const lookedAt = 500

func judgeSharding(s *side, sample shardingSample) Check {
	described := string(s.spec.Kind) + " " + strings.Join(s.spec.Addrs, ",")
	if text := s.d.Sharding(); text != "" {
		described += ", " + text
	}
	described += fmt.Sprintf(", %d servers", len(s.d.Shards()))
	seen := fmt.Sprintf("%s; of a sample of %d keys, %d are on another server", described, sample.keys, sample.astray)
	if sample.astray > 0 {
		seen += fmt.Sprintf(", such as %s on %s", shownKey(sample.example), sample.addr)
	}
	switch {
	case sample.moving > 0:
		return fail(s.name.String(), fmt.Sprintf("%s; %d slots are being moved", described, sample.moving), wantedSharding,
			"wait until the slots are moved (codis-admin --slots-status), and do not move any until the cutover")
	case sample.astray*2 > sample.keys:
		return fail(s.name.String(), seen, wantedSharding, "correct hash, distribution, tag, weights and names in the URL, or name the proxy's own configuration: ?config=FILE")
	case sample.unread != nil:
		return skip(s.name.String(), oneLine(sample.unread), wantedSharding)
	case sample.silent != nil && (s.name == endpoint.Target || s.spec.Kind == endpoint.Codis):
		return alarm(s.name.String(), described+"; the proxy does not answer: "+oneLine(sample.silent), wantedSharding,
			"bring the proxy back, or allow connections to it; without it, it is not proven that it will find the keys")
	case sample.astray > 0:
		return alarm(s.name.String(), seen, wantedSharding, "these keys cannot be read through the proxy and are not migrated; delete them, or write them again through the proxy")
	case sample.ejects:
		return alarm(s.name.String(), described+"; auto_eject_hosts is on, so when a server is down, the proxy looks for its keys on other servers", wantedSharding,
			"set auto_eject_hosts: false in the proxy's configuration, at least until the cutover")
	}
	return pass(s.name.String(), seen, wantedSharding)
}
