package receive

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"surecut/internal/resp"
	"surecut/internal/spool"
)

// fakeSource answers the connections of a receiver, each with what its script says to PSYNC. It plays the protocol, not a server.
type fakeSource struct {
	t       *testing.T
	answers []string // to PSYNC, by connection; the connection is hung up behind an answer that ends with hangUp
	parts   int      // so many bytes follow an answer, each by itself

	more chan string // sent after the answer to PSYNC; nil: nothing is

	mu      sync.Mutex
	asked   []string
	refused error  // what Refuse returns
	told    []any  // what the record was told
	left    error  // what Watch returns at once
	fails   error  // of the record
	offset  int64  // where it stands; below 0: it does not say so
	node    string // the last one that was settled
}

const hangUp = "(hang up)"

func (f *fakeSource) Next(context.Context) (string, error)         { return "a:1", nil }
func (f *fakeSource) Refuse(context.Context, string, string) error { return f.refused }
func (f *fakeSource) Settle(_ context.Context, at string) error {
	f.node = at
	return nil
}
func (f *fakeSource) Watch(ctx context.Context, _ string) error {
	if f.left == nil {
		<-ctx.Done()
	}
	return f.left
}

func (f *fakeSource) Standing(context.Context, string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.offset < 0 {
		return 0, errors.New("the source does not answer")
	}
	return f.offset, nil
}

func (f *fakeSource) FinalStanding(ctx context.Context, replID string) (int64, error) {
	return f.Standing(ctx, replID)
}

func (f *fakeSource) SnapshotBegins(b Beginning) error { return f.tell(b) }
func (f *fakeSource) SnapshotIsWhole() error           { return f.tell("whole") }
func (f *fakeSource) StreamContinues(id string, offset int64, renamed bool) error {
	return f.tell(fmt.Sprintf("%s goes on at %d, renamed: %v", id, offset, renamed))
}

func (f *fakeSource) tell(what any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, what)
	return f.fails
}

func (f *fakeSource) dial(context.Context, string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.answers) == 0 {
		return nil, errors.New("connection refused")
	}
	answer := f.answers[0]
	f.answers = f.answers[1:]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go f.serve(l, answer)
	return net.Dial("tcp", l.Addr().String())
}

func (f *fakeSource) serve(l net.Listener, answer string) {
	conn, err := l.Accept()
	l.Close() // not before: that would reset a connection which nobody has accepted
	if err != nil {
		return
	}
	defer conn.Close()
	in := resp.NewReader(conn)
	for {
		args, _, err := in.ReadCommand()
		if err != nil {
			return
		}
		switch string(args[0]) {
		case "PING":
			_, err = io.WriteString(conn, "+PONG\r\n")
		case "REPLCONF":
			if string(args[1]) != "ACK" {
				_, err = io.WriteString(conn, "+OK\r\n")
			}
		case "PSYNC":
			f.mu.Lock()
			f.asked = append(f.asked, fmt.Sprintf("%s %s", args[1], args[2]))
			f.mu.Unlock()
			text, hangs := strings.CutSuffix(answer, hangUp)
			if _, err = io.WriteString(conn, text); hangs {
				return
			}
			for i := 0; i < f.parts && err == nil; i++ {
				_, err = io.WriteString(conn, "x")
				time.Sleep(200 * time.Microsecond)
			}
			if f.more != nil {
				go func() {
					text, hangs := strings.CutSuffix(<-f.more, hangUp)
					_, _ = io.WriteString(conn, text) // a failure shows in the test
					if hangs {
						conn.Close()
					}
				}()
			}
		}
		if err != nil {
			return
		}
	}
}

func newTestReceiver(t *testing.T, f *fakeSource, change func(*Config)) *Receiver {
	t.Helper()
	log, err := spool.Open(t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	cfg := Config{Nodes: f, Record: f, Dial: f.dial, Now: func() int64 { return 7000 }, Spool: log, SnapshotPath: filepath.Join(t.TempDir(), "snapshot"), SnapshotLimit: 1 << 20,
		RetryFor: 10 * time.Second, Received: func(int64, int64) {}, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	r := New(cfg)
	t.Cleanup(func() { r.Reset() })
	return r
}

// run receives until the spool has reached an offset, or the receiver has ended.
func run(t *testing.T, r *Receiver, has Progress, until int64) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, t.Context(), has, make(chan struct{})) }()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case err := <-ended:
			return err
		case <-deadline:
			t.Fatalf("the spool ends at %d, and not at %d", r.cfg.Spool.End(), until)
		case <-time.After(time.Millisecond):
		}
		if until > 0 && r.cfg.Spool.End() >= until {
			cancel()
			until = 0
		}
	}
}

const (
	first  = "0123456789abcdef0123456789abcdef01234567"
	second = "1123456789abcdef0123456789abcdef01234567"
)

