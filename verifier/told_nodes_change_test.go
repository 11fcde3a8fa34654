package verifier

import (
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// TestNodesThatJoin: a node that got slots while a run goes on is read from then on. One that cannot be asked is not, and its keys are
// those of no node that is read, so that they stay unchecked.
func TestNodesThatJoin(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		joins     bool // it answers
		want      Verdict
	}{
		{"it answers", "", true, Same},
		{"it does not answer", "nobody knows what it holds", false, Unchecked},
	} {
		c := endpointtest.ServeCluster(t, "7.0.15", 3)
		first, second, third := c.Servers[0], c.Servers[1], c.Servers[2]
		name := keyOfSlot(5)
		first.Put(name, stringOf("abc"))
		dep := endpointtest.Open(t, c.URL())
		o := toldConfig(t)
		o.mapping = keyspace.Filter{}.To(dep.Databases())
		s, err := newSide(t.Context(), endpoint.Source, dep, &o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close)
		s.nodes = s.nodes[:2] // as if the third had joined after the run began
		if c.Move(name, third); !tt.joins {
			third.Always("INFO", "-LOADING Redis is loading the dataset in memory\r\n")
		}
		probe := sideProber{s, func(k keyID) int { return k.db }}
		keys := []keyID{{name: name}}
		got, err := probe.probe(t.Context(), keys, 0)
		if err != nil || !redirected(got[0].Err) {
			t.Fatalf("%s: before it is known: %+v, %v", tt.name, got, err)
		}
		got, err = probe.probe(t.Context(), keys, 0)
		switch {
		case err != nil:
			t.Fatal(err)
		case tt.want == Same && (got[0].Err != nil || got[0].FP != fingerprintOf(stringOf("abc")) || len(s.known()) != 3):
			t.Errorf("%s: %+v of %d nodes", tt.name, got, len(s.known()))
		case tt.want == Unchecked && (got[0].Err == nil || !strings.Contains(got[0].Err.Error(), "which node of the source serves slot 5") || len(s.known()) != 2):
			t.Errorf("%s: %+v of %d nodes (%s)", tt.name, got, len(s.known()), tt.why)
		}
		if _, err := s.linkNode(AppliedLink{Shard: first.Addr, Reads: second.Addr}); err != nil {
			t.Errorf("%s: a link that reads a node of the side: %v", tt.name, err)
		}
		if _, err := s.linkNode(AppliedLink{Shard: first.Addr, Reads: "nobody:1"}); err == nil || !strings.Contains(err.Error(), "from nobody:1, which this comparison does not read") {
			t.Errorf("%s: a link that reads another node: %v", tt.name, err)
		}
	}
}

// TestConnectionsThatAreNotReady: a database that cannot be selected is not read, since the reads would come from another one. The
// keys of the other databases are compared all the same.
func TestConnectionsThatAreNotReady(t *testing.T) {
	for _, tt := range []struct {
		name, reply string
		same        int64
		says        string
	}{
		{"refused", "-NOPERM this user has no permissions to run the 'select' command\r\n", 6, "SELECT 3 was answered by: NOPERM"},
		{"no such database", "-ERR DB index is out of range\r\n", 6, "SELECT 3 was answered by: DB index"},
		{"loading once", "", 7, ""},
	} {
		p := newEvenPair(t, "7.0.15")
		p.source.PutIn(3, "k", stringOf("x"))
		p.target.PutIn(3, "k", stringOf("x"))
		p.target.Put("k", nil)
		source, target := endpointtest.Open(t, p.source.URL()), endpointtest.Open(t, p.target.URL())
		if tt.reply == "" {
			p.target.Once("SELECT 3", "-LOADING Redis is loading the dataset in memory\r\n")
		} else {
			p.target.Always("SELECT 3", tt.reply)
		}
		r, err := verifyDeployments(t, source, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(r.Reasons, " ")
		for _, f := range r.Findings {
			text += " " + f.Reason
		}
		if failed := tt.reply != ""; r.Totals.Same != tt.same || (r.Verdict == Unchecked) != failed || r.Totals.Missing > 0 || !strings.Contains(text, tt.says) {
			t.Errorf("%s: %s, %+v: %s\nwant %d the same, %q", tt.name, r.Verdict, r.Totals, text, tt.same, tt.says)
		}
	}
}
