package psync

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// The mark is found wherever reads cut it, and what follows it is the stream.
func TestMarkAtEverySplit(t *testing.T) {
	rdb := rdbOf(60) + mark[:39] + "x" + mark[:20] // beginnings of the mark, to mislead
	body := rdb + mark + stream
	at := len(rdb)
	var cuts [][]string
	for i := at - 3; i <= at+markBytes+3; i++ {
		cuts = append(cuts, []string{body[:i], body[i:]})
		for j := i; j <= at+markBytes+3; j += 7 {
			cuts = append(cuts, []string{body[:i], body[i:j], body[j:]})
		}
	}
	for n := 1; n < 100; n++ {
		cuts = append(cuts, chunks(body, n))
	}
	for _, pieces := range cuts {
		expectDiskless(t, rdb, pieces)
	}
}

// Snapshots larger than the buffer, with the mark around its ends.
func TestMarkAroundTheBuffer(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 40 {
		rdb := rdbOf(2*bufferBytes - 100 + rnd.IntN(200))
		var pieces []string
		for body := rdb + mark + stream; body != ""; {
			n := min(len(body), 1+rnd.IntN(bufferBytes))
			pieces = append(pieces, body[:n])
			body = body[n:]
		}
		expectDiskless(t, rdb, pieces)
	}
}

func expectDiskless(t *testing.T, rdb string, pieces []string) {
	t.Helper()
	reply := append([]string{"+FULLRESYNC " + id + " 5\r\n", "$EOF:" + mark + "\r\n"}, pieces...)
	replica, primary := net.Pipe()
	defer replica.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer primary.Close()
		if err := play(primary, greeted(on("PSYNC ? -1", reply...))); err != nil {
			t.Errorf("fake primary: %v", err)
		}
		primary.SetDeadline(time.Now().Add(20 * time.Second))
		io.Copy(io.Discard, primary)
	})
	// The acknowledgement waits for the fake primary to have sent everything, as on a slow line.
	conn := &bufferedConn{Conn: replica, out: make(chan []byte, 100)}
	wg.Go(conn.forward)
	defer close(conn.out)
	s, err := Start(t.Context(), conn, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	expectSnapshot(t, s, rdb, 0)
	if got := readStream(t, s, len(stream)); got != stream {
		t.Fatalf("stream %q", got)
	}
}

// bufferedConn takes writes without waiting for the other end, as a socket does.
type bufferedConn struct {
	net.Conn
	out chan []byte
}

func (b *bufferedConn) forward() {
	for p := range b.out {
		if _, err := b.Conn.Write(p); err != nil {
			return
		}
	}
}

func (b *bufferedConn) Write(p []byte) (int, error) {
	b.out <- bytes.Clone(p)
	return len(p), nil
}
