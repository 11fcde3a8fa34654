package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// The damaged log: eight frames of 300 bytes in three segments of three, three and two.
const (
	testFrame = frameHeader + 300
	seg1      = "00000000000000000001.spool"
	seg2      = "00000000000000000901.spool"
	seg3      = "00000000000000001801.spool"
)

func frameAt(i int) int64 { return headerSize + int64(i)*testFrame }

// files is a directory under damage.
type files struct {
	t   *testing.T
	dir string
}

func (f files) change(name string, change func(b []byte) []byte) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	b, err := os.ReadFile(path)
	must(f.t, err)
	must(f.t, os.WriteFile(path, change(b), 0o600))
}

func (f files) flip(name string, at int64) {
	f.change(name, func(b []byte) []byte { b[at] ^= 0x10; return b })
}

func (f files) cut(name string, size int64) {
	f.change(name, func(b []byte) []byte { return b[:size] })
}

func (f files) add(name string, more []byte) {
	f.change(name, func(b []byte) []byte { return append(b, more...) })
}

func (f files) remove(name string) { must(f.t, os.Remove(filepath.Join(f.dir, name))) }

// header changes a header and gives it a right checksum again.
func (f files) header(name string, change func(b []byte)) {
	f.change(name, func(b []byte) []byte {
		change(b)
		binary.LittleEndian.PutUint32(b[172:], crc32.Checksum(b[:172], castagnoli))
		return b
	})
}

