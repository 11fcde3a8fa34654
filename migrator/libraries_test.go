package migrator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/resp"
)

// library returns the code of a function library, with functions of these names. Its version makes it another code.
func library(name string, version int, functions ...string) string {
	code := fmt.Sprintf("#!lua name=%s\n-- version %d\n", name, version)
	for _, f := range functions {
		code += fmt.Sprintf("redis.register_function('%s', function() return 1 end)\n", f)
	}
	return code
}

// dumped returns libraries as they stand in an RDB and in the payload of FUNCTION RESTORE.
func dumped(codes ...string) string {
	out := ""
	for _, code := range codes {
		out += "\xf5" + string([]byte{0x40 | byte(len(code)>>8), byte(len(code))}) + code
	}
	return out
}

// payloadOf returns what FUNCTION DUMP says where a server has these libraries.
func payloadOf(codes ...string) string {
	body := dumped(codes...)
	return string(rdb.AppendDump(nil, body[0], []byte(body[1:]), 10))
}

// withLibraries returns an RDB of one key, with libraries before it.
func withLibraries(t *testing.T, key string, codes ...string) string {
	t.Helper()
	plain := rdbOf(t, texts{key: "1"}, nil)
	return plain[:9] + dumped(codes...) + plain[9:len(plain)-8] + strings.Repeat("\x00", 8) // no checksum
}

// does is a command of a shard's stream.
func does(args ...string) []string { return args }

// sends has a server go on with commands whose arguments may have spaces.
func sends(s *endpointtest.Server, commands [][]string) {
	var stream []byte
	for _, args := range commands {
		stream = resp.AppendCommand(stream, args...)
	}
	s.Always("PSYNC", "+CONTINUE\r\n"+string(stream)+endpointtest.Silence)
}

// loadsAt gives a server libraries that are somebody else's.
func loadsAt(t *testing.T, s *endpointtest.Server, codes ...string) {
	t.Helper()
	for _, code := range codes {
		if reply := s.Do(0, "FUNCTION", "LOAD", "REPLACE", code); strings.HasPrefix(reply, "-") {
			t.Fatal(reply)
		}
	}
}

// hasLibraries compares the libraries of a server with codes.
func hasLibraries(t *testing.T, s *endpointtest.Server, why string, codes ...string) {
	t.Helper()
	got := slices.Sorted(maps.Values(s.Libraries()))
	if want := slices.Sorted(slices.Values(codes)); !slices.Equal(got, want) {
		t.Errorf("%s has the libraries %q, want %q (%s)", s.Addr, got, want, why)
	}
}

// withSnapshot starts a source whose snapshot holds libraries.
func withSnapshot(t *testing.T, codes ...string) *endpointtest.Server {
	t.Helper()
	s := serve(t, nil)
	replicates(s, s.ReplID(), withLibraries(t, "a", codes...))
	return s
}

// reasons returns what a migration says of what did not arrive.
func reasons(m *Migration) (all []string) {
	for _, p := range m.Report().Problems {
		all = append(all, p.Reason)
	}
	return all
}

