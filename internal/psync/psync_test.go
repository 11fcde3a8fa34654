package psync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"surecut/internal/resp"
)

const stream = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*1\r\n$4\r\nPING\r\n"

func TestStartContinues(t *testing.T) {
	tests := []struct {
		name, why, reply, wantID string
	}{
		{name: "same", reply: "+CONTINUE\r\n", wantID: id},
		{name: "promoted", why: "with psync2 the source names its new stream", reply: "+CONTINUE " + strings.Repeat("f", 40) + "\r\n", wantID: strings.Repeat("f", 40)},
		{name: "keep-alives", why: "any number may come first", reply: strings.Repeat("\n", 1000) + "+CONTINUE\r\n", wantID: id},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, ended := fakePrimary(t, greeted(on("PSYNC "+id+" 101", tt.reply+stream), on("REPLCONF ACK 100")))
			s, err := Start(t.Context(), conn, Config{ReplID: id, Offset: 100})
			if err != nil {
				t.Fatal(err)
			}
			if s.Full || s.Legacy || s.ReplID != tt.wantID || s.Offset != 100 {
				t.Errorf("%+v", s)
			}
			if got := readStream(t, s, len(stream)); got != stream {
				t.Errorf("stream %q", got)
			}
			if _, err := s.CopySnapshot(t.Context(), io.Discard, nil); err == nil {
				t.Error("copied a snapshot where there is none")
			}
			if err := s.Ack(100); err != nil {
				t.Error(err)
			}
			expectScriptPlayed(t, ended)
		})
	}
}

