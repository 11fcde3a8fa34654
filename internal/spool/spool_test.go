package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// never keeps the background goroutine from syncing on its own.
const never = time.Hour

// pattern gives bytes that tell their offset, so that a shifted or swapped one shows.
func pattern(first int64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		x := uint64(first+int64(i)) * 0x9E3779B97F4A7C15
		b[i] = byte(x >> 56)
	}
	return b
}

func open(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	if o.SyncEvery == 0 {
		o.SyncEvery = never
	}
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// appendNext appends n bytes of the pattern.
func appendNext(t testing.TB, l *Log, n int) {
	t.Helper()
	must(t, l.Append(1000+l.End(), pattern(l.End()+1, n)))
}

// expectContent reads all from the byte after offset on and compares it with the pattern.
func expectContent(t testing.TB, l *Log, offset int64) {
	t.Helper()
	r, err := l.NewReader(offset)
	must(t, err)
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for at := offset; at < l.End(); {
		data, start, received, err := r.Next(ctx)
		must(t, err)
		if start != at+1 {
			t.Fatalf("data starts at byte %d, want %d", start, at+1)
		}
		if !bytes.Equal(data, pattern(start, len(data))) {
			t.Fatalf("wrong bytes in %d..%d", start, start+int64(len(data))-1)
		}
		if received < 1000 || received > 1000+start {
			t.Fatalf("received at %d, start %d", received, start)
		}
		at = start + int64(len(data)) - 1
	}
	if r.Offset() != l.End() {
		t.Fatalf("reader ended at %d, want %d", r.Offset(), l.End())
	}
}

func TestLog(t *testing.T) {
	l := open(t, t.TempDir(), Options{SegmentBytes: 4096})
	if l.Started() || l.ReplID() != "" || l.End() != 0 || l.Begin() != 1 {
		t.Fatalf("fresh spool: %q %d %d", l.ReplID(), l.Begin(), l.End())
	}
	if err := l.Append(0, []byte("x")); !errors.Is(err, ErrNotStarted) {
		t.Fatalf("append before start: %v", err)
	}
	must(t, l.Start("id", 100))
	if l.Begin() != 101 || l.End() != 100 || l.ReplID() != "id" {
		t.Fatalf("started: %q %d %d", l.ReplID(), l.Begin(), l.End())
	}
	for i := range 200 {
		appendNext(t, l, 1+i*7%900)
	}
	if n := len(l.segments); n < 5 {
		t.Fatalf("%d segments; the test wants several", n)
	}
	for _, offset := range []int64{100, 101, 4000, 4001, l.End() - 1, l.End()} {
		expectContent(t, l, offset)
	}
	for _, offset := range []int64{99, l.End() + 1} {
		var out *RangeError
		if _, err := l.NewReader(offset); !errors.As(err, &out) || !errors.Is(err, ErrRange) {
			t.Errorf("reader from %d: %v", offset, err)
		}
	}
}

func TestReaderStartsAtEveryByte(t *testing.T) {
	l := open(t, t.TempDir(), Options{SegmentBytes: 256})
	must(t, l.Start("id", 7))
	for _, n := range []int{1, 2, 50, 3, 200, 30} {
		appendNext(t, l, n)
	}
	for offset := int64(7); offset <= l.End(); offset++ {
		expectContent(t, l, offset)
	}
}

func TestLargeAppend(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	must(t, l.Start("id", 0))
	for _, n := range []int{maxPayload - 1, maxPayload, maxPayload + 1, 3*maxPayload + 5} {
		appendNext(t, l, n)
	}
	expectContent(t, l, 0)
	expectContent(t, l, 2*maxPayload+17)
	if err := l.Append(0, make([]byte, maxAppend+1)); err == nil {
		t.Error("an append over the limit went through")
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentBytes: 1000})
	must(t, l.Start("first", 10))
	for range 10 {
		appendNext(t, l, 300)
	}
	must(t, l.SetReplID("second"))
	must(t, l.SetReplID("third")) // on an empty segment
	begin, end, size := l.Begin(), l.End(), l.Size()
	must(t, l.Close())

	for range 2 {
		l = open(t, dir, Options{SegmentBytes: 1000})
		if l.ReplID() != "third" || l.Begin() != begin || l.End() != end || l.Size() != size {
			t.Fatalf("reopened: %q %d..%d, %d bytes; want %d..%d, %d bytes", l.ReplID(), l.Begin(), l.End(), l.Size(), begin, end, size)
		}
		expectContent(t, l, 10)
		appendNext(t, l, 50)
		expectContent(t, l, 10)
		end, size = l.End(), l.Size()
		must(t, l.Close())
	}
}

func TestStartAnew(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentBytes: 1000})
	must(t, l.Start("old", 0))
	for range 10 {
		appendNext(t, l, 300)
	}
	r, err := l.NewReader(0)
	must(t, err)
	defer r.Close()
	must(t, l.Start("new", 0))
	if l.Begin() != 1 || l.End() != 0 || l.Size() != headerSize || l.ReplID() != "new" {
		t.Fatalf("%q %d..%d %d", l.ReplID(), l.Begin(), l.End(), l.Size())
	}
	appendNext(t, l, 10)
	if _, _, _, err := r.Next(t.Context()); !errors.Is(err, ErrRange) {
		t.Errorf("a reader of the old stream got %v", err)
	}
	must(t, l.Close())
	l = open(t, dir, Options{})
	if l.ReplID() != "new" || l.End() != 10 {
		t.Fatalf("reopened: %q %d", l.ReplID(), l.End())
	}
	expectContent(t, l, 0)
}