// TestLibraries: a target gets the function libraries of its source and loses only those that the migration has brought. Each row is a
// migration of one server in two runs: the first loads its snapshot, the second applies commands.
func TestLibraries(t *testing.T) {
	l1, l2, own, other := library("l", 1, "f"), library("l", 2, "f"), library("own", 0, "o"), library("other", 1, "g")
	load := func(code string) []string { return does("FUNCTION", "LOAD", code) }
	for _, tt := range []struct {
		name, why  string
		holds      []string // the target, before
		snapshot   []string
		onExisting string
		include    []string
		between    func(t *testing.T, to *endpointtest.Server) // the runs
		then       [][]string
		want       []string
		says       string // the error of the first run
		problem    string // of the second
	}{
		{name: "arrive", snapshot: []string{l1, other}, want: []string{l1, other}},
		{name: "in the stream", then: [][]string{load(l1), does("FUNCTION", "LOAD", "REPLACE", l2)}, want: []string{l2}},
		{name: "deleted", snapshot: []string{l1, other}, then: [][]string{does("FUNCTION", "DELETE", "l")}, want: []string{other}},
		{name: "flushed", why: "those of others are nobody's to flush", holds: []string{own}, snapshot: []string{l1}, then: [][]string{does("FUNCTION", "FLUSH", "ASYNC")}, want: []string{own}},
		{name: "restored", snapshot: []string{l1}, holds: []string{own}, then: [][]string{does("FUNCTION", "RESTORE", payloadOf(other))}, want: []string{own, l1, other}},
		{name: "restored with REPLACE", snapshot: []string{l1}, holds: []string{own}, then: [][]string{does("FUNCTION", "RESTORE", payloadOf(l2, other), "replace")}, want: []string{own, l2, other}},
		{name: "restored with FLUSH", snapshot: []string{l1}, holds: []string{own}, then: [][]string{does("FUNCTION", "RESTORE", payloadOf(other), "FLUSH")}, want: []string{own, other}},
		{name: "functions that change their libraries", why: "neither library can be loaded while the other one is as it was", snapshot: []string{l1, other},
			then: [][]string{does("FUNCTION", "RESTORE", payloadOf(library("l", 1, "g"), library("other", 1, "f")), "FLUSH")},
			want: []string{library("l", 1, "g"), library("other", 1, "f")}},
		{name: "the target has one of this name", why: "nobody said what to do with it", holds: []string{l2}, snapshot: []string{l1}, want: []string{l2}, says: "function library l"},
		{name: "the target has the same one", why: "nothing changes by it, and it is the target's to delete", holds: []string{l1}, snapshot: []string{l1},
			then: [][]string{does("FUNCTION", "DELETE", "l")}, want: []string{l1}},
		{name: "kept", holds: []string{l2}, snapshot: []string{l1, other}, onExisting: ExistingKeep, then: [][]string{does("FUNCTION", "LOAD", "REPLACE", library("l", 3, "f"))}, want: []string{l2, other}},
		{name: "kept, and deleted at the source", holds: []string{l2}, snapshot: []string{l1}, onExisting: ExistingKeep, then: [][]string{does("FUNCTION", "DELETE", "l")}, want: []string{l2}},
		{name: "replaced", holds: []string{l2, own}, snapshot: []string{l1}, onExisting: ExistingReplace, want: []string{l1, own}},
		{name: "replaced, and deleted at the source", why: "the library is the migration's by then", holds: []string{l2}, snapshot: []string{l1}, onExisting: ExistingReplace,
			then: [][]string{does("FUNCTION", "DELETE", "l")}},
		{name: "somebody has loaded one meanwhile", why: "it may be in use", between: func(t *testing.T, to *endpointtest.Server) { loadsAt(t, to, l2) },
			then: [][]string{load(l1)}, want: []string{l2}, problem: "function library l"},
		{name: "somebody has changed one meanwhile", snapshot: []string{l1}, between: func(t *testing.T, to *endpointtest.Server) { loadsAt(t, to, l2) },
			then: [][]string{does("FUNCTION", "FLUSH")}, want: []string{l2}},
		{name: "somebody has flushed the target", why: "the source still has them", snapshot: []string{l1}, between: func(_ *testing.T, to *endpointtest.Server) { to.Do(0, "FUNCTION", "FLUSH") }, want: []string{l1}},
		{name: "a function of this name is the target's", why: "two libraries cannot have it", holds: []string{library("own", 0, "f")}, snapshot: []string{l1},
			want: []string{library("own", 0, "f")}, problem: "Function f already exists"},
		{name: "only some keys are wanted", why: "a library is none of them", include: []string{"a*"}, snapshot: []string{l1}, then: [][]string{load(other), does("FUNCTION", "FLUSH")}, holds: []string{l2}, want: []string{l2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := withSnapshot(t, tt.snapshot...), serve(t, nil)
			loadsAt(t, to, tt.holds...)
			cfg := between(t, from.URL(), to.URL())
			cfg.HoldExpiry, cfg.Filter.Include = 0, tt.include
			if tt.onExisting != "" {
				cfg.OnExisting = tt.onExisting
			}
			first, err := migrate(t, cfg)
			saysSo(t, err, tt.says, tt.why)
			if err == nil {
				if tt.between != nil {
					tt.between(t, to)
				}
				sends(from, tt.then)
				if second := mustMigrate(t, cfg); (tt.problem != "") != (len(reasons(second)) > 0) || !strings.Contains(fmt.Sprint(reasons(second)), tt.problem) {
					t.Errorf("problems %q, want %q (%s); of the first run %q", reasons(second), tt.problem, tt.why, reasons(first))
				}
			}
			hasLibraries(t, to, tt.why, tt.want...)
		})
	}
}

