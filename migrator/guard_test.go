package migrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/waiting"
)

// streams has a server give a snapshot to the first replica that asks, and from then on the stream of what is written to it.
func streams(t *testing.T, s *endpointtest.Server, keys texts) {
	snapshot := rdbOf(t, keys, nil)
	s.Once("PSYNC ?", fmt.Sprintf("+FULLRESYNC %s %d\r\n$%d\r\n%s%s", s.ReplID(), s.Offset(), len(snapshot), snapshot, endpointtest.HangUp))
}

// words is a log that can be read while it is written.
type words struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// started starts a migration from a server to a target behind a path, and returns once it has caught up.
func started(t *testing.T, change func(*Config)) (m *Migration, from, to *endpointtest.Server, path *endpointtest.Relay, ended chan error, log *words) {
	t.Helper()
	from, to, log = serve(t, nil), serve(t, nil), &words{}
	path = endpointtest.ServeRelay(t, to.Addr)
	streams(t, from, texts{"a": "1"})
	cfg := between(t, from.URL(), path.URL())
	cfg.RetryFor, cfg.Log = time.Minute, slog.New(slog.NewTextHandler(log, nil))
	if change != nil {
		change(&cfg)
	}
	m, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(cancel)
	go func() { ended <- m.Run(ctx) }()
	if err := m.AwaitCaughtUp(t.Context()); err != nil {
		t.Fatal(err, log)
	}
	return m, from, to, path, ended, log
}

// endOf returns how a run has ended that is to end by itself, long before the timeouts of its connections.
func endOf(t *testing.T, ended <-chan error, log *words) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(90 * time.Second):
		t.Fatal("the run does not end", log)
		return nil
	}
}

// TestFrozenPath: commands that a frozen connection to the target has swallowed are applied over a new one, each once, and the wait is told.
func TestFrozenPath(t *testing.T) {
	t.Parallel()
	m, from, to, path, ended, log := started(t, nil)
	path.Freeze()
	from.Write([]string{"SELECT", "0"})
	for range 3 {
		from.Write([]string{"INCR", "n"}, "n")
	}
	told := false
	for deadline := time.Now().Add(90 * time.Second); heldBy(to)["n"] != "3"; time.Sleep(5 * time.Millisecond) {
		for _, w := range m.Report().Waiting {
			told = told || strings.Contains(w.For, path.Addr) && w.Seconds >= 3 && w.SinceMs > 0 && w.Who != "" && w.Why != ""
		}
		if time.Now().After(deadline) {
			t.Fatalf("the target holds %v: %s", heldBy(to), log)
		}
	}
	awaitApplied(t, m, from.Offset())
	m.Finish()
	if err := endOf(t, ended, log); err != nil || m.Report().State != "done" || heldBy(to)["n"] != "3" {
		t.Errorf("%s, %v, the target holds %v", m.Report().State, err, heldBy(to))
	}
	if !told || !strings.Contains(log.String(), "target "+path.Addr) || !strings.Contains(log.String(), "no longer waiting") {
		t.Errorf("the wait was not told (%v in the report): %s", told, log)
	}
}

// TestStoppedTarget: a target that does not answer at all is waited for up to Config.RetryFor, and not for long once the run was told to end.
func TestStoppedTarget(t *testing.T) {
	for _, tt := range []struct {
		name     string
		retryFor time.Duration
		finish   bool
		says     string
		state    string
	}{
		{name: "too long", retryFor: time.Second, says: "which is longer than Config.RetryFor", state: "failed"},
		{name: "told to end", retryFor: time.Hour, finish: true, state: "stopped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, from, _, path, ended, log := started(t, func(c *Config) { c.RetryFor = tt.retryFor })
			path.Stop()
			from.Write([]string{"SET", "b", "2"}, "b")
			if tt.finish {
				m.Finish()
			}
			err := endOf(t, ended, log)
			saysSo(t, err, tt.says, "the run")
			if r := m.Report(); r.State != tt.state || len(r.Waiting) > 0 {
				t.Errorf("%s, waits for %v", r.State, r.Waiting)
			}
			why := strings.Join(m.Unsettled(), "; ")
			if err != nil {
				why = err.Error()
			}
			if !strings.Contains(why, "waits for target") || !strings.Contains(why, path.Addr) && !strings.Contains(why, "since") {
				t.Errorf("the end does not say who was waited for: %s", why)
			}
		})
	}
}

// TestStateDirGoes: a run notices when its files are not at their place any more, and writes nothing to what has taken it.
func TestStateDirGoes(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(dir string) error
	}{
		{"removed", os.RemoveAll},
		{"replaced", func(dir string) error {
			if err := os.Rename(dir, dir+".away"); err != nil {
				return err
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return errors.Join(os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600), os.WriteFile(filepath.Join(dir, "migration.json"), []byte("another's"), 0o600))
		}},
		{"a link's part", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "link-0")) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "state")
			_, _, to, _, ended, log := started(t, func(c *Config) { c.StateDir = dir })
			if err := tt.do(dir); err != nil {
				t.Fatal(err)
			}
			err := endOf(t, ended, log)
			if !errors.Is(err, errStateGone) || strings.Count(err.Error(), "was removed or replaced") != 1 || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v", err)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "migration.json")); tt.name == "replaced" && (err != nil || string(got) != "another's") {
				t.Errorf("the state of another migration was written over: %s, %v", got, err)
			}
			if held := heldBy(to); held["a"] != "1" {
				t.Errorf("the target holds %v", held)
			}
		})
	}
}

