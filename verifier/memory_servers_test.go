//go:build servers

package verifier

import (
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"surecut/e2e/servers"
)

// Memory does not go by how large values are: here a batch of keys would take 25 MiB, on each of eight connections.
func TestMemoryOfLargeElements(t *testing.T) {
	s := servers.Standalone(t, "redis:7.0")
	for from := 0; from < 3000; from += 100 {
		s.Must("EVAL", `local v=string.rep('x',1000) for i=ARGV[1],ARGV[1]+99 do for f=1,50 do redis.call('HSET','h'..i,f,v) end end`, "0", strconv.Itoa(from))
	}
	runtime.GC()
	var before, m runtime.MemStats
	runtime.ReadMemStats(&before)
	stop := make(chan struct{})
	peak := uint64(0)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
	})
	r := verify(t, s, s, nil)
	close(stop)
	wg.Wait()
	if r.Verdict != Same || r.Totals.Same != 3000 {
		t.Errorf("%s: %+v, %q", r.Verdict, r.Totals, r.Reasons)
	}
	took := int64(peak) - int64(before.HeapAlloc)
	t.Logf("%d MiB at most", took>>20)
	if took > 128<<20 {
		t.Errorf("it took %d MiB", took>>20)
	}
}