func full(offset int64, body, stream string) string {
	return fmt.Sprintf("+FULLRESYNC %s %d\r\n$%d\r\n%s%s", first, offset, len(body), body, stream)
}

func TestReceives(t *testing.T) {
	f := &fakeSource{t: t, offset: 105, answers: []string{full(100, "snapshot", "12345")}}
	r := newTestReceiver(t, f, nil)
	if r.Online() != Offline {
		t.Errorf("online at %d before it was connected", r.Online())
	}
	if err := run(t, r, Nothing, 105); err != nil {
		t.Fatal(err)
	}
	want := []any{Beginning{ReplID: first, Offset: 100, AskedMs: 7000}, "whole"}
	if !reflect.DeepEqual(f.told, want) {
		t.Errorf("told %v, want %v", f.told, want)
	}
	if got, err := io.ReadAll(r.Snapshot().Reader()); err != nil || string(got) != "snapshot" {
		t.Errorf("snapshot %q, %v", got, err)
	}
	if got := spooled(t, r, 100); got != "12345" {
		t.Errorf("spooled %q", got)
	}
	if f.node != "a:1" || r.Online() != Offline {
		t.Errorf("settled at %q, online at %d after the end", f.node, r.Online())
	}
}

func spooled(t *testing.T, r *Receiver, from int64) string {
	t.Helper()
	in, err := r.cfg.Spool.NewReader(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var got bytes.Buffer
	for at := from; at < r.cfg.Spool.End(); {
		data, _, _, err := in.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at += int64(len(data))
		got.Write(data)
	}
	return got.String()
}

// TestGathers: what a busy source sends in many small parts is written in few, and all of it.
func TestGathers(t *testing.T) {
	const parts = 400
	f := &fakeSource{t: t, offset: 100, answers: []string{full(100, "snapshot", "")}, parts: parts}
	r := newTestReceiver(t, f, nil)
	begun := time.Now()
	if err := run(t, r, Nothing, 100+parts); err != nil {
		t.Fatal(err)
	}
	most := int(time.Since(begun)/gathering) + 3
	in, err := r.cfg.Spool.NewReader(100)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	frames := 0
	for in.Offset() < 100+parts {
		if _, _, _, err := in.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		frames++
	}
	if frames > most {
		t.Errorf("%d parts were written in %d frames, at most %d", parts, frames, most)
	}
}

func TestGoesOn(t *testing.T) {
	for _, c := range []struct {
		name, why string
		has       Progress
		answers   []string
		asked     []string
		told      []any
		want      string
	}{
		{name: "after a loss", why: "from the byte behind the last one that it has",
			answers: []string{full(100, "s", "12345"+hangUp), "+CONTINUE\r\n678"},
			asked:   []string{"? -1", first + " 106"}, want: "12345678",
			told: []any{Beginning{ReplID: first, Offset: 100, AskedMs: 7000}, "whole", first + " goes on at 105, renamed: false"}},
		{name: "after a failover", why: "the stream has another name then, under which it goes on the next time",
			answers: []string{full(100, "s", "12345"+hangUp), "+CONTINUE " + second + "\r\n67" + hangUp, "+CONTINUE\r\n8"},
			asked:   []string{"? -1", first + " 106", second + " 108"}, want: "12345678",
			told: []any{Beginning{ReplID: first, Offset: 100, AskedMs: 7000}, "whole", second + " goes on at 105, renamed: true", second + " goes on at 107, renamed: false"}},
		{name: "where an earlier run ended", has: Loaded, answers: []string{"+CONTINUE\r\n12345678"},
			asked: []string{first + " 101"}, want: "12345678", told: []any{first + " goes on at 100, renamed: false"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeSource{t: t, answers: c.answers}
			r := newTestReceiver(t, f, nil)
			if c.has == Loaded {
				if err := r.cfg.Spool.Start(first, 100); err != nil {
					t.Fatal(err)
				}
			}
			if err := run(t, r, c.has, 108); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(f.asked, c.asked) {
				t.Errorf("%s: asked %v, want %v", c.why, f.asked, c.asked)
			}
			if !reflect.DeepEqual(f.told, c.told) {
				t.Errorf("told %v, want %v", f.told, c.told)
			}
			if got := spooled(t, r, 100); got != c.want {
				t.Errorf("spooled %q, want %q", got, c.want)
			}
		})
	}
}

func TestEnds(t *testing.T) {
	broken := errors.New("the state cannot be saved")
	snapshot := full(100, "snapshot", "12345")
	for _, c := range []struct {
		name, why string
		has       Progress
		answers   []string
		change    func(*Config)
		source    *fakeSource
		want      error
		told      int
	}{
		{name: "snapshot cut off", why: "parts of it may have been loaded", answers: []string{"+FULLRESYNC " + first + " 100\r\n$8\r\nsnap" + hangUp}, want: ErrCut, told: 1},
		{name: "snapshot in place of the stream", has: Loaded, answers: []string{snapshot}, source: &fakeSource{refused: ErrFailedOver}, want: ErrFailedOver},
		{name: "snapshot that nobody wants", answers: []string{snapshot}, change: func(c *Config) { c.NoSnapshot = true }, want: ErrNotContinued},
		{name: "no room", answers: []string{snapshot}, change: func(c *Config) { c.SnapshotLimit = 4 }, want: ErrFull, told: 1},
		{name: "record fails", why: "nothing is received that a crash would forget", answers: []string{snapshot}, source: &fakeSource{fails: broken}, want: broken, told: 1},
		{name: "no connection", change: func(c *Config) { c.RetryFor = 150 * time.Millisecond }, want: errors.ErrUnsupported},
		{name: "node left behind, and no other", answers: []string{snapshot}, source: &fakeSource{left: errLeft},
			change: func(c *Config) { c.RetryFor = 0 }, want: errLeft, told: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := cmp.Or(c.source, &fakeSource{})
			f.t, f.answers = t, c.answers
			r := newTestReceiver(t, f, func(cfg *Config) {
				cfg.RetryFor = 0
				if c.change != nil {
					c.change(cfg)
				}
			})
			err := run(t, r, c.has, 0)
			if c.want == errors.ErrUnsupported {
				if err == nil || !strings.Contains(err.Error(), "source a:1: connection refused") {
					t.Errorf("ended with %v", err)
				}
				return
			}
			if !errors.Is(err, c.want) || len(f.told) != c.told {
				t.Errorf("%s: ended with %v, and the record was told %v", c.why, err, f.told)
			}
		})
	}
}