func TestStartFull(t *testing.T) {
	rdb := rdbOf(100)
	sized := fmt.Sprintf("$%d\r\n%s", len(rdb), rdb)
	full := "+FULLRESYNC " + id + " 0\r\n"
	tests := []struct {
		name, why string
		script    []exchange
		cfg       Config
		total     int64
		offset    int64
	}{
		{name: "sized", script: greeted(on("PSYNC ? -1", full, sized+stream), on("REPLCONF ACK 0")), total: int64(len(rdb))},
		{name: "all in one write", why: "the reply, the snapshot and the stream may come in one read",
			script: greeted(on("PSYNC ? -1", full+sized+stream), on("REPLCONF ACK 0")), total: int64(len(rdb))},
		{name: "diskless", script: greeted(on("PSYNC ? -1", full, "$EOF:"+mark+"\r\n"+rdb+mark+stream), on("REPLCONF ACK 0"))},
		{name: "diskless, stream only after the acknowledgement", why: "7.0 sends no command before the first one, also at offset 0",
			script: greeted(on("PSYNC ? -1", full, "$EOF:"+mark+"\r\n"+rdb+mark), on("REPLCONF ACK 0", stream))},
		{name: "diskless, first acknowledgement ignored", why: "the source had not noticed yet that its own transfer was over",
			script: greeted(on("PSYNC ? -1", full, "$EOF:"+mark+"\r\n"+rdb+mark), on("REPLCONF ACK 0"), on("REPLCONF ACK 0", stream))},
		{name: "keep-alives", why: "a source that waits for its BGSAVE sends one a second",
			script: greeted(on("PSYNC ? -1", "\n", "\n\n", full, "\n", "\n\n\n"+sized+stream), on("REPLCONF ACK 0")), total: int64(len(rdb))},
		{name: "keep-alives everywhere", script: []exchange{
			on("PING", "\n", "\n+PONG\r\n"), on("REPLCONF listening-port 0", "\n\n+OK\r\n"), on("REPLCONF capa eof capa psync2", "\n+OK\r\n"),
			on("REPLCONF version 9.0.0", "\n+OK\r\n"), on("PSYNC ? -1", "\n"+full+"\n"+sized+stream), on("REPLCONF ACK 0")}, total: int64(len(rdb))},
		{name: "more fields", why: "Tair appends its own",
			script: greeted(on("PSYNC ? -1", "+FULLRESYNC "+id+" 77 88 applied_info{} 0\r\n"+sized+stream), on("REPLCONF ACK 77")), total: int64(len(rdb)), offset: 77},
		{name: "position unknown", why: "the source no longer has it",
			script: greeted(on("PSYNC "+id+" 6", "+FULLRESYNC "+id+" 500\r\n"+sized+stream), on("REPLCONF ACK 500")),
			cfg:    Config{ReplID: id, Offset: 5}, total: int64(len(rdb)), offset: 500},
		{name: "no capa", why: "2.8 does not know the option", script: []exchange{
			on("PING", "+PONG\r\n"), on("REPLCONF listening-port 0", "+OK\r\n"), on("REPLCONF capa eof capa psync2", "-ERR Unrecognized REPLCONF option: capa\r\n"),
			noVersion, on("PSYNC ? -1", full+sized+stream), on("REPLCONF ACK 0")}, total: int64(len(rdb))},
		{name: "no PING allowed", why: "PSYNC decides", script: []exchange{
			on("PING", "-NOPERM this user has no permissions to run the 'ping' command\r\n"), on("REPLCONF listening-port 0", "+OK\r\n"),
			on("REPLCONF capa eof capa psync2", "+OK\r\n"), noVersion, on("PSYNC ? -1", full+sized+stream), on("REPLCONF ACK 0")}, total: int64(len(rdb))},
		{name: "writes stopped", why: "a primary whose BGSAVE failed refuses PING, not PSYNC", script: []exchange{
			on("PING", "-MISCONF Redis is configured to save RDB snapshots\r\n"), on("REPLCONF listening-port 0", "+OK\r\n"),
			on("REPLCONF capa eof capa psync2", "+OK\r\n"), noVersion, on("PSYNC ? -1", full+sized+stream), on("REPLCONF ACK 0")}, total: int64(len(rdb))},
		{name: "Valkey", why: "it makes a snapshot that this version reads", script: []exchange{
			on("PING", "+PONG\r\n"), on("REPLCONF listening-port 0", "+OK\r\n"), on("REPLCONF capa eof capa psync2", "+OK\r\n"),
			on("REPLCONF version 9.0.0", "+OK\r\n"), on("PSYNC ? -1", full+sized+stream), on("REPLCONF ACK 0")}, total: int64(len(rdb))},
		{name: "port", script: []exchange{
			on("PING", "+PONG\r\n"), on("REPLCONF listening-port 7777", "+OK\r\n"), on("REPLCONF capa eof capa psync2", "+OK\r\n"),
			noVersion, on("PSYNC ? -1", full+sized+stream), on("REPLCONF ACK 0")}, cfg: Config{ListeningPort: 7777}, total: int64(len(rdb))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, ended := fakePrimary(t, tt.script)
			s, err := Start(t.Context(), conn, tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if !s.Full || s.Legacy || s.ReplID != id || s.Offset != tt.offset {
				t.Errorf("%+v", s)
			}
			if _, err := s.Read(make([]byte, 1)); err == nil {
				t.Error("read the stream before the snapshot")
			}
			if err := s.Ack(1); err == nil {
				t.Error("acknowledged before the snapshot")
			}
			expectSnapshot(t, s, rdb, tt.total)
			if got := readStream(t, s, len(stream)); got != stream {
				t.Errorf("stream %q", got)
			}
			expectScriptPlayed(t, ended)
		})
	}
}