// TestWaitsOf: a node that is asked and at work is no wait, and hides none of the same who and whom.
func TestWaitsOf(t *testing.T) {
	m := &Migration{}
	now := time.Now()
	m.waits.New("link 0", "source").Asked("a:1")
	m.waits.New("link 0", "source").Failed("refused", now.Add(time.Second))
	m.waits.New("link 0", "source").Failed("refused later", now.Add(2*time.Second))
	if got := m.waitsOf(nil); len(got) != 1 || got[0].Why != "refused" {
		t.Errorf("%v", got)
	}
}

// TestTooLong: which waits end a run, and when.
func TestTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().Add(time.Hour)
		ago := func(d time.Duration) time.Time { return now.Add(-d) }
		silent := waiting.Told{Who: "the migration", Whom: "target a:1", Why: noAnswer}
		refused, aside := silent, silent
		refused.Why, aside.Aside = "connection refused", true
		source := aside
		source.Who = "link 0"
		for _, tt := range []struct {
			name     string
			wait     waiting.Told
			waited   time.Duration
			finished time.Duration // ago; 0: not
			awake    time.Duration // ago
			ends     bool
		}{
			{name: "within the limit", wait: silent, waited: 29 * time.Second},
			{name: "beyond it", wait: silent, waited: 31 * time.Second, ends: true},
			{name: "a try that was begun in time", wait: refused, waited: 33 * time.Second},
			{name: "refused for too long", wait: refused, waited: 35 * time.Second, ends: true},
			{name: "nobody needs the answer", wait: aside, waited: time.Hour},
			{name: "the source is gone", wait: source, waited: 31 * time.Second, ends: true},
			{name: "this process stood still", wait: silent, waited: time.Hour, awake: time.Second},
			{name: "told to end", wait: silent, waited: 6 * time.Second, finished: 6 * time.Second, ends: true},
			{name: "told to end a moment ago", wait: silent, waited: 6 * time.Second, finished: time.Second},
			{name: "told to end, and not silent for long", wait: silent, waited: time.Second, finished: 6 * time.Second},
			{name: "told to end, and the rest of the stream comes or not", wait: source, waited: 6 * time.Second, finished: 6 * time.Second},
		} {
			m := &Migration{cfg: Config{RetryFor: 30 * time.Second}}
			if tt.finished > 0 {
				at := ago(tt.finished)
				m.toldAt.Store(&at)
			}
			awake := time.Time{}
			if tt.awake > 0 {
				awake = ago(tt.awake)
			}
			tt.wait.Since = ago(tt.waited)
			err := m.tooLong([]waiting.Told{tt.wait}, now, awake)
			if (err != nil) != tt.ends || errors.Is(err, errUnfinished) != (tt.ends && tt.finished > 0) {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	})
}

// TestDamagedSnapshot: a snapshot that an earlier run has received, and that cannot be read any more, is asked for again where that is
// allowed, and otherwise the remedy is named.
func TestDamagedSnapshot(t *testing.T) {
	damages := map[string]func(path string, data []byte) error{
		"gone": func(path string, _ []byte) error { return os.Remove(path) },
		"cut":  func(path string, data []byte) error { return os.WriteFile(path, data[:len(data)-12], 0o600) },
		"damaged": func(path string, data []byte) error {
			data[len(data)-10] ^= 0xff
			return os.WriteFile(path, data, 0o600)
		},
		"empty": func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
	}
	for name, damage := range damages {
		for _, empty := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", target empty ", empty), func(t *testing.T) {
				from, to := serve(t, nil), serve(t, nil)
				if !empty {
					to.Put("mine", text("x"))
				}
				cfg := between(t, from.URL(), to.URL())
				cfg.HoldExpiry, cfg.OnExisting, cfg.RetryFor = 0, ExistingReplace, 10*time.Second
				streams(t, from, texts{"a": "1", "b": "2"})
				stopsInSnapshot(t, cfg, to)
				path := filepath.Join(cfg.StateDir, "link-0", "snapshot.rdb")
				data, err := os.ReadFile(path)
				if err != nil || peek(cfg.StateDir).Links[0].Stage != received {
					t.Fatal(peek(cfg.StateDir).Links[0], err)
				}
				if err := damage(path, data); err != nil {
					t.Fatal(err)
				}
				streams(t, from, texts{"b": "3"})
				_, err = migrate(t, cfg)
				if !empty {
					saysSo(t, err, "start again with a new Config.StateDir", "what the snapshot must replace is not known")
					return
				}
				if got := heldBy(to); err != nil || len(got) != 1 || got["b"] != "3" {
					t.Errorf("the target holds %v, %v", got, err)
				}
			})
		}
	}
}

// stopsInSnapshot runs a migration until its snapshot is on disk, and a part of it in the target.
func stopsInSnapshot(t *testing.T, cfg Config, to *endpointtest.Server) {
	t.Helper()
	busy := true
	var mu sync.Mutex
	to.On("RESTORE b", func([]string) string {
		mu.Lock()
		defer mu.Unlock()
		if busy {
			return "-BUSY not now\r\n"
		}
		return endpointtest.Usual
	})
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		busy = false
	}()
	m, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); heldBy(to)["a"] != "1" || !stands(cfg, received); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the target holds %v, and the state is %+v", heldBy(to), peek(cfg.StateDir))
		}
	}
	cancel()
	<-ended
}

// stands says whether the first link has come to a stage, as the next run would find it.
func stands(cfg Config, at stage) bool {
	links := peek(cfg.StateDir).Links
	return len(links) > 0 && links[0].Stage == at
}
