package target_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// write is a way in which a run writes to its target; end is the offset that it has come to.
type write struct {
	name string
	do   func(ctx context.Context, t *testing.T, r *rig, end int64) error
}

// everyWrite are all ways in which a run writes to its target.
var everyWrite = []write{
	{"a transaction", func(ctx context.Context, t *testing.T, r *rig, end int64) error {
		return r.w.Commit(ctx, []*target.Transaction{r.transaction(end, "APPEND k of-the-first")})
	}},
	{"a bare command", func(ctx context.Context, t *testing.T, r *rig, end int64) error {
		x := r.transaction(end, "SET k of-the-first")
		x.Absolute = true
		return r.w.Commit(ctx, []*target.Transaction{x})
	}},
	{"a value of a snapshot", func(ctx context.Context, t *testing.T, r *rig, _ int64) error {
		_, err := r.restore(t, r.batch(t, target.Overwrite{First: true, Later: true}, 0, "k"))
		return err
	}},
	{"a value that is built", func(ctx context.Context, t *testing.T, r *rig, _ int64) error {
		_, err := r.w.Rebuild(ctx, target.Value{Name: "k"}, target.Overwrite{First: true}, list(3, nil))
		return err
	}},
	{"keys that are removed", func(ctx context.Context, t *testing.T, r *rig, _ int64) error {
		return r.w.Remove(ctx, []keyspace.Key{{Name: "k"}})
	}},
	{"keys that are swept", func(ctx context.Context, t *testing.T, r *rig, _ int64) error {
		addr, err := r.to.AddrOf("k")
		if err == nil {
			_, err = r.to.Delete(ctx, addr, 0, []string{"k"})
		}
		return err
	}},
	{"a command for every node", func(ctx context.Context, t *testing.T, r *rig, _ int64) error {
		return r.to.Everywhere(ctx, []string{"FUNCTION", "LOAD", "REPLACE", "#!lua name=first\n"})
	}},
	{"a record", func(ctx context.Context, t *testing.T, r *rig, end int64) error {
		return r.cp.SaveRecord(ctx, target.RecordKey{Name: r.cp.RecordName(), Main: true}, -1, end)
	}},
	{"a witness", func(ctx context.Context, t *testing.T, r *rig, _ int64) error {
		return r.to.Witnesses.Place(ctx, []target.Witness{{Slot: keyspace.Slot("k")}})
	}},
	{"own keys that are deleted", func(ctx context.Context, t *testing.T, r *rig, _ int64) error {
		return r.cp.Forget(ctx, []target.RecordKey{{Name: r.cp.RecordName()}}, nil)
	}},
}

// TestSuspendedAtAnyCommand: a run is suspended before any of the commands that it sends, while it trusts its claim. Another one takes the
// target over, and then the command arrives. From then on nothing of the first may change the target.
func TestSuspendedAtAnyCommand(t *testing.T) {
	for kind, writes := range map[string][]write{"one server": everyWrite, "a cluster": everyWrite[:1]} {
		for _, tt := range writes {
			for _, warm := range []bool{false, true} { // whether its connections are open before
				name := kind + ", " + tt.name
				if warm {
					name += ", over an open connection"
				}
				t.Run(name, func(t *testing.T) {
					n := 0
					for suspendedAt(t, kind, n, warm, tt) {
						n++
					}
					if n == 0 {
						t.Error("no command was seen")
					}
				})
			}
		}
	}
}

