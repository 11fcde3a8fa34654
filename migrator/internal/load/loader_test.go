package load

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/resp"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/scope"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// snapshotOf is a snapshot of short strings: names, each with its text behind it.
type snapshotOf []string

func (s *snapshotOf) Next() (*rdb.Entry, error) {
	if len(*s) == 0 {
		return nil, io.EOF
	}
	name, text := (*s)[0], (*s)[1]
	*s = (*s)[2:]
	return &rdb.Entry{Kind: rdb.KindKey, Key: []byte(name), Type: rdb.TypeString, Raw: append([]byte{byte(len(text))}, text...), Idle: -1, Freq: -1}, nil
}

func (*snapshotOf) Walk(keyspace.Visitor) error { return errors.New("no value is that large") }

func (*snapshotOf) Consumed() int64 { return 0 }

// newTestLoad returns what a loader needs, with a target in memory, and the problems that the loader reports.
func newTestLoad(t *testing.T) (*Config, *targettest.Memory, *ledger.Problems) {
	t.Helper()
	held := ledger.NewExpiries(ledger.NeverHeld)
	if err := held.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	m := targettest.New()
	to := m.Target
	carried := scope.New(keyspace.Filter{}.To(to.DBs), endpoint.Shard{}, &endpoint.Deployment{})
	problems, log := &ledger.Problems{}, slog.New(slog.DiscardHandler)
	return &Config{
		Target: to, Scope: &carried, Ledger: ledger.New(log, &carried.Filter, func() string { return "" }, problems, ledger.Counters{}),
		Expiries: held, NewWriter: func() Writer { return to.NewWriter(target.Writing{Checkpoints: to.NewCheckpoints("0")}) }, Now: func() int64 { return time.Now().UnixMilli() }, Log: log,
		Lanes: 3, BigValue: 1 << 20, Followed: true,
	}, m, problems
}

// TestLoaderMeetsKeys: what becomes of keys that the target has already, and how that is counted.
func TestLoaderMeetsKeys(t *testing.T) {
	for _, c := range []struct {
		name          string
		keep          bool
		over          target.Overwrite
		holds         string // what the key holds in the end
		applied, kept int64
		fails         string
	}{
		{name: "replace", over: target.Overwrite{First: true}, holds: "new", applied: 2},
		{name: "keep", keep: true, holds: "old", applied: 1, kept: 1},
		{name: "fail", holds: "old", fails: "already exists"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, m, _ := newTestLoad(t)
			m.Keys[keyspace.Key{Name: "a"}] = targettest.Value{Text: "old"}
			cfg.Keep, cfg.Over = c.keep, c.over
			err := New(cfg).Load(t.Context(), &snapshotOf{"a", "new", "b", "new"})
			if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Error(err)
			}
			if got := m.Text("a"); got != c.holds {
				t.Errorf("the key holds %q, want %q", got, c.holds)
			}
			if applied, kept := cfg.Ledger.SnapshotApplied.Load(), cfg.Ledger.SnapshotKept.Load(); err == nil && (applied != c.applied || kept != c.kept) {
				t.Errorf("%d applied and %d kept, want %d and %d", applied, kept, c.applied, c.kept)
			}
		})
	}
}

// TestLoaderLeavesStrays: a key that lies on a node of a cluster which does not own its slot is reported, and does not take the place of the
// value that the slot's owner sends.
func TestLoaderLeavesStrays(t *testing.T) {
	cfg, m, problems := newTestLoad(t)
	cfg.Scope.Exclude = []string{"no:*"}
	cfg.Scope.Slots = keyspace.SlotRanges{{First: 0, Last: 8191}}
	m.Keys[keyspace.Key{Name: "a"}] = targettest.Value{Text: "of its owner"}
	cfg.Over = target.Overwrite{First: true}
	if err := New(cfg).Load(t.Context(), &snapshotOf{"a", "stray", "b", "text", "no:{a}", "x"}); err != nil { // the slots of a and b are 15495 and 3300
		t.Fatal(err)
	}
	l := cfg.Ledger
	if m.Text("a") != "of its owner" || m.Text("b") != "text" || l.SnapshotReported.Load() != 1 || l.SnapshotApplied.Load() != 1 || l.SnapshotFiltered.Load() != 1 {
		t.Errorf("a holds %q, b %q; counted %+v", m.Text("a"), m.Text("b"), l.ThisRun())
	}
	if p := problems.All(); len(p) != 1 || p[0].Key != "a" || !strings.Contains(p[0].Reason, "slot 15495") {
		t.Errorf("%+v", p)
	}
}