func TestTrim(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentBytes: 1000})
	must(t, l.Start("id", 0))
	for range 20 {
		appendNext(t, l, 300)
	}
	r, err := l.NewReader(0)
	must(t, err)
	defer r.Close()
	before := l.Size()
	must(t, l.TrimBefore(3000))
	if l.Begin() == 1 || l.Begin() > 3000 || l.Size() >= before {
		t.Fatalf("begins at %d with %d bytes", l.Begin(), l.Size())
	}
	expectContent(t, l, l.Begin()-1)
	expectContent(t, l, 3000)
	var got error
	for got == nil {
		_, _, _, got = r.Next(t.Context())
	}
	if !errors.Is(got, ErrRange) {
		t.Errorf("a reader of what was trimmed got %v", got)
	}
	must(t, l.TrimBefore(1<<40))
	if len(l.segments) != 1 || l.End() != 6000 {
		t.Fatalf("%d segments, end %d: the last one must stay", len(l.segments), l.End())
	}
	must(t, l.Close())
	l = open(t, dir, Options{})
	if l.End() != 6000 {
		t.Fatalf("reopened: end %d", l.End())
	}
}

func TestQuota(t *testing.T) {
	l := open(t, t.TempDir(), Options{SegmentBytes: 1000, LimitBytes: 8000})
	must(t, l.Start("id", 0))
	var err error
	for err == nil {
		err = l.Append(1000, pattern(l.End()+1, 300))
	}
	var full *FullError
	if !errors.As(err, &full) || !errors.Is(err, ErrFull) || full.Limit != 8000 || full.Size != l.Size() || full.Size+full.Need <= 8000 {
		t.Fatalf("over the quota: %v", err)
	}
	if l.Size() > 8000 || l.End()%300 != 0 {
		t.Fatalf("%d bytes on disk, end %d", l.Size(), l.End())
	}
	expectContent(t, l, 0)
	must(t, l.TrimBefore(l.End()+1))
	for range 10 {
		appendNext(t, l, 300)
	}
	expectContent(t, l, l.Begin()-1)
}

func TestReaderWaits(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	must(t, l.Start("id", 0))
	r, err := l.NewReader(0)
	must(t, err)
	defer r.Close()
	if r.Ready() {
		t.Error("an empty log has bytes to deliver")
	}

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, _, _, err := r.Next(ctx)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}

	go func() {
		data, start, _, err := r.Next(t.Context())
		if err == nil && (start != 1 || string(data) != "abc") {
			err = fmt.Errorf("got %q at %d", data, start)
		}
		ended <- err
	}()
	must(t, l.Append(1, []byte("abc")))
	must(t, <-ended)

	go func() {
		_, _, _, err := r.Next(t.Context())
		ended <- err
	}()
	must(t, l.Close())
	if err := <-ended; err != io.EOF {
		t.Fatalf("closed: %v", err)
	}
}

func TestReaderDrainsAfterClose(t *testing.T) {
	l := open(t, t.TempDir(), Options{SegmentBytes: 500})
	must(t, l.Start("id", 0))
	for range 10 {
		appendNext(t, l, 300)
	}
	r, err := l.NewReader(0)
	must(t, err)
	defer r.Close()
	must(t, l.Close())
	for {
		ready := r.Ready()
		_, _, _, err := r.Next(t.Context())
		if ready == (err == io.EOF) {
			t.Errorf("ready: %v, and the next bytes: %v", ready, err)
		}
		if err == io.EOF {
			break
		}
		must(t, err)
	}
	if r.Offset() != 3000 {
		t.Errorf("drained to %d of 3000", r.Offset())
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	must(t, l.Close())
	open(t, dir, Options{})
}

// One writer, and three readers that trim what all of them have read; for the race detector too.
func TestConcurrent(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const total = 4 << 20
	l := open(t, t.TempDir(), Options{SegmentBytes: 64 << 10, SyncEvery: time.Millisecond})
	must(t, l.Start("id", 0))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error)
	const readers = 3
	var read [readers]atomic.Int64
	for i := range readers {
		r, err := l.NewReader(0)
		must(t, err)
		go func() {
			defer r.Close()
			ended <- func() error {
				for r.Offset() < total {
					data, start, _, err := r.Next(ctx)
					if err != nil {
						return err
					}
					if !bytes.Equal(data, pattern(start, len(data))) {
						return fmt.Errorf("wrong bytes at %d", start)
					}
					read[i].Store(r.Offset())
					slowest := min(read[0].Load(), read[1].Load(), read[2].Load())
					if err := l.TrimBefore(slowest + 1); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for l.End() < total {
		n := min(1+rnd.IntN(20000), int(total-l.End()))
		must(t, l.Append(1, pattern(l.End()+1, n)))
	}
	for range readers {
		must(t, <-ended)
	}
	if n := len(l.segments); n != 1 {
		t.Errorf("%d segments left; all but one were read by everybody", n)
	}
	must(t, l.Sync())
	if l.Durable() != total {
		t.Errorf("durable up to %d of %d", l.Durable(), total)
	}
}
