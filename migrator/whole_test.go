package migrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
)

// Whole migrations between servers in memory. What Redis does with the commands is shown by the tests against servers; here it is forced
// what happens at one only by chance.

// TestFileArrives: a file is copied to its end, and nothing of surecut is left behind. If it fails, the target's own keys are as they were.
func TestFileArrives(t *testing.T) {
	passed := time.Now().Add(-time.Hour).UnixMilli()
	aof := streamOf("SELECT 0", "SET a 1", "SET b 2")
	for _, tt := range []struct {
		name, why string
		scheme    string
		data      string
		holds     texts // the target, before
		change    func(*Config)
		want      texts
		says      string
		counters  Counters
	}{
		{name: "rdb", scheme: "rdb", data: rdbOf(t, texts{"a": "1", "b": "2"}, nil), want: texts{"a": "1", "b": "2"},
			counters: Counters{SnapshotKeys: 2, SnapshotApplied: 2}},
		{name: "expired", why: "it is not to come back to life", scheme: "rdb", data: rdbOf(t, texts{"a": "1", "b": "2"}, map[string]int64{"a": passed}),
			want: texts{"b": "2"}, counters: Counters{SnapshotKeys: 2, SnapshotApplied: 1, SnapshotExpired: 1}},
		{name: "excluded", scheme: "rdb", data: rdbOf(t, texts{"a": "1", "b": "2"}, nil), change: func(c *Config) { c.Filter.Exclude = []string{"a"} },
			want: texts{"b": "2"}, counters: Counters{SnapshotKeys: 2, SnapshotApplied: 1, SnapshotFiltered: 1}},
		{name: "fail", scheme: "rdb", data: rdbOf(t, texts{"a": "1"}, nil), holds: texts{"a": "old"}, want: texts{"a": "old"}, says: "already exists"},
		{name: "keep", scheme: "rdb", data: rdbOf(t, texts{"a": "1", "b": "2"}, nil), holds: texts{"a": "old"}, change: func(c *Config) { c.OnExisting = ExistingKeep },
			want: texts{"a": "old", "b": "2"}, counters: Counters{SnapshotKeys: 2, SnapshotApplied: 1, SnapshotKept: 1}},
		{name: "replace", scheme: "rdb", data: rdbOf(t, texts{"a": "1"}, nil), holds: texts{"a": "old", "mine": "x"}, change: func(c *Config) { c.OnExisting = ExistingReplace },
			want: texts{"a": "1", "mine": "x"}, counters: Counters{SnapshotKeys: 1, SnapshotApplied: 1}},
		{name: "cut off", why: "what is missing cannot be told", scheme: "rdb", data: rdbOf(t, texts{"a": "1", "b": "2"}, nil)[:24], says: "snapshot"},
		{name: "only a part of the modes", scheme: "rdb", data: rdbOf(t, nil, nil), change: func(c *Config) { c.Mode = ModeFull }, says: "a file is always copied completely"},
		{name: "a file cannot be scanned", scheme: "rdb", data: rdbOf(t, nil, nil), change: func(c *Config) { c.Capture = CaptureScan }, says: "Config.Capture scan"},
		{name: "aof", scheme: "aof", data: aof, want: texts{"a": "1", "b": "2"}, counters: Counters{Commands: 3, CommandsApplied: 2, CommandsControl: 1}},
		{name: "aof with a snapshot at its beginning", scheme: "aof", data: rdbOf(t, texts{"a": "0", "c": "3"}, nil) + aof, want: texts{"a": "1", "b": "2", "c": "3"},
			counters: Counters{SnapshotKeys: 2, SnapshotApplied: 2, Commands: 3, CommandsApplied: 2, CommandsControl: 1}},
		{name: "aof, cut off", why: "the user decides", scheme: "aof", data: aof[:len(aof)-3], says: "appendonly.aof"},
		{name: "aof, cut off and accepted", scheme: "aof", data: aof[:len(aof)-3], change: func(c *Config) { c.AcceptCut = true }, want: texts{"a": "1"},
			counters: Counters{Commands: 2, CommandsApplied: 1, CommandsControl: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := serve(t, tt.holds)
			cfg := between(t, tt.scheme+":"+writeFile(t, map[string]string{"rdb": "dump.rdb", "aof": "appendonly.aof"}[tt.scheme], tt.data), to.URL())
			if tt.change != nil {
				tt.change(&cfg)
			}
			m, err := migrate(t, cfg)
			saysSo(t, err, tt.says, tt.why)
			if got := heldBy(to); tt.want != nil && !maps.Equal(got, tt.want) {
				t.Errorf("the target holds %v, want %v (%s)", got, tt.want, tt.why)
			}
			if err != nil {
				return
			}
			if r := m.Report(); r.State != "done" || r.Counters != tt.counters || !m.Settled() || !m.Snapshotted() {
				t.Errorf("%s, counted %+v, want %+v", r.State, r.Counters, tt.counters)
			}
			if own := ownOf(to, ""); len(own) > 0 {
				t.Errorf("left on the target: %v", own)
			}
			if StateID(cfg.StateDir) != "" {
				t.Error("left on disk: a state that would be resumed")
			}
		})
	}
}

