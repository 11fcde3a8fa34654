//go:build bench

package bench

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

func (d *deployment) client(t *testing.T) rueidis.Client {
	t.Helper()
	c, err := d.side.Client(0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (d *deployment) do(t *testing.T, words ...string) {
	t.Helper()
	c := d.client(t)
	if err := c.Do(t.Context(), c.B().Arbitrary(words...).Build()).Error(); err != nil {
		t.Fatalf("%v: %v", words, err)
	}
}

// info returns a field of INFO replication of a standalone server.
func (d *deployment) info(t *testing.T, name string) string {
	t.Helper()
	c := d.client(t)
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

// size returns the number of keys of a standalone server.
func (d *deployment) size(t *testing.T) int64 {
	t.Helper()
	c := d.client(t)
	n, err := c.Do(t.Context(), c.B().Dbsize().Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// load writes so many commands to a deployment, as fast as it takes them.
type load func(t *testing.T, d *deployment, writes int)

// setLoad sends SET of 16 bytes to 100,000 keys, by redis-benchmark, which takes little CPU of its own.
func setLoad(t *testing.T, d *deployment, writes int) {
	t.Helper()
	args := []string{"-p", d.ports[0], "-t", "set", "-n", strconv.Itoa(writes), "-r", "100000", "-d", "16", "-P", "16", "-q"}
	if len(d.ports) > 1 {
		args = append(args, "--cluster")
	}
	if out, err := exec.Command("redis-benchmark", args...).CombinedOutput(); err != nil {
		t.Fatalf("redis-benchmark %v: %v\n%s", args, err, out)
	}
}

// mixedLoad sends commands of many kinds, in pipelines.
func mixedLoad(t *testing.T, d *deployment, writes int) {
	t.Helper()
	const writers, pipeline = 2, 500
	c := d.client(t)
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

// pursuit is what it took to write to a source while somebody follows it.
type pursuit struct {
	taken    time.Duration // until the source had taken all
	followed time.Duration // until the follower had all
	source   time.Duration // CPU
	target   time.Duration // CPU of the follower's servers
	surecut  time.Duration // CPU; 0 for a native replica
}

// pursue writes to a source, and waits until its follower has all. follower nil: nobody follows; s nil: a native replica does.
func pursue(t *testing.T, source, follower *deployment, s *surecut, by load, writes int) (p pursuit) {
	t.Helper()
	cpu := func() (sum [3]time.Duration) {
		sum[0] = source.cpu()
		if follower != nil {
			sum[1] = follower.cpu()
		}
		if s != nil {
			sum[2] = s.cpu()
		}
		return sum
	}
	before := cpu()
	start := time.Now()
	by(t, source, writes)
	p.taken = time.Since(start)
	run := source.mark(t)
	if follower != nil {
		follower.await(t, run)
	}
	p.followed = time.Since(start)
	after := cpu()
	p.source, p.target, p.surecut = after[0]-before[0], after[1]-before[1], after[2]-before[2]
	return p
}

// markers is the number of keys that are written last in a run, spread over the slots. A follower that applies keys side by side has
// applied everything when it has them all.
const markers = 256

// mark writes the markers, and returns their value.
func (d *deployment) mark(t *testing.T) (run string) {
	t.Helper()
	c := d.client(t)
	run = strconv.FormatUint(rand.Uint64(), 36)
	cmds := make([]rueidis.Completed, markers)
	for i := range cmds {
		cmds[i] = c.B().Set().Key("marker:" + strconv.Itoa(i)).Value(run).Build()
	}
	if err := check(t.Context(), c, cmds); err != nil {
		t.Fatal(err)
	}
	return run
}

// await waits until all markers have a value. It asks for one after the other, to leave the server its time.
func (d *deployment) await(t *testing.T, run string) {
	t.Helper()
	c := d.client(t)
	deadline := time.Now().Add(10 * time.Minute)
	for i := 0; i < markers; {
		v, err := c.Do(t.Context(), c.B().Get().Key("marker:"+strconv.Itoa(i)).Build()).ToString()
		if err == nil && v == run {
			i++
			continue
		}
		if time.Now().After(deadline) {
			t.Fatalf("the follower lacks some of the last %d writes after 10 minutes", markers-i)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// lag writes at a rate, and returns the 99th percentile of the age at which a write shows up at the follower.
func (d *deployment) lag(t *testing.T, follower *deployment, perSecond int, during time.Duration) time.Duration {
	t.Helper()
	c, f := d.client(t), follower.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), during)
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