func expectSnapshot(t *testing.T, s *Session, rdb string, total int64) {
	t.Helper()
	var got bytes.Buffer
	var last int64
	n, err := s.CopySnapshot(t.Context(), &got, func(received, of int64) {
		if received <= last || received != int64(got.Len()) || of != total {
			t.Errorf("progress: %d of %d after %d, %d written", received, of, last, got.Len())
		}
		last = received
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != rdb || n != int64(len(rdb)) || last != n {
		t.Fatalf("snapshot: %d bytes, progress %d, want %d; the same: %v", n, last, len(rdb), got.String() == rdb)
	}
}

func TestLegacy(t *testing.T) {
	rdb := rdbOf(50)
	conn, ended := fakePrimary(t, []exchange{
		on("PING", "+PONG\r\n"),
		on("REPLCONF listening-port 0", "-ERR unknown command 'REPLCONF'\r\n"),
		on("REPLCONF capa eof capa psync2", "-ERR unknown command 'REPLCONF'\r\n"),
		on("REPLCONF version 9.0.0", "-ERR unknown command 'REPLCONF'\r\n"),
		on("PSYNC "+id+" 10", "-ERR unknown command 'PSYNC'\r\n"),
		on("SYNC", fmt.Sprintf("\n\n$%d\r\n%s%s", len(rdb), rdb, stream)),
	})
	s, err := Start(t.Context(), conn, Config{ReplID: id, Offset: 9})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Full || !s.Legacy || s.ReplID != "" || s.Offset != 0 {
		t.Errorf("%+v", s)
	}
	expectSnapshot(t, s, rdb, int64(len(rdb)))
	if got := readStream(t, s, len(stream)); got != stream {
		t.Errorf("stream %q", got)
	}
	expectScriptPlayed(t, ended)
	if err := s.Ack(5); err != nil { // the pipe would block: nobody reads any more
		t.Errorf("an acknowledgement must do nothing here: %v", err)
	}
}

// A source that keeps PSYNC to itself, and not SYNC, may still make its snapshot without a disk. It sends the stream once that
// was acknowledged, and wants no other acknowledgement.
func TestLegacyDiskless(t *testing.T) {
	rdb := rdbOf(50)
	conn, ended := fakePrimary(t, greeted(
		on("PSYNC ? -1", "-ERR unknown command 'PSYNC'\r\n"),
		on("SYNC", "\n$EOF:"+mark+"\r\n"+rdb+mark),
		on("REPLCONF ACK 0"), // it had not noticed yet that its own transfer was over
		on("REPLCONF ACK 0", stream),
	))
	s, err := Start(t.Context(), conn, Config{})
	if err != nil {
		t.Fatal(err)
	}
	expectSnapshot(t, s, rdb, 0)
	if got := readStream(t, s, len(stream)); got != stream {
		t.Errorf("stream %q", got)
	}
	expectScriptPlayed(t, ended)
	if err := s.Ack(5); err != nil { // the pipe would block: nobody reads any more
		t.Errorf("an acknowledgement must do nothing here: %v", err)
	}
}

func TestStartRefused(t *testing.T) {
	tests := []struct {
		name, why string
		script    []exchange
		cfg       Config
		step      string
		code      string
		retry     bool
	}{
		{name: "not authenticated", script: []exchange{on("PING", "-NOAUTH Authentication required.\r\n")}, step: "PING", code: "NOAUTH"},
		{name: "protected mode", script: []exchange{on("PING", "-DENIED Redis is running in protected mode\r\n")}, step: "PING", code: "DENIED"},
		{name: "loading at PING", script: []exchange{on("PING", "-LOADING Redis is loading the dataset in memory\r\n")}, step: "PING", code: "LOADING", retry: true},
		{name: "too many clients", script: []exchange{on("PING", "-ERR max number of clients reached\r\n")}, step: "PING", code: "ERR", retry: true},
		{name: "REPLCONF forbidden", why: "acknowledgements would be refused in the middle of the stream",
			script: []exchange{on("PING", "+PONG\r\n"), on("REPLCONF listening-port 0", "-NOPERM no\r\n")}, step: "REPLCONF listening-port", code: "NOPERM"},
		{name: "PSYNC forbidden", script: greeted(on("PSYNC ? -1", "-NOPERM this user has no permissions to run the 'psync' command\r\n")), step: "PSYNC", code: "NOPERM"},
		{name: "loading", script: greeted(on("PSYNC ? -1", "\n\n-LOADING Redis is loading the dataset in memory\r\n")), step: "PSYNC", code: "LOADING", retry: true},
		{name: "replica without its primary", script: greeted(on("PSYNC ? -1", "-NOMASTERLINK Can't SYNC while not connected with my master\r\n")), step: "PSYNC", code: "NOMASTERLINK", retry: true},
		{name: "the same before 4.0", why: "SYNC would be refused as well",
			script: greeted(on("PSYNC ? -1", "-ERR Can't SYNC while not connected with my master\r\n")), step: "PSYNC", code: "ERR", retry: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, ended := fakePrimary(t, tt.script)
			_, err := Start(t.Context(), conn, tt.cfg)
			expectRefused(t, err, tt.step, tt.code, tt.retry)
			expectScriptPlayed(t, ended)
			expectClosed(t, conn)
		})
	}
}

func expectRefused(t *testing.T, err error, step, code string, retry bool) {
	t.Helper()
	var refused *RefusedError
	var reply resp.Error
	if !errors.As(err, &refused) || refused.Step != step || !errors.As(err, &reply) || reply.Code() != code {
		t.Fatalf("%v; want a refusal of %s with %s", err, step, code)
	}
	if Retryable(err) != retry || Retryable(fmt.Errorf("link: %w", err)) != retry {
		t.Errorf("%v: retryable is %v", err, !retry)
	}
}

func expectClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the connection was left open: %v", err)
	}
}