func TestRecovery(t *testing.T) {
	type outcome struct {
		begin, end int64  // what must survive
		file       string // or which damage is told
		at         int64
		version    bool
	}
	survives := func(begin, end int64) outcome { return outcome{begin: begin, end: end} }
	corrupt := func(file string, at int64) outcome { return outcome{file: file, at: at} }
	stale := frame{start: 1, receivedAt: 1, payload: pattern(1, 100)}.appendTo(nil)
	tests := []struct {
		name, why string
		lazy      bool // nothing was made durable after Start; else all was, after each append
		damage    func(f files)
		want      outcome
	}{
		{name: "none", damage: func(files) {}, want: survives(1, 2400)},
		{name: "none, lazy", lazy: true, damage: func(files) {}, want: survives(1, 2400)},
		{name: "foreign files", damage: func(f files) {
			must(t, os.WriteFile(filepath.Join(f.dir, "notes.txt"), nil, 0o600))
			must(t, os.WriteFile(filepath.Join(f.dir, "1.spool"), nil, 0o600))
		}, want: survives(1, 2400)},
		{name: "last byte missing", damage: func(f files) { f.cut(seg3, frameAt(2)-1) }, want: survives(1, 2100)},
		{name: "last frame's header torn", damage: func(f files) { f.cut(seg3, frameAt(1)+5) }, want: survives(1, 2100)},
		{name: "last frame flipped", why: "nothing behind it says that it was durable", damage: func(f files) { f.flip(seg3, frameAt(1)+100) }, want: survives(1, 2100)},
		{name: "last frame's length", damage: func(f files) { f.flip(seg3, frameAt(1)) }, want: survives(1, 2100)},
		{name: "zeros behind", why: "a file may grow before its data arrive", damage: func(f files) { f.add(seg3, make([]byte, 4096)) }, want: survives(1, 2400)},
		{name: "garbage behind", damage: func(f files) { f.add(seg3, pattern(77, 5000)) }, want: survives(1, 2400)},
		{name: "old frame behind", why: "whole in itself, but not next", damage: func(f files) { f.add(seg3, stale) }, want: survives(1, 2400)},
		{name: "last segment not written", damage: func(f files) { f.cut(seg3, 0) }, want: survives(1, 1800)},
		{name: "last segment's header torn", damage: func(f files) { f.cut(seg3, 100) }, want: survives(1, 1800)},
		{name: "last segment without frames", damage: func(f files) { f.cut(seg3, headerSize) }, want: survives(1, 1800)},
		{name: "last segment zeros", damage: func(f files) { f.change(seg3, func(b []byte) []byte { clear(b); return b }) }, want: survives(1, 1800)},
		{name: "first segment missing", why: "so does trimming leave it", damage: func(f files) { f.remove(seg1) }, want: survives(901, 2400)},

		{name: "frame flipped in the first segment", damage: func(f files) { f.flip(seg1, frameAt(1)+60) }, want: corrupt(seg1, frameAt(1))},
		{name: "frame's length in the first segment", why: "its end is unknown then; what follows is found all the same",
			damage: func(f files) { f.flip(seg1, frameAt(0)+1) }, want: corrupt(seg1, frameAt(0))},
		{name: "frame's impossible length", damage: func(f files) { f.change(seg2, func(b []byte) []byte { b[frameAt(2)+3] = 0xff; return b }) }, want: corrupt(seg2, frameAt(2))},
		{name: "frame's time flipped", why: "the header is under the checksum too", damage: func(f files) { f.flip(seg1, frameAt(0)+8) }, want: corrupt(seg1, frameAt(0))},
		{name: "frame before the last flipped", damage: func(f files) { f.flip(seg3, frameAt(0)+40) }, want: corrupt(seg3, frameAt(0))},
		{name: "frame missing", damage: func(f files) {
			f.change(seg1, func(b []byte) []byte { return append(b[:frameAt(1):frameAt(1)], b[frameAt(2):]...) })
		}, want: corrupt(seg1, frameAt(1))},
		{name: "segment cut short", damage: func(f files) { f.cut(seg2, frameAt(2)) }, want: corrupt(seg3, 0)},
		{name: "segment cut inside a frame", damage: func(f files) { f.cut(seg2, frameAt(2)+9) }, want: corrupt(seg2, frameAt(2))},
		{name: "segment missing", damage: func(f files) { f.remove(seg2) }, want: corrupt(seg3, 0)},
		{name: "segment emptied", damage: func(f files) { f.cut(seg2, 0) }, want: corrupt(seg2, 0)},
		{name: "last header zeroed, frames there", damage: func(f files) { f.change(seg3, func(b []byte) []byte { clear(b[:headerSize]); return b }) }, want: corrupt(seg3, 0)},
		{name: "segment renamed", damage: func(f files) {
			must(t, os.Rename(filepath.Join(f.dir, seg3), filepath.Join(f.dir, segmentName(1802))))
		}, want: corrupt(segmentName(1802), 0)},
		{name: "magic", damage: func(f files) { f.flip(seg2, 3) }, want: corrupt(seg2, 0)},
		{name: "header's checksum", damage: func(f files) { f.flip(seg2, 173) }, want: corrupt(seg2, 0)},
		{name: "header's length", damage: func(f files) { f.header(seg2, func(b []byte) { b[12]++ }) }, want: corrupt(seg2, 0)},
		{name: "header's ID length", damage: func(f files) { f.header(seg2, func(b []byte) { b[32] = 200 }) }, want: corrupt(seg2, 0)},
		{name: "later version", why: "not damaged: written by a later surecut", damage: func(f files) { f.header(seg1, func(b []byte) { b[8] = 2 }) }, want: outcome{version: true}},
		{name: "later version, another header", why: "its checksum may stand elsewhere", damage: func(f files) { f.change(seg1, func(b []byte) []byte { b[8] = 2; return b }) }, want: outcome{version: true}},

		{name: "lazy: frame flipped", why: "never promised to be durable: the source is asked again", lazy: true, damage: func(f files) { f.flip(seg2, frameAt(1)+50) }, want: survives(1, 1200)},
		{name: "lazy: frame's length", lazy: true, damage: func(f files) { f.flip(seg1, frameAt(2)) }, want: survives(1, 600)},
		{name: "lazy: segment missing", lazy: true, damage: func(f files) { f.remove(seg2) }, want: survives(1, 900)},
		{name: "lazy: segment cut short", lazy: true, damage: func(f files) { f.cut(seg2, frameAt(1)) }, want: survives(1, 1200)},
		{name: "lazy: segment not written", lazy: true, damage: func(f files) { f.cut(seg2, 10) }, want: survives(1, 900)},
		{name: "lazy: all headers gone", lazy: true, damage: func(f files) { f.cut(seg1, 0) }, want: survives(1, 0)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			buildDamaged(t, dir, tt.lazy)
			tt.damage(files{t, dir})
			l, err := Open(dir, Options{SegmentBytes: 1000, SyncEvery: never})
			var damaged *CorruptError
			switch {
			case tt.want.version:
				if !errors.Is(err, ErrVersion) || errors.Is(err, ErrCorrupt) {
					t.Fatalf("%v", err)
				}
				return
			case tt.want.file != "":
				if !errors.As(err, &damaged) || !errors.Is(err, ErrCorrupt) || damaged.File != tt.want.file || damaged.At != tt.want.at {
					t.Fatalf("%v; want damage in %s at %d", err, tt.want.file, tt.want.at)
				}
				return
			}
			must(t, err)
			expectUsable(t, l, tt.want.begin, tt.want.end)
			must(t, l.Close())
			l = open(t, dir, Options{SegmentBytes: 1000})
			if l.Begin() != tt.want.begin {
				t.Errorf("reopened: begins at %d", l.Begin())
			}
			expectContent(t, l, l.Begin()-1)
		})
	}
}