// TestLoaderBuildsWhatIsRefused: a payload that the target does not take is built by commands; what cannot be built is reported.
func TestLoaderBuildsWhatIsRefused(t *testing.T) {
	cfg, m, problems := newTestLoad(t)
	m.NoPayloads = resp.Error("ERR Bad data format")
	if err := New(cfg).Load(t.Context(), &snapshotOf{"a", "text"}); err != nil {
		t.Fatal(err)
	}
	if got := m.Text("a"); got != "text" || cfg.Ledger.SnapshotApplied.Load() != 1 {
		t.Errorf("the key holds %q, %d applied", got, cfg.Ledger.SnapshotApplied.Load())
	}
	m.NoCommands = resp.Error("ERR unknown command")
	if err := New(cfg).Load(t.Context(), &snapshotOf{"b", "text"}); err != nil {
		t.Fatal(err)
	}
	if n := len(problems.All()); n != 1 || problems.All()[0].Key != "b" || cfg.Ledger.SnapshotReported.Load() != 1 {
		t.Errorf("%d problems: %+v", n, problems.All())
	}
}

// TestLoadAllocations: nor does a key of a snapshot take any, on its way from the RDB to the bytes that are sent.
func TestLoadAllocations(t *testing.T) {
	const keys = 200_000
	cfg, _, _ := newTestLoad(t)
	cfg.NewWriter = func() Writer { return settling{} }
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := New(cfg).Load(t.Context(), &manyStrings{left: keys}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := cfg.Ledger.SnapshotApplied.Load(); n != keys {
		t.Fatalf("%d of %d keys were sent", n, keys)
	}
	each := float64(after.Mallocs-before.Mallocs) / keys
	t.Logf("%.3f allocations for each key", each)
	if each > 0.1 {
		t.Errorf("%.3f allocations for each key, at most %.1f", each, 0.1)
	}
}

// manyStrings is a snapshot of short strings that expire.
type manyStrings struct {
	left int
	e    rdb.Entry
}

func (s *manyStrings) Next() (*rdb.Entry, error) {
	if s.left == 0 {
		return nil, io.EOF
	}
	s.left--
	s.e = rdb.Entry{Kind: rdb.KindKey, Key: strconv.AppendInt(append(s.e.Key[:0], "key:"...), int64(s.left), 10), ExpireAt: 99999999999999, Type: rdb.TypeString, Raw: append(s.e.Raw[:0], "\x05value"...), Idle: -1, Freq: -1}
	return &s.e, nil
}

func (*manyStrings) Walk(keyspace.Visitor) error { return errors.New("no value is that large") }
func (*manyStrings) Version() int                { return 11 }
func (*manyStrings) Consumed() int64             { return 0 }

// settling is a restorer that sends nothing.
type settling struct{ Writer }

func (settling) Close() {}

func (settling) Restore(_ context.Context, b *target.Batch, settle func(k *target.Value, refused *target.RefusedError) error) error {
	for i := range b.Keys {
		if err := settle(&b.Keys[i], nil); err != nil {
			return err
		}
	}
	return nil
}

// TestLoaderLetsGoOfLargeValues: the room of a large value is not kept for the small ones behind it.
func TestLoaderLetsGoOfLargeValues(t *testing.T) {
	cfg, _, _ := newTestLoad(t)
	ld := New(cfg)
	ld.work, ld.held = make(chan *target.Batch, 2), semaphore.NewWeighted(1)
	ld.work <- &target.Batch{Payload: make([]byte, 0, 8<<20)}
	ld.work <- &target.Batch{Payload: make([]byte, 0, loadBatchBytes)}
	close(ld.work)
	if err := ld.worker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b := <-ld.spare; len(ld.spare) > 0 || cap(b.Payload) > loadBatchBytes {
		t.Errorf("a batch of %d bytes is kept", cap(b.Payload))
	}
}
