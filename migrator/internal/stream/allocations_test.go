package stream

import (
	"fmt"
	"runtime"
	"testing"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
)

// mostAllocations is how many allocations a command of the stream may take on its way from the spool to the writer.
const mostAllocations = 0.1

// mostBytes is how many bytes may be allocated for a command: those of its arguments, and the strings that name them.
const mostBytes = 200

// TestStreamAllocations: in the steady state a command takes no allocation of its own, whatever its kind, since the garbage would cost more
// than the command.
func TestStreamAllocations(t *testing.T) {
	const commands = 60_000
	for _, kind := range []string{"SET k%d value", "HSET h%d field value", "INCR n%d", "ZADD z%d 1 member", "SET k%d value PXAT 99999999999999", "PEXPIREAT k%d 99999999999999", "DEL k%d"} {
		t.Run(kind, func(t *testing.T) {
			lines := make([]string, commands)
			for i := range lines {
				lines[i] = fmt.Sprintf(kind, i%5000)
			}
			p := feedOf(t, spoolOf(t, encode(lines...), 64<<10), &keyspace.Filter{}, 0)
			l := newTestStream(t)
			d, sent := newTestDispatcher(l, &target.Checkpoint{Offset: 100}), int64(0)
			drain := func() {
				for _, n := range d.lanes {
					for len(n.queue) > 0 {
						batch := n.take()
						_, done := n.transactions(batch)
						n.applied(batch)
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
				d.retire()
			}
			runtime.ReadMemStats(&after)
			if sent != commands {
				t.Fatalf("%d of %d commands were sent", sent, commands)
			}
			each := float64(after.Mallocs-before.Mallocs) / float64(uint64(sent)-before.Frees)
			bytes := float64(after.TotalAlloc-before.TotalAlloc) / float64(uint64(sent)-before.Frees)
			t.Logf("%.3f allocations and %.0f bytes for each command", each, bytes)
			if bytes > mostBytes {
				t.Errorf("%.0f bytes are allocated for each command, at most %d", bytes, mostBytes)
			}
			if each > mostAllocations {
				t.Errorf("%.3f allocations for each command, at most %.1f", each, mostAllocations)
			}
		})
	}
}
