package target

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"surecut/internal/keyspace"
)

// TestWaves: no wave holds a key twice, and the commands of a key keep their order.
func TestWaves(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	name := func() string { return fmt.Sprint("k", random.IntN(12)) }
	var calls []*Call
	for range 500 {
		k := name()
		c := &Call{Args: []string{"INCR", k}, Key: keyspace.Key{Name: k}, DB: random.IntN(2)}
		switch random.IntN(6) {
		case 0:
			c.Args = []string{"SUNIONSTORE", k, name(), name()}
		case 1:
			c.Args = []string{"EVAL", "return 1", "2", k, name()}
		case 2:
			c.Args = []string{"DEL", k, name()}
		}
		c.Key.DB = c.DB
		calls = append(calls, c)
	}
	at := map[*Call]int{}
	sent := waves(calls)
	for n, wave := range sent {
		seen := map[keyspace.Key]bool{}
		for _, c := range wave {
			at[c] = n
			own := map[keyspace.Key]bool{}
			for _, k := range c.Keys() {
				own[k] = true
			}
			for k := range own {
				if seen[k] {
					t.Fatalf("seed %d: wave %d holds %v twice", seed, n, k)
				}
				seen[k] = true
			}
		}
	}
	if len(at) != len(calls) {
		t.Fatalf("seed %d: %d of %d calls are in a wave", seed, len(at), len(calls))
	}
	last := map[keyspace.Key]int{}
	for i, c := range calls {
		for _, k := range c.Keys() {
			if n, before := last[k]; before && at[c] < n {
				t.Fatalf("seed %d: call %d on %v is in wave %d, and one before it in %d", seed, i, k, at[c], n)
			}
			last[k] = max(last[k], at[c])
		}
	}
}
