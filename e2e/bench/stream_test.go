//go:build bench

package bench

import (
	"fmt"
	"testing"
	"time"
)

// contest is a number of rounds, in each of which a native replica and surecut follow the same load.
type contest struct {
	native, ours []pursuit
	peak         int64
}

// of returns one figure of each round.
func of(runs []pursuit, figure func(pursuit) time.Duration) []time.Duration {
	out := make([]time.Duration, len(runs))
	for i, p := range runs {
		out[i] = figure(p)
	}
	return out
}

func followed(p pursuit) time.Duration { return p.followed }
func taken(p pursuit) time.Duration    { return p.taken }

// contend runs a contest.
func (b *bench) contend(t *testing.T, source *deployment, by load, writes int) (c contest) {
	by(t, source, writes/3) // makes the keys, so that all that follow find them
	for round := range b.rounds {
		replica := startServer(t)
		replicate(t, source, replica)
		native := pursue(t, source, replica, nil, by, writes)
		replica.stop()
		target := startServer(t)
		s := migrate(t, source, target.url())
		ours := pursue(t, source, target, s, by, writes)
		s.stop(t)
		target.stop()
		c.native, c.ours, c.peak = append(c.native, native), append(c.ours, ours), max(c.peak, s.peak.Load())
		t.Logf("round %d, %d writes: native %v; surecut %v, its peak %d MiB", round+1, writes, native, ours, s.peak.Load()>>20)
	}
	return c
}

func (p pursuit) String() string {
	text := fmt.Sprintf("taken in %v, followed in %v, CPU of the source %v, of the target %v", p.taken.Round(time.Millisecond), p.followed.Round(time.Millisecond), p.source, p.target)
	if p.surecut > 0 {
		text += fmt.Sprintf(", of surecut %v", p.surecut)
	}
	return text
}

// lost returns a row for the writes that the source does not take because of surecut.
func (c contest) lost(what string, writes int) row {
	ours, native := median(of(c.ours, taken)).Seconds(), median(of(c.native, taken)).Seconds()
	return row{"writes lost beyond a native replica's, %: " + what, fmt.Sprintf("%.0f/s, %.0f/s", float64(writes)/ours, float64(writes)/native),
		100 * (1 - native/ours), 10, 5, 0}
}

// sets follows SETs of redis-benchmark.
func (b *bench) sets(t *testing.T) {
	writes := size("SURECUT_BENCH_SETS", 3_000_000)
	c := b.contend(t, startServer(t), setLoad, writes)
	ours := median(of(c.ours, func(p pursuit) time.Duration { return p.surecut })).Seconds()
	source := median(of(c.ours, func(p pursuit) time.Duration { return p.source })).Seconds()
	b.add(row{"stream of SETs: CPU of surecut / of the source", fmt.Sprintf("%.2f s / %.2f s", ours, source), ours / source, 0.5, 0.3, 0},
		ratio(fmt.Sprintf("stream of %d SETs until caught up / native replica", writes), of(c.ours, followed), of(c.native, followed), 1.4, 1.2, 4),
		c.lost("SETs", writes), memory("migrate in the stream of SETs", c.peak, mustTake, aimTake))
}

// mixed follows commands of many kinds.
func (b *bench) mixed(t *testing.T) {
	writes := size("SURECUT_BENCH_WRITES", 1_000_000)
	source := startServer(t)
	c := b.contend(t, source, mixedLoad, writes)
	b.add(ratio(fmt.Sprintf("stream of %d mixed writes until caught up / native replica", writes), of(c.ours, followed), of(c.native, followed), 1.4, 1.2, 4),
		c.lost("mixed", writes), memory("migrate in the mixed stream", c.peak, mustTake, aimTake))
	target := startServer(t)
	s := migrate(t, source, target.url())
	lag := source.lag(t, target, 20_000, 5*time.Second)
	s.stop(t)
	b.add(row{"lag at 20000 writes/s, ms (99th percentile)", "", float64(lag.Milliseconds()), 1000, 100, 0})
}