// TestFileIsResumed: a run that has failed is taken up again with the same file, and with no other one.
func TestFileIsResumed(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		to, path := serve(t, texts{"a": "old"}), writeFile(t, "dump.rdb", rdbOf(t, texts{"a": "1"}, nil))
		cfg := between(t, "rdb:"+path, to.URL())
		_, err := migrate(t, cfg)
		saysSo(t, err, "already exists", "the first run")
		to.Put("a", nil)
		want, says := texts{"a": "1"}, ""
		if replaced {
			if err := os.WriteFile(path, []byte(rdbOf(t, texts{"a": "2"}, nil)), 0o600); err != nil {
				t.Fatal(err)
			}
			want, says = texts{}, "start again with a new Config.StateDir"
		}
		_, err = migrate(t, cfg)
		saysSo(t, err, says, "the second run")
		if got := heldBy(to); !maps.Equal(got, want) {
			t.Errorf("replaced %v: the target holds %v, want %v", replaced, got, want)
		}
	}
}

// TestReplicaIsResumed: the second run goes on where the first one has stopped, counts on, and at last nothing of surecut is left.
func TestReplicaIsResumed(t *testing.T) {
	from, to := serve(t, nil), serve(t, nil)
	cfg := between(t, from.URL(), to.URL())
	cfg.HoldExpiry = 0
	var observed []string
	cfg.Observe = func(_ string, _ int, args [][]byte, _ time.Time) { observed = append(observed, string(args[0])) }
	replicates(from, from.ReplID(), rdbOf(t, texts{"a": "1"}, nil), "SELECT 0", "SET b 2")
	first := mustMigrate(t, cfg)
	end := first.Report().Links[0]
	if end.AppliedOffset != end.Offset || end.ReplID != from.ReplID() || end.Phase != "done" || first.Resumed() || !first.TargetWasEmpty() {
		t.Errorf("the first run: %+v", end)
	}
	from.Tell("master_repl_offset", fmt.Sprint(end.Offset)) // or the second run would know of more than it can get
	continues(from, "SET a 3", "SET c 4")
	second := mustMigrate(t, cfg)
	calls := from.Calls("PSYNC")
	if want := fmt.Sprintf("PSYNC %s %d", from.ReplID(), end.Offset+1); calls[len(calls)-1] != want {
		t.Errorf("asked for %q, want %q", calls[len(calls)-1], want)
	}
	if got, want := heldBy(to), (texts{"a": "3", "b": "2", "c": "4"}); !maps.Equal(got, want) {
		t.Errorf("the target holds %v, want %v", got, want)
	}
	r := second.Report()
	if r.Counters.Commands != 2 || r.AllRuns.Runs != 2 || !r.AllRuns.Exact || r.AllRuns.Counters.CommandsApplied != 3 || r.AllRuns.Counters.SnapshotApplied != 1 {
		t.Errorf("counted %+v, in all runs %+v", r.Counters, r.AllRuns)
	}
	if got := strings.Join(observed, " "); got != "SELECT SET SET SET" {
		t.Errorf("observed %s", got)
	}
	if err := second.Forget(t.Context()); err != nil || len(ownOf(to, "")) > 0 || StateID(cfg.StateDir) != "" {
		t.Errorf("left behind: %v, %v", ownOf(to, ""), err)
	}
}

