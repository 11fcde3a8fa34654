package psync

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"surecut/internal/rdb/fixtures"
)

// What real servers sent, byte for byte.
func TestRecordedSessions(t *testing.T) {
	for _, f := range fixtures.All(t) {
		t.Run(f.Version, func(t *testing.T) {
			conn, _ := recorded(t, f)
			s, err := Start(t.Context(), conn, Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if want := fmt.Sprintf("FULLRESYNC %s %d", s.ReplID, s.Offset); want != f.Meta.PsyncReply {
				t.Errorf("%s, recorded %s", want, f.Meta.PsyncReply)
			}
			expectSnapshot(t, s, string(f.RDB()), int64(f.Meta.RDBBytes))
			if got := readStream(t, s, f.Meta.StreamBytes); got != string(f.Stream()) {
				t.Error("the stream is not what was recorded")
			}
		})
	}
}

// recorded plays a fixture: 2.8 was never asked for its capabilities, and none was told a version, so those replies are added.
func recorded(t testing.TB, f fixtures.Fixture) (net.Conn, <-chan error) {
	lines := strings.SplitAfterN(string(f.PsyncBin), "\r\n", 5)
	if !strings.HasPrefix(lines[2], "+OK") {
		lines = append(lines[:2:2], "-ERR Unrecognized REPLCONF option: capa\r\n", lines[2], strings.Join(lines[3:], ""))
	}
	return fakePrimary(t, []exchange{
		on("PING", lines[0]), on("REPLCONF listening-port 0", lines[1]), on("REPLCONF capa eof capa psync2", lines[2]), noVersion,
		on("PSYNC ? -1", lines[3]+lines[4][:len(lines[4])-f.Meta.StreamBytes]),
		on(fmt.Sprintf("REPLCONF ACK %s", f.Meta.PsyncReply[52:]), string(f.Stream())),
	})
}

func BenchmarkCopySnapshot(b *testing.B) {
	const size = 256 << 20
	rdb := make([]byte, size)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range rdb {
		rdb[i] = byte(rnd.Uint32())
	}
	for _, header := range []string{fmt.Sprintf("$%d\r\n", size), "$EOF:" + mark + "\r\n"} {
		b.Run(header[:4], func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					defer conn.Close()
					if play(conn, greeted(on("PSYNC ? -1", "+FULLRESYNC "+id+" 0\r\n"+header))) == nil {
						conn.Write(rdb)
						io.WriteString(conn, mark)
						io.Copy(io.Discard, conn)
					}
				})
				conn, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				s, err := Start(b.Context(), conn, Config{})
				if err != nil {
					b.Fatal(err)
				}
				if n, err := s.CopySnapshot(b.Context(), io.Discard, nil); err != nil || n != size {
					b.Fatal(n, err)
				}
				s.Close()
				l.Close()
				wg.Wait()
			}
		})
	}
}