func TestSnapshotRefused(t *testing.T) {
	full := "+FULLRESYNC " + id + " 0\r\n"
	tests := []struct {
		name, why string
		script    []exchange
		step      string
		retry     bool
	}{
		{name: "BGSAVE failed", script: greeted(on("PSYNC ? -1", full, "\n\n", "-ERR BGSAVE failed, replication can't continue\r\n")), step: "snapshot", retry: true},
		{name: "neither PSYNC nor SYNC", why: "both may be renamed",
			script: greeted(on("PSYNC ? -1", "-ERR unknown command\r\n"), on("SYNC", "-ERR unknown command\r\n")), step: "SYNC"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, ended := fakePrimary(t, tt.script)
			s, err := Start(t.Context(), conn, Config{})
			if err != nil {
				t.Fatal(err)
			}
			n, err := s.CopySnapshot(t.Context(), io.Discard, nil)
			expectRefused(t, err, tt.step, "ERR", tt.retry)
			if n != 0 {
				t.Errorf("copied %d bytes", n)
			}
			expectScriptPlayed(t, ended)
			expectClosed(t, conn)
		})
	}
}

func TestUnexpectedReplies(t *testing.T) {
	psync := func(cfg Config, reply string) ([]exchange, Config) {
		return greeted(on(fmt.Sprintf("PSYNC %s", map[bool]string{true: "? -1", false: id + " 1"}[cfg.ReplID == ""]), reply)), cfg
	}
	tests := []struct {
		name, why, reply string
		cfg              Config
	}{
		{name: "continued, not asked", reply: "+CONTINUE\r\n", why: "a stream without a snapshot is worth nothing"},
		{name: "no ID", reply: "+FULLRESYNC\r\n"},
		{name: "no offset", reply: "+FULLRESYNC " + id + "\r\n"},
		{name: "bad offset", reply: "+FULLRESYNC " + id + " x\r\n"},
		{name: "negative offset", reply: "+FULLRESYNC " + id + " -1\r\n"},
		{name: "OK", reply: "+OK\r\n", cfg: Config{ReplID: id}},
		{name: "array", reply: "*1\r\n$2\r\nOK\r\n"},
		{name: "blank", reply: " \r\n"},
		{name: "web page", reply: "HTTP/1.1 400 Bad Request\r\n"},
		{name: "endless line", reply: strings.Repeat("x", maxLine+1000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			script, cfg := psync(tt.cfg, tt.reply)
			conn, _ := fakePrimary(t, script)
			_, err := Start(t.Context(), conn, cfg)
			var odd *UnexpectedError
			if !errors.As(err, &odd) || odd.Found == "" || Retryable(err) {
				t.Fatalf("%v", err)
			}
			expectClosed(t, conn)
		})
	}
	for _, header := range []string{"$\r\n", "$x\r\n", "$-1\r\n", "$EOF:short\r\n", "+OK\r\n", "*1\r\n"} {
		t.Run("snapshot "+header, func(t *testing.T) {
			conn, _ := fakePrimary(t, greeted(on("PSYNC ? -1", "+FULLRESYNC "+id+" 0\r\n"+header)))
			s, err := Start(t.Context(), conn, Config{})
			if err != nil {
				t.Fatal(err)
			}
			var odd *UnexpectedError
			if _, err = s.CopySnapshot(t.Context(), io.Discard, nil); !errors.As(err, &odd) {
				t.Fatalf("%v", err)
			}
		})
	}
}

