//go:build servers

package reports

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/preflight"
	"surecut/verifier"
)

// consistent fails where a report that surecut has just made contradicts itself.
func consistent(t *testing.T, r Report) {
	t.Helper()
	data, err := encode(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contradictions(back) {
		t.Error(c)
	}
}

// TestRealReportsAddUp: what the checks and the verifier report never contradicts itself, whatever they find: keys that are
// different, missing, extra or expiring, more findings than are listed, databases that are mapped, names with prefixes, writes meanwhile.
func TestRealReportsAddUp(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	source, cluster := servers.Standalone(t, "redis:7.0"), servers.Cluster(t, "redis:7.0", 3, 0)[0]
	fillRandomly(source, rand.New(rand.NewPCG(seed, 1)), 0)
	for i, filter := range []keyspace.Filter{{}, {Include: []string{"k:1*"}}, {DBMap: map[int]int{0: 3}}, {DBPrefix: map[int]string{0: "app:"}}} {
		for j, limit := range []int{10_000, 7, 0} { // of findings; 0: the cluster is the target
			t.Run(fmt.Sprintf("filter %d, limit %d", i, limit), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(seed, uint64(2+3*i+j)))
				o := verifier.DefaultConfig()
				url := "redis+cluster://" + cluster.Addr
				if limit > 0 {
					target := servers.Standalone(t, "redis:7.0")
					fillRandomly(target, random, []int{0, 4, 40}[random.IntN(3)])
					url, o.MaxFindings = target.URL(), limit
				}
				o.Sides = verifier.Sides{Source: endpointtest.Open(t, source.URL()), Target: endpointtest.Open(t, url)}
				o.Filter, o.Interval, o.Rounds = filter, 10*time.Millisecond, 2
				result, err := verifier.Run(t.Context(), o)
				if err != nil {
					t.Log(err) // a cluster takes no other database
					return
				}
				t.Logf("%+v, omitted %d, rounds %d", result.Totals, result.Omitted, result.Rounds)
				h := NewHeader(KindVerify, "test", source.URL(), url)
				h.SourceServers, h.TargetServers = result.Servers.Source, result.Servers.Target
				consistent(t, &Verify{Header: h, Report: *result})
			})
		}
	}
	cfg := preflight.DefaultConfig()
	cfg.Source, cfg.Target = preflight.Opened(endpointtest.Open(t, source.URL())), preflight.Opened(endpointtest.Open(t, "redis+cluster://"+cluster.Addr))
	checks, err := preflight.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	consistent(t, &Check{Header: NewHeader(KindCheck, "test", source.URL(), "redis+cluster://"+cluster.Addr), Report: checks})
}

// fillRandomly writes keys of several types. Where skip is not 0, one of so many is left out, and one of so many has another value.
func fillRandomly(s *servers.Server, random *rand.Rand, skip int) {
	for i := range 300 {
		if skip > 0 && random.IntN(skip) == 0 {
			continue
		}
		value := fmt.Sprint(i)
		if skip > 0 && random.IntN(skip) == 0 {
			value = "other"
		}
		k := fmt.Sprintf("k:%d", i)
		if i%50 == 0 {
			k += strings.Repeat(":long", 1000) // a name that a report quotes the beginning of
		}
		switch i % 4 {
		case 0:
			s.Must("SET", k, value)
		case 1:
			s.Must("HSET", k, "f", value)
		case 2:
			s.Must("RPUSH", k, "a", value)
		default:
			s.Must("SET", k, value, "PX", fmt.Sprint(500+random.IntN(600_000)))
		}
	}
}
