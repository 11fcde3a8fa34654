//go:build servers

package verifier

import (
	"context"
	"sync"
	"testing"

	"surecut/e2e/servers"
)

// A collection that is written while it is scanned is read whole in the end: once, whatever the attempts before have read of it.
func TestCollectionWrittenMeanwhile(t *testing.T) {
	s := servers.Standalone(t, "redis:7.0")
	s.Must("EVAL", "for i=1,5000 do redis.call('HSET','hash',i,string.rep('x',100)) redis.call('SADD','set',i..string.rep('x',100)) end", "0")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	client := s.Client(0)
	wg.Go(func() {
		for ctx.Err() == nil {
			for _, args := range []commands{do("HSET", "hash", "more", "1"), do("SADD", "set", "more"), do("HDEL", "hash", "more"), do("SREM", "set", "more")} {
				client.Do(ctx, client.B().Arbitrary(args[0]...).Build())
			}
		}
	})
	defer func() { cancel(); wg.Wait() }()
	o := optionsFor(t, s.URL(), s.URL(), func(o *Options) { o.BigValue = 64 << 10 })
	side, err := newSide(context.Background(), "source", o.Source, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer side.close()
	r := side.borrow(side.nodes[0], 0)
	defer side.giveBack(r)
	for range 30 {
		out := make([]reading, 2)
		if err := r.read(context.Background(), []string{"hash", "set"}, out, 0); err != nil {
			t.Fatal(err)
		}
		for i, what := range []string{"hash", "set"} {
			if n := out[i].FP.Length; out[i].Err != nil || n != 5000 && n != 5001 {
				t.Fatalf("%s: %d elements, %v; want 5000 or 5001", what, n, out[i].Err)
			}
		}
	}
}