func TestHungUp(t *testing.T) {
	full := "+FULLRESYNC " + id + " 0\r\n"
	tests := []struct {
		name   string
		script []exchange
		want   error
		copied int64
	}{
		{name: "at once", script: []exchange{on("PING", hangUp)}, want: io.EOF},
		{name: "inside a reply", script: []exchange{on("PING", "+PO", hangUp)}, want: io.ErrUnexpectedEOF},
		{name: "before PSYNC is answered", script: greeted(on("PSYNC ? -1", "\n", hangUp)), want: io.EOF},
		{name: "before the snapshot", script: greeted(on("PSYNC ? -1", full, "\n", hangUp)), want: io.EOF},
		{name: "inside a sized snapshot", script: greeted(on("PSYNC ? -1", full, "$10\r\n123456789", hangUp)), want: io.ErrUnexpectedEOF, copied: 9},
		{name: "inside a diskless snapshot", script: greeted(on("PSYNC ? -1", full, "$EOF:"+mark+"\r\n"+rdbOf(100), hangUp)), want: io.ErrUnexpectedEOF, copied: 112 - 39},
		{name: "inside the mark", script: greeted(on("PSYNC ? -1", full, "$EOF:"+mark+"\r\n"+rdbOf(100)+mark[:39], hangUp)), want: io.ErrUnexpectedEOF, copied: 112},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, _ := fakePrimary(t, tt.script)
			var n int64
			s, err := Start(t.Context(), conn, Config{})
			if err == nil {
				n, err = s.CopySnapshot(t.Context(), io.Discard, nil)
			}
			if !errors.Is(err, tt.want) || n != tt.copied || !Retryable(err) {
				t.Fatalf("%v, copied %d", err, n)
			}
			expectClosed(t, conn)
		})
	}
}

func TestStalled(t *testing.T) {
	full := "+FULLRESYNC " + id + " 0\r\n"
	const wait = 50 * time.Millisecond
	tests := []struct {
		name, during string
		script       []exchange
	}{
		{name: "handshake", during: "PING", script: []exchange{on("PING", "+PO"), on("never")}},
		{name: "before the snapshot", during: "wait for the snapshot", script: greeted(on("PSYNC ? -1", full), on("never"))},
		{name: "inside the snapshot", during: "copy the snapshot", script: greeted(on("PSYNC ? -1", full+"$10\r\n1234"), on("never"))},
		{name: "before the stream", during: "read the stream", script: greeted(on("PSYNC ? -1", full+"$1\r\n1"), on("REPLCONF ACK 0"), on("never"))},
		{name: "in the stream", during: "read the stream", script: greeted(on("PSYNC ? -1", full+"$1\r\n1"), on("REPLCONF ACK 0", "12345"), on("never"))},
		{name: "in a continued stream", during: "read the stream", script: greeted(on("PSYNC "+id+" 1", "+CONTINUE\r\n"), on("never"))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, _ := fakePrimary(t, tt.script)
			cfg := Config{Timeout: wait}
			if strings.Contains(tt.name, "continued") {
				cfg.ReplID = id
			}
			s, err := Start(t.Context(), conn, cfg)
			if err == nil && s.Full {
				_, err = s.CopySnapshot(t.Context(), io.Discard, nil)
			}
			for err == nil {
				_, err = s.Read(make([]byte, 5))
			}
			var stalled *StalledError
			if !errors.As(err, &stalled) || stalled.Waited != wait || !strings.Contains(stalled.During, tt.during) ||
				!errors.Is(err, os.ErrDeadlineExceeded) || !Retryable(err) {
				t.Fatalf("%v", err)
			}
		})
	}
}

