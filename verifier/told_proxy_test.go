package verifier

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
)

// toldProxy is a twemproxy in front of two servers, whose keys are read from the servers themselves.
type toldProxy struct {
	url    string
	shards []*endpointtest.Server
	dep    *endpoint.Deployment
}

func newToldProxy(t *testing.T) *toldProxy {
	t.Helper()
	p := &toldProxy{}
	var addrs []string
	for range 2 {
		s := endpointtest.Serve(t, "7.0.15")
		p.shards = append(p.shards, s)
		addrs = append(addrs, s.Addr)
	}
	p.url = "redis+twemproxy://" + endpointtest.Serve(t, "7.0.15").Addr + "?shards=" + strings.Join(addrs, ",")
	p.dep = endpointtest.Open(t, p.url)
	return p
}

// of returns the server on which the proxy looks for a key, and the other one.
func (p *toldProxy) of(name string) (right, wrong *endpointtest.Server) {
	if p.dep.Holds(p.shards[0].Addr, name) {
		return p.shards[0], p.shards[1]
	}
	return p.shards[1], p.shards[0]
}

// TestKeysAstray: a key on a server where the proxy does not look for it is extra on a target, however like the source's it is, and is
// no part of a source. A copy where the proxy looks is compared as if there were no other.
func TestKeysAstray(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	for _, tt := range []struct {
		name, why      string
		tell           func(p *toldProxy)
		target, source Totals // where the proxy is the target, and where it is the source
	}{
		{"all in their places", "", func(*toldProxy) {}, Totals{SourceKeys: 5, TargetKeys: 5, Same: 5}, Totals{SourceKeys: 5, TargetKeys: 5, Same: 5}},
		{"one in the wrong place", "no client finds it", func(p *toldProxy) {
			right, wrong := p.of("a")
			wrong.Put("a", right.Get("a"))
			right.Put("a", nil)
		}, Totals{SourceKeys: 5, TargetKeys: 4, Same: 4, Missing: 1, Extra: 1}, Totals{SourceKeys: 4, TargetKeys: 5, Same: 4, Extra: 1}},
		{"one in both places", "the one that clients see is compared", func(p *toldProxy) {
			_, wrong := p.of("b")
			wrong.Put("b", stringOf("old"))
		}, Totals{SourceKeys: 5, TargetKeys: 5, Same: 5, Extra: 1}, Totals{SourceKeys: 5, TargetKeys: 5, Same: 5}},
		{"one that nobody else has", "", func(p *toldProxy) {
			_, wrong := p.of("stray")
			wrong.Put("stray", stringOf("x"))
		}, Totals{SourceKeys: 5, TargetKeys: 5, Same: 5, Extra: 1}, Totals{SourceKeys: 5, TargetKeys: 5, Same: 5}},
	} {
		for _, asTarget := range []bool{true, false} {
			p, single := newToldProxy(t), endpointtest.Serve(t, "7.0.15")
			for _, name := range names {
				right, _ := p.of(name)
				right.Put(name, stringOf("value of "+name))
				single.Put(name, stringOf("value of "+name))
			}
			tt.tell(p)
			source, target, want := p.dep, endpointtest.Open(t, single.URL()), tt.source
			if asTarget {
				source, target, want = target, source, tt.target
			}
			r, err := verifyDeployments(t, source, target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Totals != want {
				t.Errorf("%s, as the target %v: %+v, want %+v (%s): %s", tt.name, asTarget, r.Totals, want, tt.why, strings.Join(r.Reasons, " "))
			}
			for _, f := range r.Findings {
				if f.Verdict == Extra && asTarget && (f.Code != AstrayOnTarget || !strings.Contains(f.Reason, "where the proxy does not look for it")) {
					t.Errorf("%s: %s is extra: %s", tt.name, f.Key, f.Reason)
				}
			}
		}
	}
}

// TestRepairOfKeysAstray: a key is deleted from the server where the proxy does not look for it, and from no other, and only where
// deleting was asked for.
func TestRepairOfKeysAstray(t *testing.T) {
	p, source := newToldProxy(t), endpointtest.Serve(t, "7.0.15")
	right, wrong := p.of("k")
	source.Put("k", stringOf("abc"))
	right.Put("k", stringOf("abc"))
	wrong.Put("k", stringOf("old"))
	found, err := verifyDeployments(t, endpointtest.Open(t, source.URL()), p.dep, nil)
	if err != nil || len(found.Findings) != 1 || found.Findings[0].Code != AstrayOnTarget {
		t.Fatalf("%+v, %v", found, err)
	}
	kept, _ := repairTold(t, source.URL(), p.url, found.Findings, nil)
	if d := kept["k"]; d.Remedy != RemedyNone || wrong.Get("k") == nil || !strings.Contains(d.Why, "DeleteExtra") {
		t.Errorf("without being asked to: %+v", d)
	}
	wrong.Once("DEL k", "-OOM command not allowed when used memory > 'maxmemory'.\r\n")
	failed, again := repairTold(t, source.URL(), p.url, found.Findings, func(c *RepairConfig) { c.DeleteExtra = true })
	if d := failed["k"]; !strings.Contains(d.Error, "OOM") || again.Totals.Extra != 1 {
		t.Errorf("refused: %+v, %+v", d, again.Totals)
	}
	done, again := repairTold(t, source.URL(), p.url, found.Findings, func(c *RepairConfig) { c.DeleteExtra = true })
	if d := done["k"]; d.Remedy != RemedyDelete || d.Error != "" || !strings.Contains(d.Why, wrong.Addr) || strings.Contains(d.Why, right.Addr) {
		t.Errorf("%+v", d)
	}
	if v := right.Get("k"); wrong.Get("k") != nil || v == nil || string(v.Str) != "abc" || len(right.Calls("DEL")) > 0 || again.Totals.Extra != 0 || again.Verdict != Same {
		t.Errorf("the proxy finds %+v, %q were deleted there; %s, %+v", v, right.Calls("DEL"), again.Verdict, again.Totals)
	}
}

// TestRepairFromBehindAProxy: a proxy before a cluster refuses a transaction, so that keys are copied without one. A key that it refuses
// concerns no other.
func TestRepairFromBehindAProxy(t *testing.T) {
	source, target := endpointtest.Serve(t, "7.0.15"), endpointtest.Serve(t, "7.0.15")
	source.Tell("cluster_enabled", "1", "redis_mode", "cluster")
	nodeLines([]*endpointtest.Server{source}, "0-16383")
	var names []string
	for i := range 6 {
		name := fmt.Sprintf("k%d", i)
		source.Put(name, stringOf(name))
		names = append(names, name)
	}
	at := time.Now().Add(time.Hour).UnixMilli()
	expiring := stringOf("k5")
	expiring.ExpireAt = at
	source.Put("k5", expiring)
	source.Always("MULTI", "-ERR unknown command 'MULTI'\r\n")
	source.Always("DUMP k3", "-NOPERM No permissions to access a key\r\n")
	url := "redis+cluster://" + source.Addr + "?proxy=tencent"
	missing, err := verifyDeployments(t, endpointtest.Open(t, url), endpointtest.Open(t, target.URL()), nil)
	if err != nil || missing.Totals.Missing != 6 {
		t.Fatalf("%+v, %v", missing, err)
	}
	source.Before("DUMP k4", func() { source.Put("k4", nil) })
	copied, _ := repairTold(t, url, target.URL(), missing.Findings, nil)
	for _, name := range names {
		d, left := copied[name], target.Get(name)
		if fails := map[string]string{"k3": "DUMP was answered by: NOPERM", "k4": "the source no longer has it"}[name]; d.Remedy != RemedyCopy || !strings.Contains(d.Error, fails) || (fails == "") != (left != nil && d.Error == "") {
			t.Errorf("%s: %+v, the target holds %+v", name, d, left)
		}
	}
	if v := target.Get("k5"); v == nil || v.ExpireAt != at {
		t.Errorf("the key that expires: %+v", v)
	}
	if !slices.Equal(target.Names(), []string{"k0", "k1", "k2", "k5"}) {
		t.Errorf("the target holds %q", target.Names())
	}
}