// suspendedAt suspends a run before the command with the index at, and returns false if it sends fewer.
func suspendedAt(t *testing.T, kind string, at int, warm bool, w write) bool {
	t.Helper()
	var r *rig
	var all []*endpointtest.Server
	var url string
	if kind == "a cluster" {
		var c *endpointtest.Cluster
		r, c = clusterRig(t)
		all, url = c.Servers, c.URL()
	} else {
		r = serverRig(t, "7.0.15")
		all, url = []*endpointtest.Server{r.s}, r.s.URL()
	}
	if err := r.to.Claim.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.begin(t)
	if warm {
		if err := w.do(t.Context(), t, r, 400); err != nil {
			t.Fatal(err)
		}
	}
	other := targettest.Open(t, url, named("other", t.TempDir()))
	holder := r.of(migration)
	var mu sync.Mutex
	seen, taken, over := 0, false, make(chan struct{})
	var then map[string]any
	for _, s := range all {
		s.On("", func([]string) string {
			mu.Lock()
			now := !taken && seen == at
			seen++
			taken = taken || now
			mu.Unlock()
			if now {
				defer close(over)
				then = heldBy(all)
				holder.Do(0, "HMSET", migration, "seen_ms", "1", "heartbeat_ms", "1")
				if err := other.Claim.Acquire(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
			}
			return endpointtest.Usual
		})
	}
	err := w.do(soon(t), t, r, 500)
	mu.Lock()
	reached := taken
	taken = true
	mu.Unlock()
	if !reached {
		return false
	}
	<-over
	if err == nil && at == 0 { // at the end everything may have been written before
		t.Errorf("suspended before command %d: no error", at)
	}
	if now := heldBy(all); !reflect.DeepEqual(now, then) {
		t.Errorf("suspended before command %d: the target holds %v, and held %v when the other one had taken it over", at, now, then)
	}
	return true
}

// heldBy returns all that servers hold, beside the record of the claim.
func heldBy(all []*endpointtest.Server) map[string]any {
	held := map[string]any{}
	for _, s := range all {
		for _, name := range s.Names() {
			if v := s.Get(name); v != nil && name != migration {
				held[s.Addr+" "+name] = *v
			}
		}
		held[s.Addr] = maps.Clone(s.Libraries())
	}
	return held
}

// TestOrderOfFence checks the rule itself: two runs, each a list of steps, in every order in which the steps can follow each other. The first
// opens a connection and writes over it, the second takes the target over. Once the second writes, the first must not. With two steps of
// either run swapped, an order must be found in which it does.
func TestOrderOfFence(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second []string
		safe          bool
	}{
		{"as it is", []string{"name", "read", "send", "arrive"}, []string{"claim", "list", "end", "write"}, true},
		{"read before the name", []string{"read", "name", "send", "arrive"}, []string{"claim", "list", "end", "write"}, false},
		{"connections ended before the claim", []string{"name", "read", "send", "arrive"}, []string{"list", "end", "claim", "write"}, false},
		{"written before connections are ended", []string{"name", "read", "send", "arrive"}, []string{"claim", "write", "list", "end"}, false},
		{"listed before the claim", []string{"name", "read", "send", "arrive"}, []string{"list", "claim", "end", "write"}, false},
		{"no name", []string{"read", "send", "arrive"}, []string{"claim", "list", "end", "write"}, false},
		{"no look at the claim", []string{"name", "send", "arrive"}, []string{"claim", "list", "end", "write"}, false},
	} {
		if got := !(fenceState{}).twoWriters(tt.first, tt.second); got != tt.safe {
			t.Errorf("%s: safe is %v", tt.name, got)
		}
	}
}

// fenceState is what a server knows of the first run's connection and of the claim.
type fenceState struct{ named, owned, claimed, listed, ended, written bool }

// twoWriters says whether there is an order of the steps left in which the first run writes after the second has. A run that is suspended is
// one whose next step comes late.
func (s fenceState) twoWriters(first, second []string) bool {
	if len(first) > 0 {
		next, goesOn := s, true
		switch first[0] {
		case "name":
			next.named = true
		case "read":
			next.owned = !s.claimed
			goesOn = next.owned
		case "arrive": // what was sent before the connection was ended dies with it
			if s.written && !s.ended {
				return true
			}
		}
		if goesOn && !s.ended && next.twoWriters(first[1:], second) {
			return true
		}
	}
	if len(second) == 0 {
		return false
	}
	next := s
	switch second[0] {
	case "claim":
		next.claimed = true
	case "list":
		next.listed = s.named
	case "end":
		next.ended = s.listed
	case "write":
		next.written = true
	}
	return next.twoWriters(first, second[1:])
}

// TestWhoseConnectionsAreEnded: a run that takes the target over ends the connections of every earlier run, also of one whose successor died
// before it had ended them, and leaves those to other databases alone.
func TestWhoseConnectionsAreEnded(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second string // databases, as in URLs
		ended         bool
	}{
		{"all databases", "", "", true},
		{"one that has a database of all", "/3", "", true},
		{"the same database", "/3", "/3", true},
		{"another database", "/3", "/4", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := endpointtest.Serve(t, "7.0.15")
			r := newRig(t, s, s.URL()+tt.first)
			if err := r.to.Claim.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			db := max(r.to.DBs.Home, 0)
			x := r.transaction(400, "SET a 1")
			x.Calls[0].DB = db
			if err := r.w.Commit(t.Context(), []*target.Transaction{x}); err != nil {
				t.Fatal(err)
			}
			for i := range 5 { // another run has written its claim there, and was killed at once
				s.Do(i, "HMSET", migration, "id", "second", "run", "y", "state", "running", "place", "", "seen_ms", "1", "heartbeat_ms", "1")
			}
			third := targettest.Open(t, s.URL()+tt.second, named("third", t.TempDir()))
			third.Claim.WaitFor(0)
			if err := third.Claim.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.Do(0, "CLIENT", "LIST"); strings.Contains(got, " name=surecut-id:") == tt.ended {
				t.Errorf("connections: %s", got)
			}
		})
	}
}

// TestTakenOverInAnotherDatabase: a run that keeps to one database, and one that writes to all, have their records in different databases. Either
// of them finds in its own that the other one has taken the target over.
func TestTakenOverInAnotherDatabase(t *testing.T) {
	for _, db := range [][2]string{{"/3", ""}, {"", "/3"}} {
		s := endpointtest.Serve(t, "7.0.15")
		first, second := newRig(t, s, s.URL()+db[0]), targettest.Open(t, s.URL()+db[1], named("other", t.TempDir()))
		if err := first.to.Claim.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen(s, max(first.to.DBs.Home, 0), time.Hour)
		if err := second.Claim.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := first.cp.SaveRecord(soon(t), target.RecordKey{Name: first.cp.RecordName(), Main: true}, -1, 500); !errors.Is(err, target.ErrClaimed) {
			t.Errorf("%q, then %q: %v", db[0], db[1], err)
		}
	}
}

