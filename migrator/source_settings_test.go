package migrator

import (
	"maps"
	"strings"
	"sync"
	"testing"

	"surecut/internal/endpoint/endpointtest"
)

// settings are what CONFIG of a server in memory reads and writes.
type settings struct {
	mu     sync.Mutex
	values map[string]string
}

// configurable gives a server settings.
func configurable(s *endpointtest.Server, values map[string]string) *settings {
	c := &settings{values: values}
	s.On("CONFIG GET", func(args []string) string {
		if v, ok := c.now()[args[2]]; ok {
			return endpointtest.Strings(args[2], v)
		}
		return endpointtest.Usual
	})
	s.On("CONFIG SET", func(args []string) string {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.values[args[2]] = args[3]
		return "+OK\r\n"
	})
	return c
}

func (c *settings) now() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.values)
}

// TestSourceSettings: however a run ends, the source gets its settings back, or the user is told what to put back by hand.
func TestSourceSettings(t *testing.T) {
	const limit, diskless = "client-output-buffer-limit", "repl-diskless-sync"
	before := map[string]string{limit: "slave 256mb 64mb 60", diskless: "no"}
	tuned := map[string]string{limit: "slave 0 0 0", diskless: "yes"}
	const no = "-ERR CONFIG SET failed\r\n"
	for _, tt := range []struct {
		name, why string
		tell      func(*endpointtest.Server) // before the settings are changed
		killed    bool                       // an earlier run was, after it had changed them
		then      func(*endpointtest.Server) // before they are put back
		tunes     string
		during    map[string]string
		puts      string
		after     map[string]string
		left      int // settings that the state still remembers
	}{
		{name: "changed and put back", during: tuned, after: before},
		{name: "an earlier run was killed", why: "what it has changed is not what the user had", killed: true, during: tuned, after: before},
		{name: "only one may be changed", tell: func(s *endpointtest.Server) { s.Always("CONFIG SET "+diskless+" yes", no) },
			tunes: "CONFIG SET repl-diskless-sync", during: map[string]string{limit: tuned[limit], diskless: "no"}, after: before},
		{name: "CONFIG is forbidden", tell: func(s *endpointtest.Server) { s.Always("CONFIG", "-NOPERM no\r\n") }, tunes: "CONFIG GET client-output-buffer-limit", during: before, after: before},
		{name: "not put back", why: "the next run tries again", then: func(s *endpointtest.Server) { s.Always("CONFIG SET "+diskless, no) }, during: tuned,
			puts: "set it to 'no' by hand", after: map[string]string{limit: before[limit], diskless: "yes"}, left: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from := serve(t, nil)
			has := configurable(from, maps.Clone(before))
			cfg := between(t, from.URL(), serve(t, nil).URL())
			m, err := New(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if tt.killed {
				saysSo(t, m.tune(t.Context()), "", "the run that is killed")
				if err := m.state.close(); err != nil {
					t.Fatal(err)
				}
				if m, err = New(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
			}
			defer m.state.close()
			if tt.tell != nil {
				tt.tell(from)
			}
			saysSo(t, m.tune(t.Context()), tt.tunes, tt.why)
			if got := has.now(); !maps.Equal(got, tt.during) {
				t.Errorf("while it runs %v, want %v (%s)", got, tt.during, tt.why)
			}
			if tt.then != nil {
				tt.then(from)
			}
			saysSo(t, m.putBack(t.Context()), tt.puts, tt.why)
			if got := has.now(); !maps.Equal(got, tt.after) {
				t.Errorf("at last %v, want %v (%s)", got, tt.after, tt.why)
			}
			if left := peek(cfg.StateDir).Tuned; len(left) != tt.left {
				t.Errorf("to be put back: %v (%s)", left, tt.why)
			}
		})
	}
}

// TestTunedRun: a whole run changes the settings before it asks for the snapshot, and puts them back at its end.
func TestTunedRun(t *testing.T) {
	from := serve(t, nil)
	has := configurable(from, map[string]string{"client-output-buffer-limit": "slave 1 1 1", "repl-diskless-sync": "no"})
	replicates(from, from.ReplID(), rdbOf(t, texts{"a": "1"}, nil))
	var at string
	from.Before("PSYNC", func() { at = has.now()["repl-diskless-sync"] })
	cfg := between(t, from.URL(), serve(t, nil).URL())
	cfg.TuneSource, cfg.Mode = true, ModeFull
	mustMigrate(t, cfg)
	if now := has.now(); at != "yes" || now["repl-diskless-sync"] != "no" || !strings.HasPrefix(now["client-output-buffer-limit"], "slave 1") {
		t.Errorf("%q when the snapshot is asked for, and at last %v", at, now)
	}
}
