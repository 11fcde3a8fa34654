package migrator

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/spool"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/stream"
)

// TestRecordsAreDurable: what the receiver reports is on disk when the call returns, since a crash may follow at once.
func TestRecordsAreDurable(t *testing.T) {
	l := newTestLink(t)
	l.m.state.dir = t.TempDir()
	r := linkRecord{l}
	on := func() linkState { return *peek(l.m.state.dir).Links[0] }
	l.m.state.Source, l.m.state.Target, l.st.Reach = "redis://a", "redis://b", 7
	for _, tt := range []struct {
		name string
		do   func() error
		is   func(linkState) bool
	}{
		{"a snapshot begins", func() error {
			return r.SnapshotBegins(receive.Beginning{ReplID: "x", Offset: 5, AskedMs: 9, Legacy: true})
		}, func(st linkState) bool {
			return st.Stage == receiving && st.ReplID == "x" && st.Start == 5 && st.StartedMs == 9 && st.Sync && st.Reach == 0
		}},
		{"it is whole", r.SnapshotIsWhole, func(st linkState) bool { return st.Stage == received }},
		{"it was loaded before that", func() error {
			return errors.Join(l.standing.advance(loaded, func(*linkState) error { return nil }), r.SnapshotIsWhole())
		},
			func(st linkState) bool { return st.Stage == loaded }},
		{"the primary", func() error { return r.RememberPrimary("b:2") }, func(st linkState) bool { return st.Primary == "b:2" }},
		{"the stream continues", func() error { return r.StreamContinues("y", 50, false) }, func(st linkState) bool { return st.ReplID == "y" && st.Expiries == ledger.HeldFirst }},
	} {
		if err := tt.do(); err != nil || !tt.is(on()) {
			t.Errorf("%s: %v, %+v", tt.name, err, on())
		}
	}
	if addr, id := r.LastPrimary(); addr != "b:2" || id != "y" || l.moved.Load() != nil {
		t.Errorf("%s %s, moved %v", addr, id, l.moved.Load())
	}
	if err := r.StreamContinues("z", 40, true); err != nil || l.moved.Load() == nil || l.moved.Load().Behind != 40 {
		t.Errorf("what was read beyond another history is not void: %v, %v", l.moved.Load(), err)
	}
	refused := errors.New("lost meanwhile")
	if err := l.standing.advance(following, func(*linkState) error { return refused }); !errors.Is(err, refused) || l.standing.stage() != loaded || on().Stage != loaded {
		t.Errorf("it goes on to %q in spite of %v", l.standing.stage(), err)
	}
}

// TestHasReceived: what an earlier run has received need not be asked for again. A snapshot that was not whole counts as nothing.
func TestHasReceived(t *testing.T) {
	for stage, want := range map[stage]receive.Progress{fresh: receive.Nothing, receiving: receive.Nothing, received: receive.Downloaded, loaded: receive.Loaded, following: receive.Loaded} {
		l := newTestLink(t)
		l.st.Stage = stage
		if got := l.standing.hasReceived(); got != want {
			t.Errorf("%q: %v, want %v", stage, got, want)
		}
	}
}

// TestLag: how far the target is behind, and up to when it has applied what the source wrote.
func TestLag(t *testing.T) {
	long := time.Now().Add(-time.Hour).UnixMilli()
	ahead := time.Now().Add(time.Hour).UnixMilli()
	const now = -1
	for _, tt := range []struct {
		name, why string
		at        stream.Mark // applied; the spool holds the stream from 100 to 110
		offline   bool
		bytes     int64
		aged      bool  // the lag has an age of about an hour
		upTo      int64 // appliedTime
		nearly    bool
	}{
		{name: "all is applied", at: stream.Mark{Offset: 110, Received: long}, upTo: now, nearly: true},
		{name: "behind", at: stream.Mark{Offset: 104, Received: long}, bytes: 6, aged: true, upTo: long},
		{name: "behind for a moment", at: stream.Mark{Offset: 104, Received: time.Now().UnixMilli()}, bytes: 6, upTo: now, nearly: true},
		{name: "the clock was set back", why: "no lag is below 0, and nobody knows of later than now", at: stream.Mark{Offset: 104, Received: ahead}, bytes: 6, upTo: now, nearly: true},
		{name: "ahead of the spool", why: "the spool has lost its end", at: stream.Mark{Offset: 120, Received: long}, upTo: now, nearly: true},
		{name: "not connected", why: "nobody knows how far the source is", at: stream.Mark{Offset: 110, Received: long}, offline: true},
	} {
		l := newTestLink(t)
		l.replica.spool = emptySpool(t)
		if err := l.replica.spool.Append(long, []byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		if tt.offline {
			l.replica.receiver = receive.New(receive.Config{})
		}
		l.positions.SetDispatched(tt.at)
		bytes, age := l.lag()
		if bytes != tt.bytes || age < 0 || (age > 30*time.Minute) != tt.aged {
			t.Errorf("%s: %d bytes, %v; want %d (%s)", tt.name, bytes, age, tt.bytes, tt.why)
		}
		upTo := l.appliedTime()
		if is := time.Now().UnixMilli() - upTo; tt.upTo == now && (is < 0 || is > time.Minute.Milliseconds()) || tt.upTo != now && upTo != tt.upTo {
			t.Errorf("%s: applied up to %d, want %d (%s)", tt.name, upTo, tt.upTo, tt.why)
		}
		if got := l.nearlyCaughtUp(); got != tt.nearly {
			t.Errorf("%s: nearly caught up %v (%s)", tt.name, got, tt.why)
		}
	}
}

// TestDamagedSpool: the user is told which directory to move away, and that the source may still have what is in it.
func TestDamagedSpool(t *testing.T) {
	l := newTestLink(t)
	l.dir = t.TempDir()
	log, err := spool.Open(l.dir+"/stream", spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(log.Start("id", 100), log.Append(1, []byte("abc")), log.Close()); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(l.dir + "/stream/*.spool")
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	data, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	data[16] ^= 1 // in the header, which is written whole and synced before anything is received
	if err := os.WriteFile(paths[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	err = l.replica.open()
	if !errors.Is(err, spool.ErrCorrupt) {
		t.Fatalf("%v", err)
	}
	saysSo(t, err, "move "+l.dir+"/stream away", "")
}

// TestOneShard: Applied and Freeze refuse links without offsets, and those that do not apply a stream yet.
func TestOneShard(t *testing.T) {
	l := newTestLink(t)
	l.shard = receive.NewShard(endpoint.Shard{Primary: endpoint.Node{Addr: "a:1"}}, "a:1", receive.ShardConfig{})
	_, err := l.m.Applied(t.Context(), 0)
	saysSo(t, err, "the link of shard a:1 has none", "")
	l.applying.Store(&stream.Stream{})
	_, err = l.m.Applied(t.Context(), 0)
	saysSo(t, err, "", "")
	l.st.Sync = true
	_, err = l.m.Applied(t.Context(), 0)
	saysSo(t, err, "the link of shard a:1 has none", "")
	_, err = l.m.Freeze(t.Context(), 0)
	saysSo(t, err, "has no PSYNC", "")
	if l.cannotCopy() == "" {
		t.Error("keys of a source without offsets are copied")
	}
}
