package verifier

import (
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// toldSide opens one side of a server.
func toldSide(t *testing.T, name endpoint.Side, url string, c Config) *side {
	t.Helper()
	s, err := newSide(t.Context(), name, endpointtest.Open(t, url), &c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// TestFeed: what is told of writes during a window, and what is concluded from it. A key that was written is never taken for one that
// was not, whatever the source refuses or loses.
func TestFeed(t *testing.T) {
	const refusal = "-NOPERM this user has no permissions to run the command\r\n"
	noReplica := func(s *endpointtest.Server) { s.Always("PSYNC", refusal) }
	noTracking := func(s *endpointtest.Server) { noReplica(s); s.Always("CLIENT TRACKING", refusal) }
	nothing := func(*endpointtest.Server) {}
	set := func(s *endpointtest.Server) { s.Write([]string{"SET", "k", "x"}, "k") }
	changed := func(s *endpointtest.Server) { s.Tell("rdb_changes_since_last_save", "1") }
	for _, tt := range []struct {
		name, why string
		version   string
		tell, act func(s *endpointtest.Server) // before the window, and in it
		known     KnownBy
		k, other  writing
		still     bool
	}{
		{"stream, nothing", "", "7.0.15", nothing, nothing, ByReplication, unwritten, unwritten, true},
		{"stream, a write", "", "7.0.15", nothing, set, ByReplication, written, unwritten, false},
		{"stream before 4.0", "the ID is that of the process, and it is asked for", "3.2.13", nothing, set, ByReplication, written, unwritten, false},
		{"stream, two windows", "the second begins with nothing", "7.0.15", nothing, nil, ByReplication, unwritten, unwritten, true},
		{"stream, everything", "", "7.0.15", nothing, func(s *endpointtest.Server) { s.Write([]string{"FLUSHALL"}) }, ByReplication, written, written, false},
		{"stream, a script", "its keys are not known", "7.0.15", nothing, func(s *endpointtest.Server) { s.Write([]string{"EVAL", "return redis.call('SET', 'k', 'x')", "0"}) }, ByReplication, written, written, false},
		{"stream lost", "every key may have been written", "7.0.15", nothing, func(s *endpointtest.Server) { s.DropFollowers(); set(s); changed(s) }, ByRereading, written, written, false},
		{"stream of another primary", "it was filled anew in the window", "7.0.15", nothing, func(s *endpointtest.Server) { s.Tell("master_replid", "ffffffffffffffffffffffffffffffffffffffff") }, ByRereading, untold, untold, false},
		{"restarted", "", "7.0.15", nothing, func(s *endpointtest.Server) { s.Tell("run_id", "other") }, ByRereading, untold, untold, false},
		{"refused at the end", "it may have become a replica, behind its target", "7.0.15", nothing, func(s *endpointtest.Server) { s.Always("INFO", refusal) }, ByRereading, written, written, false},

		{"no backlog", "PSYNC would make a snapshot", "7.0.15", func(s *endpointtest.Server) { s.Tell("repl_backlog_active", "0") }, set, ByTracking, written, unwritten, false},
		{"offered a snapshot", "", "7.0.15", func(s *endpointtest.Server) { s.Always("PSYNC", "+FULLRESYNC "+s.ReplID()+" 1\r\n") }, set, ByTracking, written, unwritten, false},
		{"PSYNC cut off", "", "7.0.15", func(s *endpointtest.Server) { s.Always("PSYNC", "+CONT"+endpointtest.HangUp) }, set, ByTracking, written, unwritten, false},
		{"tracking, nothing", "", "7.0.15", noReplica, nothing, ByTracking, unwritten, unwritten, true},
		{"tracking, FLUSHALL", "", "7.0.15", noReplica, func(s *endpointtest.Server) { s.Write([]string{"FLUSHALL"}) }, ByTracking, written, written, false},
		{"tracking, SWAPDB", "it invalidates no key", "7.0.15", func(s *endpointtest.Server) { noReplica(s); s.Tell("cmdstat_swapdb", "calls=1") }, func(s *endpointtest.Server) { s.Tell("cmdstat_swapdb", "calls=2") }, ByTracking, written, written, false},
		{"tracking, fields expired", "nor does that", "7.0.15", noReplica, func(s *endpointtest.Server) { s.Tell("expired_subkeys", "3") }, ByTracking, written, written, false},
		{"tracking, no statistics", "whether SWAPDB was run is not known", "7.0.15", func(s *endpointtest.Server) { noReplica(s); s.Tell("cmdstat_get", "") }, nothing, ByTracking, written, written, false},
		{"tracking lost", "", "7.0.15", noReplica, func(s *endpointtest.Server) { s.DropFollowers(); set(s); changed(s) }, ByRereading, written, written, false},

		{"at rest", "nothing tells of writes, and there were none", "7.0.15", noTracking, nothing, ByRest, unwritten, unwritten, true},
		{"not at rest", "", "7.0.15", noTracking, changed, ByRereading, untold, untold, false},
		{"saved meanwhile", "that resets the counter", "7.0.15", noTracking, func(s *endpointtest.Server) { s.Tell("rdb_last_save_time", "2") }, ByRereading, untold, untold, false},
		{"a key expired", "", "7.0.15", noTracking, func(s *endpointtest.Server) { s.Tell("expired_keys", "2") }, ByRereading, untold, untold, false},
		{"no tracking before 6.0", "", "5.0.14", noReplica, changed, ByRereading, untold, untold, false},
		{"no counters", "a fork that does not count changes", "5.0.14", func(s *endpointtest.Server) { noReplica(s); s.Tell("rdb_changes_since_last_save", "") }, nothing, ByRereading, untold, untold, false},
		{"a replica, nothing told", "the target may be ahead of it, and reading the replica again shows nothing", "7.0.15", func(s *endpointtest.Server) {
			noTracking(s)
			s.Tell("role", "slave", "master_host", "127.0.0.1", "master_port", "1", "master_link_status", "up")
		}, changed, ByRereading, written, written, false},
	} {
		s := endpointtest.Serve(t, tt.version)
		s.Tell("cmdstat_get", "calls=1")
		c := toldConfig(t)
		c.Interval = 0
		side := toldSide(t, endpoint.Source, s.URL(), c)
		if tt.tell(s); tt.name == "a replica, nothing told" {
			c.ReadFrom = FromReplica
		}
		f := newSourceFeed(side)
		defer f.close()
		if _, err := f.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		if tt.act == nil {
			set(s)
			if _, err := f.end(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := f.begin(t.Context()); err != nil {
				t.Fatal(err)
			}
		} else {
			tt.act(s)
		}
		v, err := f.end(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		known := v.(*sourceView).known[s.Addr]
		if k, other := v.writing("k", keyspace.String), v.writing("other", keyspace.String); known != tt.known || k != tt.k || other != tt.other || v.still() != tt.still {
			t.Errorf("%s: known by %s, %d, %d, still %v, want %s, %d, %d, %v (%s)", tt.name, known, k, other, v.still(), tt.known, tt.k, tt.other, tt.still, tt.why)
		}
		if w := f.report(); tt.act != nil && (w.Written == tt.still || len(w.Nodes) != 1) {
			t.Errorf("%s: %+v", tt.name, w)
		}
	}
}

// TestFeedOfGroups: tracking does not tell of groups that change, so that every stream may have changed, and no other key.
func TestFeedOfGroups(t *testing.T) {
	for _, tt := range []struct {
		command string
		want    writing
	}{
		{"xack", written}, {"xreadgroup", written}, {"xgroup|setid", written}, {"xnew", written}, {"xadd", unwritten}, {"xlen", unwritten}, {"get", unwritten},
	} {
		s := endpointtest.Serve(t, "7.0.15")
		s.Tell("cmdstat_get", "calls=1")
		s.Always("PSYNC", "-NOPERM no\r\n")
		f := newSourceFeed(toldSide(t, endpoint.Source, s.URL(), toldConfig(t)))
		defer f.close()
		if _, err := f.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Tell("cmdstat_"+tt.command, "calls=7")
		v, err := f.end(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := v.writing("k", keyspace.Stream); got != tt.want || v.still() != (tt.want == unwritten) {
			t.Errorf("%s: a stream is %d, still %v, want %d", tt.command, got, v.still(), tt.want)
		}
		if got := v.writing("k", keyspace.Hash); got != unwritten {
			t.Errorf("%s: a hash is %d", tt.command, got)
		}
	}
}