// TestConnectionWithoutName: where a connection cannot be named, and so not be found, nothing is written over it.
func TestConnectionWithoutName(t *testing.T) {
	for _, tt := range everyWrite {
		t.Run(tt.name, func(t *testing.T) {
			r := serverRig(t, "7.0.15")
			if err := r.to.Claim.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.begin(t)
			before := heldBy([]*endpointtest.Server{r.s})
			r.s.Always("CLIENT SETNAME", "-NOPERM this user has no permissions to run the 'client|setname' command\r\n")
			if err := tt.do(soon(t), t, r, 500); err == nil || !strings.Contains(err.Error(), "CLIENT SETNAME") {
				t.Errorf("%v", err)
			}
			if now := heldBy([]*endpointtest.Server{r.s}); !reflect.DeepEqual(now, before) {
				t.Errorf("%v", slices.Sorted(maps.Keys(now)))
			}
			if to := targettest.Open(t, r.s.URL()); to.Can.Ends {
				t.Error("a later run relies on names")
			}
		})
	}
}

// TestClaimIsGone: a record that is gone is written again, unless another run may have come and gone meanwhile.
func TestClaimIsGone(t *testing.T) {
	for _, tt := range []struct {
		name            string
		late, restarted bool
		err             error
	}{
		{"just renewed", false, false, nil},
		{"not renewed for long", true, false, target.ErrGivenAway},
		{"not renewed for long, since the server was away and came back empty", true, true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serverRig(t, "7.0.15")
			r.s.Tell("run_id", "a")
			if err := r.to.Claim.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.s.Put(migration, nil)
			if tt.late {
				r.to.Claim.Distrust()
			}
			if tt.restarted {
				r.s.Restart()
			}
			if err := r.to.Claim.Hold(t.Context()); !errors.Is(err, tt.err) {
				t.Error(err)
			}
			err := r.to.Claim.Renew(t.Context(), "running")
			if !errors.Is(err, tt.err) || (targettest.Field(r.s, 0, migration, "id") == "id") != (tt.err == nil) {
				t.Error(err)
			}
		})
	}
}

// TestClaimComesBack: a replica that is promoted may hold the record of an earlier claim. The run whose claim is later takes it again, and
// ends what the earlier run has opened meanwhile; the earlier one does not get it back.
func TestClaimComesBack(t *testing.T) {
	r := serverRig(t, "7.0.15")
	if err := r.to.Claim.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	earlier := r.s.Get(migration)
	seen(r.s, 0, time.Hour)
	other := targettest.Open(t, r.s.URL(), named("other", t.TempDir()))
	if err := other.Claim.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.s.Put(migration, earlier)
	if err := r.w.Commit(t.Context(), []*target.Transaction{r.transaction(400, "SET a 1")}); err != nil {
		t.Fatal(err)
	}
	if err := other.Claim.Renew(t.Context(), "running"); err != nil {
		t.Fatal(err)
	}
	if err := r.w.Commit(t.Context(), []*target.Transaction{r.transaction(500, "SET a 2")}); !errors.Is(err, target.ErrClaimed) || r.text("a") != "1" {
		t.Errorf("%v, a is %q", err, r.text("a"))
	}
}

// TestClaimIsReplicated: a run that takes the target over waits until its replicas have the claim, and says if they have not.
func TestClaimIsReplicated(t *testing.T) {
	s := endpointtest.Serve(t, "7.0.15")
	s.Tell("connected_slaves", "2", "slave0", "ip=127.0.0.1,port=1,state=online,offset=1,lag=0") // the other one still loads its snapshot
	s.Always("WAIT", ":0\r\n")
	var log strings.Builder
	to := targettest.Open(t, s.URL(), func(c *target.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	if err := to.Claim.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := to.Claim.Renew(t.Context(), "running"); err != nil {
		t.Fatal(err)
	}
	if err := to.Claim.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.Calls("WAIT"); len(got) != 1 || !strings.HasPrefix(got[0], "WAIT 1 ") || !strings.Contains(log.String(), "not all replicas") {
		t.Errorf("%v; %s", got, log.String())
	}
}

// TestRenewalIsOneLook: what a renewal costs in round trips does not grow with the number of databases, or a run over a long path could not
// renew its claim in time.
func TestRenewalIsOneLook(t *testing.T) {
	path := endpointtest.ServeRelay(t, endpointtest.Serve(t, "7.0.15").Addr)
	to := targettest.Open(t, path.URL())
	if err := to.Claim.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := path.Turns()
	if err := to.Claim.Renew(t.Context(), "running"); err != nil {
		t.Fatal(err)
	}
	if n := (path.Turns() - before) / 2; n == 0 || n > 8 {
		t.Errorf("a renewal took %d round trips", n)
	}
}
