package preflight

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// maxSkew is how far the clocks of two servers may differ: expiries are transferred as absolute times.
const maxSkew = time.Second

func connectivity(_ context.Context, r *run) []Check {
	const wanted = "every node answers, with the given TLS settings and credentials"
	var checks []Check
	for _, s := range []*side{&r.source, &r.target} {
		if !s.open() {
			checks = append(checks, fail(s.name.String(), oneLine(s.err), wanted, "correct the URL or the credentials: surecut check --"+s.name.String()+" URL"))
			continue
		}
		var dead []Check
		for _, n := range s.nodes {
			if n.err != nil {
				if s.throughProxy() {
					dead = append(dead, alarm(n.addr, oneLine(n.err), wanted, "allow connections to it: the data goes through the proxy, but verify and the check target_empty ask the servers themselves"))
					continue
				}
				dead = append(dead, fail(n.addr, oneLine(n.err), wanted, "bring the node back, or allow connections to it"))
			}
		}
		for _, addr := range s.d.Failed() {
			dead = append(dead, judgeFailed(addr, r.cfg.Resume != "", wanted))
		}
		if len(dead) == 0 {
			dead = []Check{pass(s.name.String(), fmt.Sprintf("%d of %d nodes answer", len(s.nodes), len(s.nodes)), wanted)}
		}
		checks = append(checks, dead...)
	}
	return checks
}

// judgeFailed judges a node that its cluster has marked as failed. A resumed migration may have seen a failover, and continues
// without the node that was replaced.
func judgeFailed(addr string, resumed bool, wanted string) Check {
	const found = "the cluster has marked this node as failed"
	remedy := "bring it back, or remove it from the cluster: redis-cli --cluster del-node HOST:PORT NODE-ID"
	if resumed {
		return alarm(addr, found, wanted, remedy)
	}
	return fail(addr, found, wanted, remedy)
}

// oneLine returns an error as one line; a joined error has several.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func authentication(ctx context.Context, r *run) []Check {
	const wanted = "clients that do not authenticate are refused"
	var checks []Check
	secured := false // some node of the source requires authentication
	for _, s := range []*side{&r.source, &r.target} {
		if !s.open() {
			checks = append(checks, skip(s.name.String(), "the "+s.name.String()+" could not be opened; see the check connectivity", wanted))
			continue
		}
		checks = append(checks, perNode(s, s.nodes, func(n *node) Check {
			required, err := s.d.RequiresAuth(ctx, n.addr)
			switch {
			case err != nil:
				return skip("", oneLine(err), wanted)
			case required:
				secured = secured || s == &r.source
				return pass("", "a password or a user is required", wanted)
			}
			return judgeOpen(n.addr, secured, wanted)
		})...)
	}
	return checks
}

// judgeOpen judges a server that anyone may use. If the source requires a password, its clients are refused by such a target: AUTH
// is an error where the default user has no password.
func judgeOpen(addr string, sourceSecured bool, wanted string) Check {
	remedy := fmt.Sprintf("redis-cli %s config set requirepass PASSWORD", cliAddr(addr))
	if sourceSecured {
		return alarm("", "anyone who can connect may use it, and clients that send the source's password fail, because AUTH is an error without a password", wanted, remedy)
	}
	return note("", "anyone who can connect may use it", wanted, remedy)
}

// cliAddr returns an address in the form of redis-cli's options.
func cliAddr(addr string) string {
	colon := strings.LastIndexByte(addr, ':')
	return "-h " + strings.Trim(addr[:colon], "[]") + " -p " + addr[colon+1:]
}

func sameInstance(_ context.Context, r *run) []Check {
	const wanted = "no server belongs to both sides, and neither side replicates the other"
	const remedy = "choose another server as Config.Target"
	sources, replicated := map[string]string{}, map[string]string{}
	asked := 0
	for _, n := range r.source.nodes {
		if id := n.info["run_id"]; id != "" {
			sources[id] = n.addr
			asked++
		}
		if id := n.info["master_replid"]; id != "" { // since 4.0; a primary shares it with all its replicas
			replicated[id] = n.addr
		}
	}
	targets := 0
	for _, n := range r.target.nodes {
		id := n.info["run_id"]
		if addr, same := sources[id]; same && id != "" {
			return []Check{fail("target", fmt.Sprintf("%s and %s are the same server (run_id %s)", addr, n.addr, id), wanted, remedy)}
		}
		if addr, same := replicated[n.info["master_replid"]]; same {
			return []Check{fail("target", fmt.Sprintf("%s and %s replicate the same data (replication ID %s)", addr, n.addr, n.info["master_replid"]), wanted,
				remedy+", or end the replication: redis-cli "+cliAddr(n.addr)+" replicaof no one")}
		}
		if id != "" {
			targets++
		}
	}
	if asked == 0 || targets == 0 {
		return []Check{skip("target", "on one of the sides, INFO contains no run_id", wanted)}
	}
	return []Check{pass("target", fmt.Sprintf("%d source and %d target servers, all different", asked, targets), wanted)}
}

func clockSkew(_ context.Context, r *run) []Check {
	wanted := fmt.Sprintf("the clocks of all nodes differ by at most %v", maxSkew)
	var clocks []clock
	for _, s := range []*side{&r.source, &r.target} {
		for _, n := range s.nodes {
			if n.err != nil {
				continue
			}
			if n.skewErr != nil {
				return []Check{skip(n.addr, "TIME: "+oneLine(n.skewErr), wanted)}
			}
			clocks = append(clocks, clock{n.addr, n.skew})
		}
	}
	return []Check{judgeClocks(clocks, wanted)}
}

// clock says how far a node's clock is ahead of the local one.
type clock struct {
	addr  string
	ahead time.Duration
}

func judgeClocks(clocks []clock, wanted string) Check {
	if len(clocks) < 2 {
		return skip("source and target", "fewer than two nodes report their time", wanted)
	}
	first, last := clocks[0], clocks[0]
	for _, c := range clocks {
		if c.ahead < first.ahead {
			first = c
		}
		if c.ahead > last.ahead {
			last = c
		}
	}
	apart := (last.ahead - first.ahead).Round(time.Millisecond)
	found := fmt.Sprintf("%v between %s and %s", apart, first.addr, last.addr)
	if last.ahead-first.ahead > maxSkew {
		return alarm("source and target", found, wanted, "synchronise the clocks of both hosts (chronyc makestep, or timedatectl set-ntp true); otherwise keys expire too early or too late by this difference")
	}
	return pass("source and target", found, wanted)
}