// TestLibrariesOfShards: a target has a library for as long as one shard of the source has it.
func TestLibrariesOfShards(t *testing.T) {
	l1, l2 := library("l", 1, "f"), library("l", 2, "f")
	renamed := library("renamed", 1, "f")
	flush, del := does("FUNCTION", "FLUSH"), does("FUNCTION", "DELETE", "l")
	load := func(code string) []string { return does("FUNCTION", "LOAD", "REPLACE", code) }
	for _, tt := range []struct {
		name, why string
		snapshots [][]string // of each shard
		runs      [][][][]string
		want      [][]string // libraries of the target after each run
		problem   []string
	}{
		{name: "one shard is flushed, then the other", snapshots: [][]string{{l1}, {l1}}, runs: [][][][]string{{{flush}, {}}, {{}, {flush}}}, want: [][]string{{l1}, {}}},
		{name: "one shard deletes it, then the other", snapshots: [][]string{{l1}, {l1}}, runs: [][][][]string{{{}, {del}}, {{del}, {}}}, want: [][]string{{l1}, {}}},
		{name: "one shard restores another set", snapshots: [][]string{{l1}, {l1}}, runs: [][][][]string{{{does("FUNCTION", "RESTORE", payloadOf(library("m", 1, "m")), "FLUSH")}, {}}},
			want: [][]string{{l1, library("m", 1, "m")}}},
		{name: "both load the same", snapshots: [][]string{{}, {}}, runs: [][][][]string{{{does("FUNCTION", "LOAD", l1)}, {does("FUNCTION", "LOAD", l1)}}}, want: [][]string{{l1}}},
		{name: "a new version comes to one after the other", snapshots: [][]string{{l1}, {l1}}, runs: [][][][]string{{{load(l2)}, {}}, {{}, {load(l2)}}}, want: [][]string{{l2}, {l2}},
			problem: []string{"different versions", ""}},
		{name: "a version goes, and the other shard has an older one", snapshots: [][]string{{l1}, {l1}}, runs: [][][][]string{{{load(l2), del}, {}}}, want: [][]string{{l1}}},
		{name: "a function moves to a library of another name", why: "it comes once no shard has the old one", snapshots: [][]string{{l1}, {l1}},
			runs: [][][][]string{{{del, load(renamed)}, {}}, {{}, {del, load(renamed)}}}, want: [][]string{{l1}, {renamed}}, problem: []string{"function library renamed", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := []*endpointtest.Server{serve(t, nil), serve(t, nil)}, serve(t, nil)
			cluster(from, "0-8191", "8192-16383")
			for i, key := range []string{"b", "a"} { // by slot
				replicates(from[i], from[i].ReplID(), withLibraries(t, key, tt.snapshots[i]...))
			}
			cfg := between(t, "redis+cluster://"+from[0].Addr, to.URL())
			cfg.ReadFrom, cfg.HoldExpiry = "primary", 0
			mustMigrate(t, cfg)
			for i, run := range tt.runs {
				for shard, commands := range run {
					sends(from[shard], commands)
				}
				m := mustMigrate(t, cfg)
				hasLibraries(t, to, fmt.Sprint("run ", i, " ", tt.why), tt.want[i]...)
				want := ""
				if i < len(tt.problem) {
					want = tt.problem[i]
				}
				if got := reasons(m); (want != "") != (len(got) > 0) || !strings.Contains(fmt.Sprint(got), want) {
					t.Errorf("run %d: problems %q, want %q", i, got, want)
				}
			}
		})
	}
}

// TestLibrariesOfNodes: each primary of a target cluster gets them, and each keeps what it had.
func TestLibrariesOfNodes(t *testing.T) {
	l1, own := library("l", 1, "f"), library("own", 0, "o")
	from, to := withSnapshot(t, l1), endpointtest.ServeCluster(t, "7.0.15", 3)
	loadsAt(t, to.Servers[1], own)
	cfg := between(t, from.URL(), to.URL())
	cfg.HoldExpiry = 0
	mustMigrate(t, cfg)
	for i, s := range to.Servers {
		hasLibraries(t, s, "after the snapshot", map[int][]string{0: {l1}, 1: {l1, own}, 2: {l1}}[i]...)
	}
	sends(from, [][]string{does("FUNCTION", "FLUSH")})
	mustMigrate(t, cfg)
	for i, s := range to.Servers {
		hasLibraries(t, s, "after the flush", map[int][]string{1: {own}}[i]...)
	}
}