func damagedInMemory(t *testing.T) *memFS {
	m := newMemFS()
	fillDamaged(t, open(t, "", Options{FS: m, SegmentBytes: 1000}), false)
	return m
}

func buildDamaged(t *testing.T, dir string, lazy bool) {
	fillDamaged(t, open(t, dir, Options{SegmentBytes: 1000}), lazy)
	for _, name := range []string{seg1, seg2, seg3} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func fillDamaged(t *testing.T, l *Log, lazy bool) {
	must(t, l.Start("id", 0))
	for range 8 {
		appendNext(t, l, 300)
		if !lazy {
			must(t, l.Sync())
		}
	}
	must(t, l.Close())
}

func expectUsable(t *testing.T, l *Log, begin, end int64) {
	t.Helper()
	if l.Begin() != begin || l.End() != end {
		t.Fatalf("recovered %d..%d, want %d..%d", l.Begin(), l.End(), begin, end)
	}
	if !l.Started() {
		must(t, l.Start("id", 0))
	}
	if l.ReplID() != "id" {
		t.Errorf("replication ID %q", l.ReplID())
	}
	expectContent(t, l, begin-1)
	for range 5 {
		appendNext(t, l, 300)
	}
	expectContent(t, l, begin-1)
}

func TestTornAtEveryByte(t *testing.T) {
	built := damagedInMemory(t)
	whole := len(built.files[seg3].data)
	for size := whole; size >= 0; size-- {
		m := built.killed()
		m.files[seg3].data = m.files[seg3].data[:size]
		l, err := Open("", Options{FS: m, SyncEvery: never})
		must(t, err)
		want := int64(1800)
		if n := (size - headerSize) / testFrame; n > 0 {
			want += int64(n) * 300
		}
		if l.End() != want {
			t.Fatalf("cut to %d bytes: end %d, want %d", size, l.End(), want)
		}
		must(t, l.Close())
	}
}

// Every single flipped bit that lies in durable bytes with something behind them is told;
// no flipped bit is ever delivered.
func TestEveryFlippedByte(t *testing.T) {
	built := damagedInMemory(t)
	for _, name := range []string{seg1, seg2, seg3} {
		for at := range built.files[name].data {
			m := built.killed()
			m.files[name].data[at] ^= 1 << (at % 8)
			l, err := Open("", Options{FS: m, SyncEvery: never})
			inLast := name == seg3 && int64(at) >= frameAt(1)
			switch {
			case inLast && (err != nil || l.End() != 2100):
				t.Fatalf("%s, byte %d: %v", name, at, err)
			case !inLast && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion):
				t.Fatalf("%s, byte %d: %v", name, at, err)
			}
			if err == nil {
				must(t, l.Close())
			}
		}
	}
}

// Damage that comes while the log is open is found by the reader.
func TestDamageUnderTheReader(t *testing.T) {
	dir := t.TempDir()
	buildDamaged(t, dir, false)
	l := open(t, dir, Options{})
	files{t, dir}.flip(seg2, frameAt(1)+99)
	r, err := l.NewReader(0)
	must(t, err)
	defer r.Close()
	for err == nil {
		_, _, _, err = r.Next(t.Context())
	}
	var damaged *CorruptError
	if !errors.As(err, &damaged) || damaged.File != seg2 || damaged.At != frameAt(1) || r.Offset() != 1200 {
		t.Errorf("at %d: %v", r.Offset(), err)
	}
}

// workload does a bit of everything and notes what it was promised. It stops at the first
// error, or goes on if told so.
type workload struct {
	acked, durable int64 // by Append, by Sync
	started        bool
	errs           []error
	goOn           bool
}

func (w *workload) failed(err error) bool {
	if err != nil {
		w.errs = append(w.errs, err)
	}
	return err != nil && !w.goOn
}

func (w *workload) run(fs FS) {
	l, err := Open("", Options{FS: fs, SegmentBytes: 1000, SyncEvery: never})
	if w.failed(err) || err != nil {
		return
	}
	defer func() { w.failed(l.Close()) }()
	if err := l.Start("id", 0); w.failed(err) || err != nil {
		return
	}
	w.started = true
	for i := range 14 {
		if w.failed(l.Append(1000, pattern(l.End()+1, 100+i*30))) {
			return
		}
		w.acked = l.End()
		if i%3 == 2 {
			end := l.End()
			err := l.Sync()
			if w.failed(err) {
				return
			}
			if err == nil {
				w.durable = end
			}
		}
		if i == 9 && w.failed(l.TrimBefore(600)) {
			return
		}
	}
}