// TestStopsAtTheSource: a migration that is told to end is done only if the target has everything that the source had by then. If the source
// is ahead, or does not say how far it has come, the migration is stopped, and says so.
func TestStopsAtTheSource(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(from *endpointtest.Server) // when the target has caught up
		early  bool                            // Finish is called before Run, of a run that is resumed
		state  string
		says   string
	}{
		{name: "nothing is missing", change: func(*endpointtest.Server) {}, state: "done"},
		{name: "the source is ahead", change: func(s *endpointtest.Server) { s.Tell("master_repl_offset", "999999") }, state: "stopped", says: "stood at offset 999999, and the target has its stream up to offset "},
		{name: "the source does not answer", change: func(s *endpointtest.Server) { s.Always("INFO", endpointtest.HangUp) }, state: "stopped", says: "it is not known how far the source"},
		{name: "the source has another stream", change: func(s *endpointtest.Server) { s.Tell("master_replid", strings.Repeat("1", 40)) }, state: "stopped", says: "it is not known how far the source"},
		{name: "told to end before it had begun, and the source is ahead", change: func(s *endpointtest.Server) { s.Tell("master_repl_offset", "999999") }, early: true, state: "stopped", says: "stood at offset 999999"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			from, to := serve(t, nil), serve(t, nil)
			cfg := between(t, from.URL(), to.URL())
			cfg.HoldExpiry = 0
			replicates(from, from.ReplID(), rdbOf(t, texts{"a": "1"}, nil), "SELECT 0", "SET b 2")
			if tt.early {
				mustMigrate(t, cfg)
				continues(from)
			}
			m, err := New(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if tt.early {
				tt.change(from)
				m.Finish()
			}
			ended := make(chan error, 1)
			go func() { ended <- m.Run(t.Context()) }()
			if !tt.early {
				if err := m.AwaitCaughtUp(t.Context()); err != nil {
					t.Fatal(err)
				}
				tt.change(from)
			}
			m.Finish()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			r, why := m.Report(), strings.Join(m.Unsettled(), "; ")
			if r.State != tt.state || m.Settled() != (tt.state == "done") || (why == "") != (tt.says == "") || !strings.Contains(why, tt.says) {
				t.Errorf("the migration is %s, settled %v: %s", r.State, m.Settled(), why)
			}
			if li := r.Links[0]; li.LagBytes != max(li.Offset, li.SourceOffset)-li.AppliedOffset {
				t.Errorf("the figures do not add up: %+v", li)
			}
		})
	}
}

