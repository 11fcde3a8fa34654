//go:build servers

package psync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/rdb"
	"surecut/internal/resp"
)

// A source under constant writes, disk-based and diskless: the snapshot is whole, and the
// stream goes on with exactly the command that is missing in it.
func TestRealServers(t *testing.T) {
	for _, image := range servers.Images() {
		for _, diskless := range []string{"yes", "no"} {
			t.Run(image+" diskless "+diskless, func(t *testing.T) {
				src := servers.Standalone(t, image, "--repl-diskless-sync", diskless)
				fill(t, src)
				stop := keepCounting(t, src)
				link := follow(t, src, Config{})
				link.readUntil(t, func() bool { return link.incremented > 2000 })
				stop()
				count, err := src.Do("GET", "counter").AsInt64()
				if err != nil {
					t.Fatal(err)
				}
				offset := masterOffset(t, src)
				link.readUntil(t, func() bool { return link.Offset+link.commands.Offset() >= offset })
				if got := link.inSnapshot + int64(link.incremented); got != count {
					t.Errorf("counter: %d in the snapshot and %d increments in the stream, the source has %d", link.inSnapshot, link.incremented, count)
				}
				expectAcknowledged(t, src, link)
				expectSameAgain(t, src, link)
			})
		}
	}
}

// Where PSYNC has another name, SYNC is left; the snapshot may come without a disk all the same.
func TestRealSYNC(t *testing.T) {
	for _, image := range servers.Images() {
		for _, diskless := range []string{"yes", "no"} {
			t.Run(image+" diskless "+diskless, func(t *testing.T) {
				src := servers.Standalone(t, image, "--repl-diskless-sync", diskless, "--rename-command", "PSYNC", "")
				fill(t, src)
				link := follow(t, src, Config{Timeout: 20 * time.Second})
				if !link.Full || !link.Legacy || link.diskless != (diskless == "yes") {
					t.Errorf("%+v", link.Session)
				}
				src.Must("INCR", "counter")
				link.readUntil(t, func() bool { return link.incremented == 1 })
			})
		}
	}
}

// fill gives the snapshot some megabytes that do not compress.
func fill(t *testing.T, src *servers.Server) {
	t.Helper()
	for i := range 40 {
		script := `math.randomseed(ARGV[1]); local t = {} for i = 1, 200000 do t[i] = string.char(math.random(0, 255)) end redis.call('SET', 'filler:' .. ARGV[1], table.concat(t)) return 1`
		if err := src.Do("EVAL", script, "0", strconv.Itoa(i)).Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// keepCounting increments a counter until the returned function is called.
func keepCounting(t *testing.T, src *servers.Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	client := src.Client(0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil { // the command itself is never cancelled: it would count or not
				if err := client.Do(context.WithoutCancel(ctx), client.B().Incr().Key("counter").Build()).Error(); err != nil {
					t.Errorf("count: %v", err)
					return
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

func masterOffset(t *testing.T, src *servers.Server) int64 {
	t.Helper()
	offset, err := strconv.ParseInt(src.Info("replication")["master_repl_offset"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return offset
}

// link is a session whose stream is kept.
type link struct {
	*Session
	inSnapshot  int64 // the counter
	stream      []byte
	incremented int
	commands    *resp.Reader
}

func follow(t *testing.T, src *servers.Server, cfg Config) *link {
	t.Helper()
	conn, err := net.Dial("tcp", src.Addr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l := &link{Session: s}
	l.commands = resp.NewReader(io.TeeReader(s, (*appender)(&l.stream)))
	if s.Full {
		var snapshot bytes.Buffer
		n, err := s.CopySnapshot(t.Context(), &snapshot, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n < 8_000_000 {
			t.Errorf("a snapshot of %d bytes", n)
		}
		l.inSnapshot = counterOf(t, &snapshot)
	}
	return l
}

type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// counterOf reads the snapshot to its checksum.
func counterOf(t *testing.T, snapshot *bytes.Buffer) (counter int64) {
	t.Helper()
	r := rdb.NewReader(snapshot, rdb.Options{})
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == rdb.KindKey && string(e.Key) == "counter" {
			v, err := rdb.DecodeDump(rdb.AppendDump(nil, e.Type, e.Raw, r.Version()))
			if err != nil {
				t.Fatal(err)
			}
			if counter, err = strconv.ParseInt(string(v.Str), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	if snapshot.Len() > 0 {
		t.Errorf("%d bytes behind the snapshot's end", snapshot.Len())
	}
	return counter
}

func (l *link) readUntil(t *testing.T, enough func() bool) {
	t.Helper()
	for !enough() {
		args, _, err := l.commands.ReadCommand()
		if err != nil {
			t.Fatal(err)
		}
		if strings.EqualFold(string(args[0]), "INCR") {
			l.incremented++
		}
	}
}

// expectAcknowledged: WAIT counts us once we have acknowledged.
func expectAcknowledged(t *testing.T, src *servers.Server, l *link) {
	t.Helper()
	if err := l.Ack(l.Offset + int64(len(l.stream))); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		info := src.Info("replication")["slave0"]
		if strings.Contains(info, fmt.Sprintf("offset=%d,", l.Offset+int64(len(l.stream)))) && strings.Contains(info, "port=0,state=online") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the source says of us: %s", info)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// expectSameAgain continues from the middle of the stream and gets the same bytes.
func expectSameAgain(t *testing.T, src *servers.Server, l *link) {
	t.Helper()
	half := len(l.stream) / 2
	again := follow(t, src, Config{ReplID: l.ReplID, Offset: l.Offset + int64(half)})
	if again.Full || again.ReplID != l.ReplID {
		t.Fatalf("no continuation: %+v", again.Session)
	}
	if got := readStream(t, again.Session, len(l.stream)-half); got != string(l.stream[half:]) {
		t.Error("the stream differs the second time")
	}
}

func TestRealRefusals(t *testing.T) {
	for _, image := range servers.Images() {
		t.Run(image, func(t *testing.T) {
			src := servers.Standalone(t, image)
			if src.Do("ACL", "WHOAMI").Error() == nil { // since 6.0
				expectRefusalsOfACL(t, src)
			}
			if err := src.Do("SLAVEOF", "127.0.0.1", "1").Error(); err != nil {
				t.Fatal(err)
			}
			code := "NOMASTERLINK"
			if src.Version < "4" {
				code = "ERR"
			}
			expectRealRefusal(t, src, "PSYNC", code)
			if err := src.Do("CONFIG", "SET", "requirepass", "secret").Error(); err != nil {
				t.Fatal(err)
			}
			expectRealRefusal(t, src, "PING", "NOAUTH")
		})
	}
}

func expectRefusalsOfACL(t *testing.T, src *servers.Server) {
	t.Helper()
	src.Must("ACL", "SETUSER", "default", "-psync", "-sync")
	expectRealRefusal(t, src, "PSYNC", "NOPERM")
	src.Must("ACL", "SETUSER", "default", "+psync", "+sync", "-replconf")
	expectRealRefusal(t, src, "REPLCONF listening-port", "NOPERM")
	src.Must("ACL", "SETUSER", "default", "+replconf")
}

func expectRealRefusal(t *testing.T, src *servers.Server, step, code string) {
	t.Helper()
	conn, err := net.Dial("tcp", src.Addr)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), conn, Config{})
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Step != step || refused.Reply.Code() != code {
		t.Errorf("%v; want %s refused with %s", err, step, code)
	}
}
