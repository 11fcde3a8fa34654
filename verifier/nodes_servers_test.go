//go:build servers

package verifier

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

// cutOff ends the replication of a primary's replicas for good: they may not ask for it any more.
func cutOff(t *testing.T, primary *servers.Server, replicas ...*servers.Server) {
	t.Helper()
	primary.Must("ACL", "SETUSER", "default", "-psync", "-sync")
	primary.Must("CLIENT", "KILL", "TYPE", "replica")
	for _, r := range replicas {
		waitInfo(t, r, "master_link_status", "down")
	}
}

func waitInfo(t *testing.T, s *servers.Server, field, want string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); s.Info("replication")[field] != want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s is %q, want %q", s.Addr, field, s.Info("replication")[field], want)
		}
	}
}

// read names the servers that a report says were read.
func read(id endpoint.Identity) (addrs []string) {
	for _, m := range id {
		if m.Read {
			addrs = append(addrs, m.Addr)
		}
	}
	return addrs
}

func runURLs(t *testing.T, source, target string, change func(*Config)) *Report {
	t.Helper()
	r, err := Run(context.Background(), configFor(t, source, target, func(o *Config) {
		o.Rounds, o.Interval = 1, 0
		if change != nil {
			change(o)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReplicaThatIsNotCurrent: the primary is read in place of a replica whose link is down, whether the topology names the replica or the
// server alone does.
func TestReplicaThatIsNotCurrent(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"cluster", "standalone"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var primary, replica *servers.Server
			if kind == "cluster" {
				nodes := servers.Cluster(t, "redis:7.0", 1, 1)
				primary, replica = nodes[0], nodes[1]
			} else {
				primary = servers.Standalone(t, "redis:7.0")
				replica = servers.Replica(t, primary)
			}
			target := servers.Standalone(t, "redis:7.0")
			primary.Must("SET", "k", "old")
			target.Must("SET", "k", "old")
			primary.Must("WAIT", "1", "10000")
			fromReplica := func(o *Config) { o.ReadFrom = FromReplica }
			r := runURLs(t, primary.URL(), target.URL(), fromReplica)
			if got := read(r.Servers.Source); r.Verdict != Same || len(got) != 1 || got[0] != replica.Addr {
				t.Errorf("current: %s, %q, read %v, want %s", r.Verdict, r.Reasons, got, replica.Addr)
			}
			cutOff(t, primary, replica)
			primary.Must("SET", "k", "new")
			r = runURLs(t, primary.URL(), target.URL(), fromReplica)
			if got := read(r.Servers.Source); r.Verdict != Different || len(got) != 1 || got[0] != primary.Addr {
				t.Errorf("cut off: %s, %q, read %v, want different, and %s", r.Verdict, r.Reasons, got, primary.Addr)
			}
			want := replica.Addr + " of the source was not read: its connection to the primary is down"
			if kind == "standalone" { // the primary has forgotten it
				want = "has no replica that can be read"
			}
			if text := strings.Join(r.Reasons, " "); !strings.Contains(text, want) {
				t.Errorf("%q, want %q", text, want)
			}
		})
	}
}

// TestReplicaThatIsCutOffInTheMiddle: a replica was current when the run began, and is not at its end.
func TestReplicaThatIsCutOffInTheMiddle(t *testing.T) {
	t.Parallel()
	primary := servers.Standalone(t, "redis:7.0")
	replica, target := servers.Replica(t, primary), servers.Standalone(t, "redis:7.0")
	primary.Must("SET", "k", "old")
	target.Must("SET", "k", "old")
	cfg := configFor(t, primary.URL(), target.URL(), func(o *Config) { o.ReadFrom, o.Rounds, o.Interval = FromReplica, 1, 0 })
	v, err := newVerification(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	defer v.source.close()
	defer v.target.close()
	cutOff(t, primary, replica)
	primary.Must("SET", "k", "new")
	if err := v.compare(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.source.stillCurrent(t.Context())
	if r := v.report(nil); r.Verdict == Same || !strings.Contains(strings.Join(r.Incomplete, " "), replica.Addr+" was read as a replica of "+primary.Addr) {
		t.Errorf("%s, %+v, incomplete %q", r.Verdict, r.Totals, r.Incomplete)
	}
}

// TestURLOfAReplica: what the URL names is a replica with a key of its own; its primary is what was meant to be moved.
func TestURLOfAReplica(t *testing.T) {
	t.Parallel()
	primary, other := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	replica := servers.Replica(t, primary)
	replica.Must("CONFIG", "SET", "replica-read-only", "no")
	primary.Must("SET", "k", "v")
	primary.Must("WAIT", "1", "10000")
	replica.Must("SET", "own", "v")
	for _, s := range []string{"k", "own"} {
		other.Must("SET", s, "v")
	}
	for _, tt := range []struct {
		name, source, target string
		from                 ReadFrom
		want                 Totals
	}{
		{name: "source", source: replica.URL(), target: other.URL(), want: Totals{Same: 1, Extra: 1}},
		{name: "source, from a replica that takes writes", source: replica.URL(), target: other.URL(), from: FromReplica, want: Totals{Same: 1, Extra: 1}},
		{name: "target", source: other.URL(), target: replica.URL(), want: Totals{Same: 1, Missing: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := runURLs(t, tt.source, tt.target, func(o *Config) {
				if tt.from != "" {
					o.ReadFrom = tt.from
				}
			})
			n := r.Totals
			if n.Same != tt.want.Same || n.Extra != tt.want.Extra || n.Missing != tt.want.Missing || r.Verdict != Different {
				t.Errorf("%s, %+v, %q, want %+v", r.Verdict, n, r.Reasons, tt.want)
			}
			if text := strings.Join(r.Reasons, " "); !strings.Contains(text, replica.Addr+" is a replica; its primary "+primary.Addr+" was read instead") {
				t.Errorf("%q", text)
			}
		})
	}
	options := configFor(t, other.URL(), replica.URL(), nil)
	if _, _, err := Repair(t.Context(), RepairConfig{Config: options, Apply: true}); err == nil || !strings.Contains(err.Error(), "is a replica") {
		t.Errorf("a repair of a replica: %v", err)
	}
	primary.Kill()
	waitInfo(t, replica, "master_link_status", "down")
	r := runURLs(t, replica.URL(), other.URL(), nil)
	if text := strings.Join(r.Incomplete, " "); r.Verdict != Unchecked || !strings.Contains(text, "could not be read instead") {
		t.Errorf("the primary is gone: %s, %+v, %q", r.Verdict, r.Totals, text)
	}
}

// TestDemotedInTheMiddle: a server that was a primary when the run began, and was made a replica of another one while it was read.
func TestDemotedInTheMiddle(t *testing.T) {
	t.Parallel()
	source, target, third := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	for _, s := range []*servers.Server{source, target, third} {
		s.Must("SET", "k", "v")
	}
	cfg := configFor(t, source.URL(), target.URL(), func(o *Config) { o.Rounds, o.Interval = 1, 0 })
	v, err := newVerification(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	defer v.source.close()
	defer v.target.close()
	host, port, _ := strings.Cut(third.Addr, ":")
	source.Must("REPLICAOF", host, port)
	waitInfo(t, source, "master_link_status", "up")
	if err := v.compare(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.source.stillCurrent(t.Context())
	if r := v.report(nil); r.Verdict == Same || !strings.Contains(strings.Join(r.Incomplete, " "), "became a replica of "+third.Addr) {
		t.Errorf("%s, %+v, incomplete %q", r.Verdict, r.Totals, r.Incomplete)
	}
}

// TestChainOfReplicas: of a replica of a replica the primary at the end is read, and the report names it and what each server is.
func TestChainOfReplicas(t *testing.T) {
	t.Parallel()
	primary := servers.Standalone(t, "redis:7.0")
	fill(primary, 5)
	middle := servers.Replica(t, primary)
	last := servers.Replica(t, middle)
	other := servers.Standalone(t, "redis:7.0")
	fill(other, 5)
	r := runURLs(t, last.URL(), other.URL(), nil)
	got := map[string]string{}
	for _, m := range r.Servers.Source {
		got[m.Addr] = fmt.Sprintf("%s of %q, read %v, told its ID %v", m.Role, m.Primary, m.Read, m.RunID != "")
	}
	want := map[string]string{
		last.Addr:    fmt.Sprintf("replica of %q, read false, told its ID true", middle.Addr),
		middle.Addr:  fmt.Sprintf("replica of %q, read false, told its ID true", primary.Addr),
		primary.Addr: `primary of "", read true, told its ID true`,
	}
	if r.Verdict != Same || !maps.Equal(got, want) {
		t.Errorf("%s of %v, want %v", r.Verdict, got, want)
	}
}