// TestReplicaIsNoMeasure: a link that is received from a replica has caught up only with what the primary has written, by its own account.
func TestReplicaIsNoMeasure(t *testing.T) {
	from, to := []*endpointtest.Server{serve(t, nil), serve(t, nil)}, serve(t, nil)
	cluster(from, "0-16383", "of 0")
	primary, replica := from[0], from[1]
	replica.Tell("role", "slave", "master_link_status", "up", "master_replid", primary.ReplID())
	replicates(replica, primary.ReplID(), rdbOf(t, texts{"a": "1"}, nil), "SET b 2")
	primary.Tell("master_repl_offset", "999999")
	cfg := between(t, "redis+cluster://"+primary.Addr, to.URL())
	cfg.HoldExpiry, cfg.MaxLag = 0, 10*time.Millisecond
	m, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- m.Run(t.Context()) }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		r := m.Report()
		li := r.Links[0]
		if r.State == "caught_up" {
			t.Fatalf("it has caught up: %+v", li)
		}
		if li.Reads == replica.Addr && li.SourceOffset == 999999 && li.LagBytes == 999999-li.AppliedOffset && li.LagSeconds > 0.5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not know that the source is ahead: %+v", li)
		}
	}
	m.Finish()
	if err := <-ended; err != nil || m.Settled() || m.Report().State != "stopped" {
		t.Errorf("it ended with %v, settled %v, %s", err, m.Settled(), m.Report().State)
	}
}

// TestProblemsAreKept: what did not arrive in an earlier run is reported by every later one, however the earlier one ended, until a new
// snapshot replaces what the target holds.
func TestProblemsAreKept(t *testing.T) {
	for _, tt := range []struct {
		name   string
		killed bool // the first run is aborted
		anew   bool // the second run begins with a new snapshot, which the target takes
		want   int
	}{
		{name: "stopped in good order", want: 1},
		{name: "killed", killed: true, want: 1},
		{name: "a new snapshot replaces it", anew: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := []*endpointtest.Server{serve(t, nil), serve(t, nil)}, serve(t, nil)
			cluster(from, "0-16383", "of 0")
			cfg := between(t, "redis+cluster://"+from[0].Addr, to.URL())
			cfg.ReadFrom, cfg.HoldExpiry = "primary", 0
			replicates(from[0], from[0].ReplID(), rdbOf(t, texts{"a": "1"}, nil), "SELECT 20", "SET b 2", "SELECT 0", "SET c 3")
			first, err := New(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- first.Run(ctx) }()
			if err := first.AwaitCaughtUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			if tt.killed {
				cancel()
				<-ended
			} else if first.Finish(); true {
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
			}
			if r := first.Report(); len(r.Problems) != 1 || r.Problems[0].Command != "SET" {
				t.Fatalf("the first run reports %v", r.Problems)
			}
			if continues(from[0]); tt.anew {
				cluster(from, "of 1", "0-16383")
				replicates(from[1], from[1].ReplID(), rdbOf(t, texts{"a": "1"}, nil))
				if err := cfg.Sides.Source.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			r := mustMigrate(t, cfg).Report()
			if len(r.Problems) != tt.want || !tt.killed && (r.Counters.CommandsReported != 0 || int(r.AllRuns.Counters.CommandsReported) != tt.want) {
				t.Errorf("the second run reports %v, counts %+v, in all runs %+v", r.Problems, r.Counters, r.AllRuns)
			}
			if tt.want == 1 && r.Problems[0] != first.Report().Problems[0] {
				t.Errorf("%+v has become %+v", first.Report().Problems[0], r.Problems[0])
			}
		})
	}
}