// A process that is killed, or a machine that loses power, at each single operation.
func TestCrashAtEveryOperation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	healthy := newMemFS()
	(&workload{}).run(healthy)
	if healthy.ops < 40 {
		t.Fatalf("%d operations", healthy.ops)
	}
	for op := 1; op <= healthy.ops+1; op++ {
		for range 30 {
			m := newMemFS()
			m.torn = rnd
			m.fault = deadFrom(op)
			w := &workload{}
			w.run(m)
			left := m.killed()
			expectSurvived(t, fmt.Sprintf("killed at operation %d", op), left, w, w.acked)
			expectSurvived(t, fmt.Sprintf("killed at operation %d, then without power", op), left.unpowered(rnd), w, w.durable)
			expectSurvived(t, fmt.Sprintf("without power at operation %d", op), m.unpowered(rnd), w, w.durable)
		}
	}
}

func expectSurvived(t *testing.T, when string, left *memFS, w *workload, promised int64) {
	t.Helper()
	l, err := Open("", Options{FS: left, SegmentBytes: 1000, SyncEvery: never})
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	defer func() { left.fault = deadFrom(0); l.Close() }() // no last sync: the next crash follows
	if l.End() < promised {
		t.Fatalf("%s: end %d, promised %d", when, l.End(), promised)
	}
	if w.started && (!l.Started() || l.ReplID() != "id") {
		t.Fatalf("%s: %q", when, l.ReplID())
	}
	if l.Started() {
		expectPattern(t, when, l)
		must(t, l.Append(1000, pattern(l.End()+1, 500)))
		expectPattern(t, when, l)
	}
}

func expectPattern(t *testing.T, when string, l *Log) {
	t.Helper()
	r, err := l.NewReader(l.Begin() - 1)
	must(t, err)
	defer r.Close()
	for r.Offset() < l.End() {
		data, start, _, err := r.Next(t.Context())
		if err != nil || string(data) != string(pattern(start, len(data))) {
			t.Fatalf("%s: wrong at %d: %v", when, start, err)
		}
	}
}

// Each single operation fails once, in part, and the writer goes on.
func TestFailureAtEveryOperation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	healthy := newMemFS()
	(&workload{}).run(healthy)
	for op := 1; op <= healthy.ops; op++ {
		m := newMemFS()
		m.torn = rnd
		m.fault = failAt(op)
		w := &workload{goOn: true}
		w.run(m)
		if len(w.errs) == 0 || !errors.Is(w.errs[0], errInjected) {
			t.Fatalf("operation %d: the failure was swallowed: %v", op, w.errs)
		}
		left := m.killed()
		expectSurvived(t, fmt.Sprintf("operation %d failed", op), left, w, w.acked)
		expectSurvived(t, fmt.Sprintf("operation %d failed, no power", op), m.unpowered(rnd), w, w.durable)
	}
}

// A failed sync in the background makes the next append fail, and every later one.
func TestSyncFails(t *testing.T) {
	m := newMemFS()
	l := open(t, "", Options{FS: m})
	must(t, l.Start("id", 0))
	appendNext(t, l, 100)
	m.mu.Lock()
	m.fault = failAt(m.ops + 1)
	m.mu.Unlock()
	if err := l.Sync(); !errors.Is(err, errInjected) {
		t.Fatalf("%v", err)
	}
	for range 2 {
		if err := l.Append(1, []byte("x")); !errors.Is(err, errInjected) {
			t.Fatalf("append after a failed sync: %v", err)
		}
	}
	if l.Durable() != 0 || l.End() != 100 {
		t.Errorf("durable %d, end %d", l.Durable(), l.End())
	}
}

// A full disk refuses an append; when there is room again, it goes on.
func TestWriteFails(t *testing.T) {
	m := newMemFS()
	m.torn = rand.New(rand.NewPCG(1, 2))
	l := open(t, "", Options{FS: m})
	must(t, l.Start("id", 0))
	appendNext(t, l, 100)
	m.fault = failAt(m.ops + 3) // two of three frames are there then
	if err := l.Append(1, pattern(101, 3*maxPayload)); !errors.Is(err, errInjected) {
		t.Fatalf("%v", err)
	}
	if left := open(t, "", Options{FS: m.killed()}); left.End() != 100 {
		t.Fatalf("a refused append came back after a restart: end %d", left.End())
	}
	if l.End() != 100 || l.Size() != headerSize+frameHeader+100 {
		t.Fatalf("end %d, %d bytes", l.End(), l.Size())
	}
	appendNext(t, l, 50)
	expectContent(t, l, 0)
}