// TestResumesSnapshot: what an earlier run has received whole is read again, and not asked for.
func TestResumesSnapshot(t *testing.T) {
	f := &fakeSource{t: t, answers: []string{"+CONTINUE\r\n123"}}
	r := newTestReceiver(t, f, nil)
	s, err := CreateSnapshot(r.cfg.SnapshotPath, 100, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("snapshot")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Finish(nil), s.Close(), r.cfg.Spool.Start(first, 100)); err != nil {
		t.Fatal(err)
	}
	if err := run(t, r, Downloaded, 103); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r.Snapshot().Reader()); err != nil || string(got) != "snapshot" {
		t.Errorf("read %q, %v", got, err)
	}
	if err := r.Reset(); err != nil || r.Snapshot() != nil {
		t.Errorf("after a reset: %v, %v", r.Snapshot(), err)
	}
}

// TestReceivesTheRest: a receiver that is told to stop goes on to the offset at which the source stands by then, and to no later one. If it
// cannot get there in time, it says where the source stood, or that this is not known.
func TestReceivesTheRest(t *testing.T) {
	const rest = "GHIJ" // of the stream, which the source sends once it was told so
	for _, c := range []struct {
		name, why string
		offset    int64 // at which the source stands when the receiver is told to stop; the stream was received up to 105
		sends     string
		cut       bool // the connection is lost, and there is no other
		change    func(*Config)
		end       int64
		known     bool
	}{
		{name: "all is received", offset: 105, end: 105, known: true},
		{name: "the rest is on the wire", offset: 109, sends: rest, end: 109, known: true},
		{name: "the source is written on", why: "nobody waits for what comes later", offset: 107, sends: rest, end: 109, known: true},
		{name: "the connection is lost, and the source is ahead", offset: 109, cut: true, end: 105, known: true},
		{name: "the connection is lost, and the source was not written", offset: 105, cut: true, end: 105, known: true},
		{name: "the source does not answer", offset: -1, end: 105},
		{name: "no stream is wanted", offset: -1, change: func(c *Config) { c.SnapshotOnly = true }, end: 105},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := &fakeSource{t: t, offset: 105, answers: []string{full(100, "s", "12345"), full(100, "s", "")}, more: make(chan string, 1)}
			r := newTestReceiver(t, f, c.change)
			stopping, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan error, 1)
			go func() { ended <- r.Run(t.Context(), stopping, Nothing, make(chan struct{})) }()
			for deadline := time.Now().Add(20 * time.Second); r.cfg.Spool.End() < 105 || c.offset >= 0 && r.Online() == Offline; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the spool ends at %d, online at %d", r.cfg.Spool.End(), r.Online())
				}
			}
			f.mu.Lock()
			f.offset = c.offset
			if c.cut {
				f.answers = nil
				f.more <- hangUp
			}
			f.mu.Unlock()
			stop()
			if c.sends != "" {
				f.more <- c.sends
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			offset, known := r.FinalOffset()
			if end := r.cfg.Spool.End(); end != c.end || known != c.known || known && offset != c.offset {
				t.Errorf("received up to %d, and the source stood at %d (%v); want %d, %d (%v): %s", end, offset, known, c.end, c.offset, c.known, c.why)
			}
		})
	}
}