// TestNoFunctions: a target that has no functions lacks the libraries only for as long as the source has them.
func TestNoFunctions(t *testing.T) {
	from, to := withSnapshot(t, library("l", 1, "f")), endpointtest.Serve(t, "6.2.14")
	cfg := between(t, from.URL(), to.URL())
	cfg.HoldExpiry = 0
	if got := reasons(mustMigrate(t, cfg)); len(got) != 1 || !strings.Contains(got[0], "has no functions") {
		t.Errorf("problems %q", got)
	}
	sends(from, [][]string{does("FUNCTION", "DELETE", "l")})
	if got := reasons(mustMigrate(t, cfg)); len(got) != 0 {
		t.Errorf("problems %q, and the source has no library any more", got)
	}
}

// TestEmptySnapshotFlushesNothing: a source that comes up without its data leaves the target the only one that still has the libraries.
func TestEmptySnapshotFlushesNothing(t *testing.T) {
	l1 := library("l", 1, "f")
	from, to := []*endpointtest.Server{serve(t, nil), serve(t, nil)}, serve(t, nil)
	cluster(from, "0-16383", "of 0")
	cfg := between(t, "redis+cluster://"+from[0].Addr, to.URL())
	cfg.ReadFrom = "primary"
	replicates(from[0], from[0].ReplID(), withLibraries(t, "a", l1))
	mustMigrate(t, cfg)
	cluster(from, "of 1", "0-16383")
	replicates(from[1], from[1].ReplID(), rdbOf(t, nil, nil))
	if err := cfg.Sides.Source.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := migrate(t, cfg)
	saysSo(t, err, "nothing was deleted", "the source is empty")
	hasLibraries(t, to, "the source is empty", l1)
}

// TestLibrariesOfScan: keys that are copied again have no libraries, and a source that does not tell its libraries any more still has them.
func TestLibrariesOfScan(t *testing.T) {
	l1 := library("l", 1, "f")
	from, to := serve(t, texts{"a": "1"}), serve(t, nil)
	loadsAt(t, from, l1)
	cfg := between(t, from.URL(), to.URL())
	cfg.Capture = CaptureScan
	m, err := migrate(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	hasLibraries(t, to, "scanned", l1)
	if r, err := m.CopyAgain(t.Context(), []Outdated{{Key: keyspace.Key{Name: "a"}}}); err != nil || r.Copied != 1 {
		t.Fatal(r, err)
	}
	hasLibraries(t, to, "copied again", l1)
	m.state.Links[0].Stage = received // as a run that was killed leaves it
	if err := m.saveState(); err != nil {
		t.Fatal(err)
	}
	from.Always("FUNCTION LIST", "-NOPERM User x has no permissions to run the 'function|list' command\r\n")
	if m, err = migrate(t, cfg); err != nil || m.Report().Counters.SnapshotKeys != 1 {
		t.Fatal(m.Report(), err)
	}
	hasLibraries(t, to, "not told", l1)
}

// TestLibrariesOfEarlierSurecut: a migration goes on that was begun by a surecut which did not remember what it had loaded.
func TestLibrariesOfEarlierSurecut(t *testing.T) {
	l1 := library("l", 1, "f")
	from, to := withSnapshot(t, l1), serve(t, nil)
	cfg := between(t, from.URL(), to.URL())
	cfg.HoldExpiry = 0
	m := mustMigrate(t, cfg)
	m.state.Libraries = nil
	if err := m.state.save(); err != nil {
		t.Fatal(err)
	}
	sends(from, [][]string{does("FUNCTION", "LOAD", "REPLACE", library("l", 2, "f"))})
	if got := reasons(mustMigrate(t, cfg)); len(got) > 0 {
		t.Errorf("problems %q", got)
	}
	hasLibraries(t, to, "it is the migration's own", library("l", 2, "f"))
}
