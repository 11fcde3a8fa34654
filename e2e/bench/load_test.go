//go:build bench

package bench

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

func (s *server) client(t *testing.T) rueidis.Client {
	t.Helper()
	c, err := s.side.Client(0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *server) do(t *testing.T, words ...string) {
	t.Helper()
	c := s.client(t)
	if err := c.Do(t.Context(), c.B().Arbitrary(words...).Build()).Error(); err != nil {
		t.Fatalf("%v: %v", words, err)
	}
}

func (s *server) info(t *testing.T, name string) string {
	t.Helper()
	c := s.client(t)
	text, err := c.Do(t.Context(), c.B().Info().Section("replication").Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return v
		}
	}
	return ""
}

func (s *server) size(t *testing.T) int64 {
	t.Helper()
	c := s.client(t)
	n, err := c.Do(t.Context(), c.B().Dbsize().Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// markers are the last writes of a run, spread over the slots, so that a follower that applies keys side by side has
// applied everything when it has them all.
const markers = 256

// write sends pipelined writes and gives the time until the source has taken them, and until the follower has.
func (s *server) write(t *testing.T, writes int, follower *server) (taken, followed time.Duration) {
	t.Helper()
	const writers, pipeline = 2, 500
	c := s.client(t)
	run := strconv.FormatUint(rand.Uint64(), 36)
	start := time.Now()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(w)))
			for sent := 0; sent < writes/writers; sent += pipeline {
				cmds := make([]rueidis.Completed, pipeline)
				for i := range cmds {
					cmds[i] = mixed(c, rng)
				}
				if err := check(t.Context(), c, cmds); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	taken = time.Since(start)
	cmds := make([]rueidis.Completed, markers)
	for i := range cmds {
		cmds[i] = c.B().Set().Key("marker:" + strconv.Itoa(i)).Value(run).Build()
	}
	if err := check(t.Context(), c, cmds); err != nil {
		t.Fatal(err)
	}
	if follower != nil {
		follower.await(t, run)
	}
	return taken, time.Since(start)
}

func (s *server) await(t *testing.T, run string) {
	t.Helper()
	c := s.client(t)
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		missing := 0
		cmds := make([]rueidis.Completed, markers)
		for i := range cmds {
			cmds[i] = c.B().Get().Key("marker:" + strconv.Itoa(i)).Build()
		}
		for _, r := range c.DoMulti(t.Context(), cmds...) {
			if v, err := r.ToString(); err != nil || v != run {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the follower lacks %d of the last writes after 10 minutes", missing)
		}
	}
}

func mixed(c rueidis.Client, rng *rand.Rand) rueidis.Completed {
	n := strconv.Itoa(rng.IntN(200_000))
	switch rng.IntN(8) {
	case 0:
		return c.B().Incr().Key("load:cnt:" + n).Build()
	case 1:
		return c.B().Hset().Key("load:hash:"+n).FieldValue().FieldValue("f"+strconv.Itoa(rng.IntN(20)), n).Build()
	case 2:
		return c.B().Rpush().Key("load:list:" + strconv.Itoa(rng.IntN(5000))).Element(n).Build()
	case 3:
		return c.B().Zadd().Key("load:zset:"+strconv.Itoa(rng.IntN(5000))).ScoreMember().ScoreMember(rng.Float64(), n).Build()
	case 4:
		return c.B().Set().Key("load:ttl:" + n).Value(n).ExSeconds(600).Build()
	default:
		return c.B().Set().Key("load:str:" + n).Value("value of " + n + strings.Repeat("x", 30)).Build()
	}
}

func check(ctx context.Context, c rueidis.Client, cmds []rueidis.Completed) error {
	for _, r := range c.DoMulti(ctx, cmds...) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	return nil
}

// lag writes at a rate and gives the 99th percentile of the age at which a write shows up at the follower.
func (s *server) lag(t *testing.T, follower *server, perSecond int, d time.Duration) time.Duration {
	t.Helper()
	c, f := s.client(t), follower.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(3, 3))
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			cmds := make([]rueidis.Completed, perSecond/100)
			for i := range cmds[1:] {
				cmds[i+1] = mixed(c, rng)
			}
			cmds[0] = c.B().Set().Key("lag").Value(strconv.FormatInt(time.Now().UnixNano(), 10)).Build()
			if err := check(context.WithoutCancel(ctx), c, cmds); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var ages []time.Duration
	for ctx.Err() == nil {
		if sent, err := f.Do(t.Context(), f.B().Get().Key("lag").Build()).AsInt64(); err == nil {
			ages = append(ages, time.Duration(time.Now().UnixNano()-sent))
		}
		time.Sleep(2 * time.Millisecond)
	}
	wg.Wait()
	if len(ages) == 0 {
		t.Fatal("no write was seen at the follower")
	}
	slices.Sort(ages)
	return ages[len(ages)*99/100]
}