// cluster follows SETs into one server and into a cluster, and then from a cluster into another.
func (b *bench) cluster(t *testing.T) {
	writes := size("SURECUT_BENCH_WRITES", 1_000_000)
	source := startServer(t)
	setLoad(t, source, writes/3)
	var one, three []pursuit
	for round := range b.rounds {
		one = append(one, once(t, source, startServer(t), writes))
		three = append(three, once(t, source, startCluster(t, 3), writes))
		t.Logf("round %d, %d SETs: one server %v; a cluster of 3 %v", round+1, writes, one[round], three[round])
	}
	source.stop()
	b.add(ratio(fmt.Sprintf("stream of %d SETs to a cluster of 3 / to one server", writes), of(three, followed), of(one, followed), 1.2, 1.0, 0))

	source = startCluster(t, 3)
	setLoad(t, source, writes/3)
	p := once(t, source, startCluster(t, 3), writes)
	t.Logf("cluster to cluster: %v", p)
	b.add(row{fmt.Sprintf("stream of %d SETs from a cluster of 3 to another, s", writes), fmt.Sprintf("CPU of surecut / of the source %.2f", p.surecut.Seconds()/p.source.Seconds()), p.followed.Seconds(), 0, 0, 0})
}

// once has surecut follow SETs into a target, which is stopped afterwards.
func once(t *testing.T, source, target *deployment, writes int, flags ...string) pursuit {
	t.Helper()
	s := migrate(t, source, target.url(), flags...)
	p := pursue(t, source, target, s, setLoad, writes)
	s.stop(t)
	target.stop()
	return p
}

// lanes follows SETs with few and many connections to the target.
func (b *bench) lanes(t *testing.T) {
	writes := size("SURECUT_BENCH_WRITES", 1_000_000)
	source := startServer(t)
	setLoad(t, source, writes/3)
	for _, n := range []string{"1", "4", "16"} {
		p := once(t, source, startServer(t), writes, "--lanes", n)
		t.Logf("--lanes %s: %v", n, p)
		b.add(row{fmt.Sprintf("stream of %d SETs with --lanes %s, s", writes, n), fmt.Sprintf("CPU of surecut %.2f s, of the target %.2f s", p.surecut.Seconds(), p.target.Seconds()), p.followed.Seconds(), 0, 0, 0})
	}
}

// distance follows SETs to a target that is 50 ms away.
func (b *bench) distance(t *testing.T) {
	writes := size("SURECUT_BENCH_WRITES", 1_000_000)
	source, target := startServer(t), startServer(t)
	setLoad(t, source, writes/3)
	far := delayed(t, target.addrs()[0], 25*time.Millisecond)
	s := migrate(t, source, "redis://"+far)
	p := pursue(t, source, target, s, setLoad, writes)
	s.stop(t)
	t.Logf("50 ms: %v", p)
	b.add(row{fmt.Sprintf("stream of %d SETs over 50 ms of round trip, s", writes), fmt.Sprintf("taken by the source in %.2f s", p.taken.Seconds()), p.followed.Seconds(), 0, 0, 0},
		memory("migrate over 50 ms of round trip", s.peak.Load(), mustTake, aimTake))
}

// idle measures what a link costs that has nothing to do.
func (b *bench) idle(t *testing.T) {
	const during = 20 * time.Second
	source, target := startServer(t), startServer(t)
	setLoad(t, source, 100_000)
	s := migrate(t, source, target.url())
	before, target0 := s.cpu(), target.cpu()
	time.Sleep(during)
	perMinute := func(d time.Duration) float64 { return d.Seconds() * float64(time.Minute) / float64(during) }
	b.add(row{"an idle link: CPU of surecut a minute, s", fmt.Sprintf("of the target %.2f s; resident %d MiB", perMinute(target.cpu()-target0), statusOf(s.cmd.Process.Pid, "VmRSS")>>20),
		perMinute(s.cpu() - before), 0, 0, 0})
	s.stop(t)
}