// TestLostHistory: where the source cannot go on with the stream, a new snapshot replaces the earlier one, and keys that it lacks are
// deleted; but only if no key of the target can be anybody else's.
func TestLostHistory(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		holds     texts // the target, before the migration
		snapshot  texts // the second one
		change    func(*Config)
		want      texts
		says      string
	}{
		{name: "replaced", snapshot: texts{"a": "9", "c": "3"}, want: texts{"a": "9", "c": "3"}},
		{name: "the source is empty", why: "it may have come up without its data", want: texts{"a": "1", "b": "2"}, says: "nothing was deleted"},
		{name: "others have keys there", holds: texts{"mine": "x"}, snapshot: texts{"a": "9"}, want: texts{"a": "1", "b": "2", "mine": "x"}, says: "held keys before this migration"},
		{name: "no snapshot is wanted", snapshot: texts{"a": "9"}, change: func(c *Config) { c.Mode = ModeIncremental }, want: texts{"a": "1", "b": "2"}, says: "no longer holds the stream"},
		{name: "keys of the target that are not selected", why: "they are nobody's to delete", snapshot: texts{"a": "9"},
			change: func(c *Config) { c.Filter.Exclude = []string{"b"} }, want: texts{"a": "9", "b": "2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := []*endpointtest.Server{serve(t, nil), serve(t, nil)}, serve(t, tt.holds)
			cluster(from, "0-16383", "of 0")
			cfg := between(t, "redis+cluster://"+from[0].Addr, to.URL())
			cfg.ReadFrom = "primary"
			replicates(from[0], from[0].ReplID(), rdbOf(t, texts{"a": "1", "b": "2"}, nil))
			mustMigrate(t, cfg)
			if tt.change != nil {
				tt.change(&cfg)
			}
			cluster(from, "of 1", "0-16383")
			replicates(from[1], from[1].ReplID(), rdbOf(t, tt.snapshot, nil))
			if err := cfg.Sides.Source.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, err := migrate(t, cfg)
			saysSo(t, err, tt.says, tt.why)
			if got := heldBy(to); !maps.Equal(got, tt.want) {
				t.Errorf("the target holds %v, want %v (%s)", got, tt.want, tt.why)
			}
		})
	}
}

// TestResumeIsRefused: a state directory is taken up again only between the servers, and with the settings, that it was begun with, and if
// the target still holds what it was given.
func TestResumeIsRefused(t *testing.T) {
	type sides struct{ from, to *endpointtest.Server }
	for _, tt := range []struct {
		name, why string
		change    func(s sides, cfg *Config)
		is        error
		says      string
	}{
		{name: "nothing has changed", change: func(sides, *Config) {}},
		{name: "another source", change: func(_ sides, cfg *Config) { cfg.Sides.Source = endpointtest.Open(t, serve(t, nil).URL()) }, says: "belongs to the migration from redis://"},
		{name: "another target", change: func(_ sides, cfg *Config) { cfg.Sides.Target = endpointtest.Open(t, serve(t, nil).URL()) }, says: "belongs to the migration from redis://"},
		{name: "the source was restarted", why: "a new run ID does not prove that it is another server", change: func(s sides, _ *Config) { s.from.Tell("run_id", strings.Repeat("1", 40)) }},
		{name: "other prefixes", why: "the keys of the first run have other names", change: func(_ sides, cfg *Config) { cfg.Filter.DBPrefix = map[int]string{0: "p:"} }, says: "Filter.DBPrefix none, not 0:p:"},
		{name: "another capture", change: func(_ sides, cfg *Config) { cfg.Capture, cfg.Mode = CaptureScan, ModeIncremental }, says: "Config.Capture scan"},
		{name: "damaged", change: func(_ sides, cfg *Config) {
			if err := os.WriteFile(cfg.StateDir+"/migration.json", []byte("{"), 0o600); err != nil {
				t.Error(err)
			}
		}, says: "migration.json"},
		{name: "the target was flushed", why: "what else is gone nobody can tell", change: func(s sides, _ *Config) {
			for _, name := range s.to.Names() {
				s.to.Put(name, nil)
			}
		}, is: target.ErrLost},
		{name: "one of the target's records is gone", change: func(s sides, _ *Config) { s.to.Put(ownOf(s.to, ":link:")[0], nil) }, says: "the target has lost the checkpoint"},
		{name: "another migration has held the target", why: "it may have written to the same keys", change: func(s sides, _ *Config) {
			s.to.Put(target.KeyMigration, claimOf("id", "other", "state", "stopped", "run", "r"))
		}, is: target.ErrGivenAway},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := serve(t, nil), serve(t, nil)
			cfg := between(t, from.URL(), to.URL())
			replicates(from, from.ReplID(), rdbOf(t, texts{"a": "1"}, nil))
			mustMigrate(t, cfg)
			continues(from)
			tt.change(sides{from, to}, &cfg)
			_, err := migrate(t, cfg)
			if tt.is != nil {
				if !errors.Is(err, tt.is) {
					t.Errorf("error %v, want %v (%s)", err, tt.is, tt.why)
				}
				return
			}
			saysSo(t, err, tt.says, tt.why)
		})
	}
}