func TestContextEnds(t *testing.T) {
	full := "+FULLRESYNC " + id + " 0\r\n"
	reason := errors.New("told to stop")
	tests := []struct {
		name   string
		script []exchange
	}{
		{name: "handshake", script: []exchange{on("PING", "+PO"), on("never")}},
		{name: "before the snapshot", script: greeted(on("PSYNC ? -1", full), on("never"))},
		{name: "inside the snapshot", script: greeted(on("PSYNC ? -1", full+"$10\r\n1234"), on("never"))},
		{name: "in the stream", script: greeted(on("PSYNC ? -1", full+"$1\r\n1"), on("REPLCONF ACK 0"), on("never"))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			conn, _ := fakePrimary(t, tt.script)
			defer time.AfterFunc(20*time.Millisecond, func() { cancel(reason) }).Stop()
			s, err := Start(ctx, conn, Config{})
			if err == nil {
				if _, err = s.CopySnapshot(ctx, io.Discard, nil); err == nil {
					defer s.CloseOn(ctx)()
					_, err = s.Read(make([]byte, 10))
				}
			}
			if !errors.Is(err, reason) {
				t.Fatalf("%v", err)
			}
			expectClosed(t, conn)
		})
	}
}

func TestCloseEndsRead(t *testing.T) {
	conn, _ := fakePrimary(t, greeted(on("PSYNC "+id+" 1", "+CONTINUE\r\n"), on("never")))
	s, err := Start(t.Context(), conn, Config{ReplID: id})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := s.Read(make([]byte, 10))
		ended <- err
	}()
	s.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) || Retryable(err) {
		t.Errorf("%v", err)
	}
	if err := s.Ack(1); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestWriterFails(t *testing.T) {
	full := errors.New("no space left")
	conn, _ := fakePrimary(t, greeted(on("PSYNC ? -1", "+FULLRESYNC "+id+" 0\r\n$10\r\n1234567890")))
	s, err := Start(t.Context(), conn, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.CopySnapshot(t.Context(), failingWriter{full}, nil); !errors.Is(err, full) || Retryable(err) {
		t.Errorf("%v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// Acknowledgements from several goroutines beside Read: none is torn.
func TestAckBesideRead(t *testing.T) {
	replica, primary := net.Pipe()
	defer primary.Close()
	const acks, writers = 200, 4
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer primary.Close()
		primary.SetDeadline(time.Now().Add(20 * time.Second))
		if err := play(primary, greeted(on("PSYNC "+id+" 1", "+CONTINUE\r\n"))); err != nil {
			t.Error(err)
		}
		r := resp.NewReader(primary)
		for range acks * writers {
			args, _, err := r.ReadCommand()
			if err != nil || len(args) != 3 || string(args[1]) != "ACK" {
				t.Errorf("%q %v", args, err)
				return
			}
			if _, err := primary.Write([]byte("\n")); err != nil {
				t.Error(err)
				return
			}
		}
	})
	s, err := Start(t.Context(), replica, Config{ReplID: id})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range writers {
		wg.Go(func() {
			for i := range acks {
				if err := s.Ack(int64(i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	readStream(t, s, acks*writers)
}

func TestTransitions(t *testing.T) {
	want := map[[2]state]bool{
		{greeting, announcing}: true, {announcing, offering}: true, {offering, naming}: true, {naming, asking}: true,
		{asking, awaiting}: true, {asking, streaming}: true, {awaiting, receiving}: true, {receiving, streaming}: true,
	}
	for from := range states {
		for to := range states {
			expected := want[[2]state{from, to}] || to == ended && from != ended
			if from.leadsTo(to) != expected {
				t.Errorf("%v to %v: %v", from, to, !expected)
			}
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a transition that the table does not have went through")
		}
	}()
	(&Session{state: streaming}).advance(receiving)
}

// Who wants a continuation only hangs up at once on anything else, and never sends SYNC: both would cost the source a snapshot.
func TestStartOnlyContinues(t *testing.T) {
	for name, reply := range map[string]string{
		"snapshot":      "+FULLRESYNC " + id + " 0\r\n",
		"no PSYNC":      "-ERR unknown command 'PSYNC'\r\n",
		"another reply": "+OK\r\n",
	} {
		conn, ended := fakePrimary(t, greeted(on("PSYNC "+id+" 101", reply)))
		s, err := Start(t.Context(), conn, Config{ReplID: id, Offset: 100, OnlyContinue: true})
		if err == nil {
			s.Close()
			t.Errorf("%s: started", name)
		}
		expectScriptPlayed(t, ended)
	}
}
