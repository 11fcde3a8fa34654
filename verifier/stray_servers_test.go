//go:build servers

package verifier

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// owners are the nodes of a cluster by what they are to a slot.
func owners(t *testing.T, d *endpoint.Deployment, nodes []*servers.Server, slot uint16) (owner, other *servers.Server) {
	t.Helper()
	n, ok := d.PrimaryOf(slot)
	if !ok {
		t.Fatalf("nobody serves slot %d", slot)
	}
	for _, s := range nodes {
		if s.Addr == n.Addr {
			owner = s
		} else {
			other = s
		}
	}
	return owner, other
}

// putAstray writes a key to a node that does not own its slot.
func putAstray(t *testing.T, owner, other *servers.Server, key, value string) {
	t.Helper()
	slot, id := strconv.Itoa(int(keyspace.Slot(key))), owner.Must("CLUSTER", "MYID").(string)
	other.Must("CLUSTER", "SETSLOT", slot, "IMPORTING", id)
	c := other.Client(0)
	for _, r := range c.DoMulti(context.Background(), c.B().Arbitrary("ASKING").Build(), c.B().Arbitrary("SET", key, value).Build()) {
		if err := r.Error(); err != nil {
			t.Fatal(err)
		}
	}
	other.Must("CLUSTER", "SETSLOT", slot, "STABLE")
}

// TestStraysOfACluster: what a node holds beside its slots is named, and the copy of the owner is judged.
func TestStraysOfACluster(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"source", "target"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			cluster, alone := servers.Cluster(t, "redis:7.0", 3, 0), servers.Standalone(t, "redis:7.0")
			from, to := cluster[0].URL(), alone.URL()
			if side == "target" {
				from, to = to, from
			}
			options := func() Config {
				return configFor(t, from, to, func(o *Config) { o.Rounds, o.Interval = 1, 0 })
			}
			run := func() *Report {
				t.Helper()
				r, err := Run(context.Background(), options())
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			cfg := options()
			d := map[string]*endpoint.Deployment{"source": cfg.Source, "target": cfg.Target}[side]
			owner, other := owners(t, d, cluster, keyspace.Slot("k"))
			for _, s := range []*servers.Server{owner, alone} {
				s.Must("SET", "k", "v")
			}
			putAstray(t, owner, other, "k", "of long ago")
			r := run()
			if r.Verdict != Same || r.Totals.Same != 1 || len(r.Incomplete) != 0 {
				t.Errorf("beside the owner's: %s, %+v, %q", r.Verdict, r.Totals, r.Reasons)
			}
			want := Stray{Side: side, Node: other.Addr, Slot: keyspace.Slot("k"), Key: "k", KeyBase64: base64Of("k")}
			if !slices.Equal(r.Strays, []Stray{want}) || !strings.Contains(strings.Join(r.Reasons, " "), "k (slot 7629) on "+other.Addr) {
				t.Errorf("%+v, %q, want %+v", r.Strays, r.Reasons, want)
			}
			alone.Must("SET", "k", "other")
			if r := run(); r.Verdict != Different || r.Totals.Different != 1 {
				t.Errorf("the owner's copy differs: %s, %+v, %q", r.Verdict, r.Totals, r.Reasons)
			}
			alone.Must("SET", "k", "of long ago")
			if r := run(); r.Totals.Different != 1 {
				t.Errorf("the stray agrees, the owner's copy does not: %s, %+v, %q", r.Verdict, r.Totals, r.Reasons)
			}
			owner.Must("DEL", "k") // what is left behind on a former owner
			if r, n := run(), map[string]Verdict{"source": Extra, "target": Missing}[side]; r.Totals.Extra+r.Totals.Missing != 1 || len(r.Findings) != 1 || r.Findings[0].Verdict != n {
				t.Errorf("the stray alone: %s, %+v, %q, want %s", r.Verdict, r.Totals, r.Reasons, n)
			}
			alone.Must("DEL", "k")
			owner.Must("SET", "{k}2", "v")
			alone.Must("SET", "{k}2", "v")
			if r := run(); r.Verdict != Same || len(r.Strays) != 1 {
				t.Errorf("of a key that is nowhere else: %s, %+v, %+v", r.Verdict, r.Totals, r.Strays)
			}
		})
	}
}

// TestImportedKeysAreNoStrays: a slot that is on its way to a node brings its keys there before the node owns it.
func TestImportedKeysAreNoStrays(t *testing.T) {
	t.Parallel()
	cluster, alone := servers.Cluster(t, "redis:7.0", 3, 0), servers.Standalone(t, "redis:7.0")
	cfg := configFor(t, cluster[0].URL(), alone.URL(), func(o *Config) { o.Rounds, o.Interval = 1, 0 })
	owner, other := owners(t, cfg.Source, cluster, keyspace.Slot("k"))
	slot := strconv.Itoa(int(keyspace.Slot("k")))
	owner.Must("SET", "k", "v")
	alone.Must("SET", "k", "v")
	other.Must("CLUSTER", "SETSLOT", slot, "IMPORTING", owner.Must("CLUSTER", "MYID").(string))
	owner.Must("CLUSTER", "SETSLOT", slot, "MIGRATING", other.Must("CLUSTER", "MYID").(string))
	host, port, _ := strings.Cut(other.Addr, ":")
	owner.Must("MIGRATE", host, port, "k", "0", "5000")
	r, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(r.Incomplete, " "); len(r.Strays) != 0 || !strings.Contains(text, "being moved") || r.Verdict != Unchecked {
		t.Errorf("%s, strays %+v, incomplete %q", r.Verdict, r.Strays, text)
	}
}
