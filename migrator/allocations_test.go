package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// mostAllocations is how many allocations a command of the stream may take on its way from the spool to the writer.
const mostAllocations = 0.1

// TestStreamAllocations: in the steady state a command takes no allocation of its own, whatever its kind, since the garbage would cost more
// than the command.
func TestStreamAllocations(t *testing.T) {
	const commands = 60_000
	for _, kind := range []string{"SET k%d value", "HSET h%d field value", "INCR n%d", "ZADD z%d 1 member", "PEXPIREAT k%d 99999999999999", "DEL k%d"} {
		t.Run(kind, func(t *testing.T) {
			lines := make([]string, commands)
			for i := range lines {
				lines[i] = fmt.Sprintf(kind, i%5000)
			}
			p := feedOf(t, spoolOf(t, encode(lines...), 64<<10), &keyspace.Filter{}, 0)
			l := newTestStream(t)
			d, sent := newTestDispatcher(l, &checkpoint{offset: 100}), int64(0)
			drain := func() {
				for _, n := range d.lanes {
					for len(n.queue) > 0 {
						_, done := n.transactions(n.take())
						sent += done
					}
				}
			}
			out := make(chan stretch, 1)
			go func() { _ = p.run(t.Context(), out) }()
			var before, after runtime.MemStats
			for s := range out {
				if before.Mallocs == 0 && sent > commands/10 { // buffers have their size by then
					runtime.ReadMemStats(&before)
					before.Frees = uint64(sent)
				}
				for d.open, d.at = s, 0; d.pending(); {
					if err := d.step(t.Context(), d.take()); err != nil {
						t.Fatal(err)
					}
				}
				if err := d.handOver(t.Context()); err != nil {
					t.Fatal(err)
				}
				drain()
			}
			runtime.ReadMemStats(&after)
			if sent != commands {
				t.Fatalf("%d of %d commands were sent", sent, commands)
			}
			each := float64(after.Mallocs-before.Mallocs) / float64(uint64(sent)-before.Frees)
			t.Logf("%.3f allocations for each command", each)
			if each > mostAllocations {
				t.Errorf("%.3f allocations for each command, at most %.1f", each, mostAllocations)
			}
		})
	}
}

// TestLoadAllocations: nor does a key of a snapshot take any, on its way from the RDB to the bytes that are sent.
func TestLoadAllocations(t *testing.T) {
	const keys = 200_000
	l := newTestLink(t)
	l.m.target.way = queueing{inMemory(l.m.target), newTestWriter(nil)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := (&loader{l: l}).load(t.Context(), &manyStrings{left: keys}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := l.ledger.SnapshotApplied.Load(); n != keys {
		t.Fatalf("%d of %d keys were sent", n, keys)
	}
	each := float64(after.Mallocs-before.Mallocs) / keys
	t.Logf("%.3f allocations for each key", each)
	if each > mostAllocations {
		t.Errorf("%.3f allocations for each key, at most %.1f", each, mostAllocations)
	}
}

// queueing is a target whose writers queue what is restored, and send nothing.
type queueing struct {
	*memory
	w *direct
}

func (q queueing) newWriter(writing) writer {
	return &queueWriter{direct: q.w, to: &pipe{}}
}

type queueWriter struct {
	*direct
	to *pipe
}

func (*queueWriter) close() {}

func (w *queueWriter) restore(_ context.Context, b *batch, settle func(k *loadKey, refused *refusedError) error) error {
	w.queueValues(w.to, b, b.keys)
	w.to.forget()
	for i := range b.keys {
		if err := settle(&b.keys[i], nil); err != nil {
			return err
		}
	}
	return nil
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