// claimOf returns a record of the claim on a target, renewed now, with fields given as names and values in turn.
func claimOf(fields ...string) *keyspace.Value {
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	v := &keyspace.Value{Type: keyspace.Hash, Hash: []keyspace.Field{{Name: []byte("heartbeat_ms"), Value: []byte(now)}}}
	for i := 0; i < len(fields); i += 2 {
		v.Hash = append(v.Hash, keyspace.Field{Name: []byte(fields[i]), Value: []byte(fields[i+1])})
	}
	return v
}

// TestClaimOfAnother: a target that another migration writes to is refused before anything is written, and the state directory stays free.
func TestClaimOfAnother(t *testing.T) {
	long := strconv.FormatInt(time.Now().Add(-time.Hour).UnixMilli(), 10)
	for _, tt := range []struct {
		name    string
		db      int
		record  *keyspace.Value
		refused bool
	}{
		{name: "running", record: claimOf("id", "other", "state", "running", "host", "elsewhere"), refused: true},
		{name: "running in another database", db: 3, record: claimOf("id", "other", "state", "running", "db", "3"), refused: true},
		{name: "stopped", record: claimOf("id", "other", "state", "stopped")},
		{name: "not renewed for long", record: claimOf("id", "other", "state", "running", "seen_ms", long)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := serve(t, nil)
			to.PutIn(tt.db, target.KeyMigration, tt.record)
			cfg := between(t, "rdb:"+writeFile(t, "dump.rdb", rdbOf(t, texts{"a": "1"}, nil)), to.URL())
			_, err := migrate(t, cfg)
			if !tt.refused {
				saysSo(t, err, "", "")
				return
			}
			if !errors.Is(err, target.ErrClaimed) || !strings.Contains(err.Error(), `"other"`) {
				t.Errorf("error %v", err)
			}
			if held, id := heldBy(to), StateID(cfg.StateDir); len(held) > 0 || id != "" {
				t.Errorf("written: %v, state of %q", held, id)
			}
		})
	}
}

// TestClaimOfAnotherAtTheEnd: a copy does not end well if another run has taken the target over before its end, and it never deletes the
// record of another run.
func TestClaimOfAnotherAtTheEnd(t *testing.T) {
	for _, tt := range []struct {
		mode, before string
		is           error
	}{
		{ModeFull, "GET", target.ErrClaimed}, // the last look at the witnesses
		{ModeFullIncremental, "GET", target.ErrClaimed},
		{ModeFull, "DEL", target.ErrClaimed}, // all is copied, and surecut's own keys are being deleted, which another run may need
	} {
		from, to := serve(t, nil), serve(t, nil)
		replicates(from, from.ReplID(), rdbOf(t, texts{"a": "1"}, nil))
		to.On(tt.before, func(args []string) string {
			if strings.HasPrefix(args[len(args)-1], keyspace.Prefix+":witness:") {
				to.Put(target.KeyMigration, claimOf("id", "other", "run", "r", "state", "running", "host", "h"))
			}
			return endpointtest.Usual
		})
		cfg := between(t, from.URL(), to.URL())
		cfg.Mode = tt.mode
		if _, err := migrate(t, cfg); !errors.Is(err, tt.is) || err != nil && tt.is == nil {
			t.Errorf("%s, %s: %v", tt.mode, tt.before, err)
		}
		if claim := to.Get(target.KeyMigration); claim == nil || string(claim.Hash[1].Value) != "other" {
			t.Errorf("%s, %s: the record of the other run is gone", tt.mode, tt.before)
		}
	}
}
