//go:build bench

package bench

import (
	"fmt"
	"strconv"
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

func followed(p pursuit) time.Duration   { return p.followed }
func taken(p pursuit) time.Duration      { return p.taken }
func sourceCPU(p pursuit) time.Duration  { return p.source }
func targetCPU(p pursuit) time.Duration  { return p.target }
func surecutCPU(p pursuit) time.Duration { return p.surecut }

// seconds returns the median of one figure of the rounds, in seconds.
func seconds(runs []pursuit, figure func(pursuit) time.Duration) float64 {
	return median(of(runs, figure)).Seconds()
}

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
	ours, native := seconds(c.ours, taken), seconds(c.native, taken)
	return row{"writes lost beyond a native replica's, %: " + what, fmt.Sprintf("%.0f/s, %.0f/s", float64(writes)/ours, float64(writes)/native),
		100 * (1 - native/ours), 10, 5, 0}
}

// sets follows SETs of redis-benchmark.
func (b *bench) sets(t *testing.T) {
	writes := size("SURECUT_BENCH_SETS", 3_000_000)
	c := b.contend(t, startServer(t), setLoad, writes)
	ours, source := seconds(c.ours, surecutCPU), seconds(c.ours, sourceCPU)
	b.add(row{"stream of SETs: CPU of surecut / of the source", fmt.Sprintf("%.2f s / %.2f s", ours, source), ours / source, 0.5, 0.3, 0},
		ratio(fmt.Sprintf("stream of %d SETs until caught up / native replica", writes), of(c.ours, followed), of(c.native, followed), 1.4, 1.2, 4),
		c.lost("SETs", writes), peakRow("migrate in the stream of SETs", c.peak, mustTake, aimTake))
}

// mixed follows commands of many kinds.
func (b *bench) mixed(t *testing.T) {
	writes := size("SURECUT_BENCH_WRITES", 1_000_000)
	source := startServer(t)
	c := b.contend(t, source, mixedLoad, writes)
	b.add(ratio(fmt.Sprintf("stream of %d mixed writes until caught up / native replica", writes), of(c.ours, followed), of(c.native, followed), 1.4, 1.2, 4),
		c.lost("mixed", writes), peakRow("migrate in the mixed stream", c.peak, mustTake, aimTake))
	target := startServer(t)
	s := migrate(t, source, target.url())
	lag := source.lag(t, target, 20_000, 5*time.Second)
	s.stop(t)
	b.add(row{"lag at 20000 writes/s, ms (99th percentile)", "", float64(lag.Milliseconds()), 1000, 100, 0})
}

// cluster follows SETs from one server into another and into a cluster, and from a cluster into another.
func (b *bench) cluster(t *testing.T) {
	writes := size("SURECUT_BENCH_WRITES", 1_000_000)
	server, primaries := startServer(t), startCluster(t, 3)
	setLoad(t, server, writes/3)
	setLoad(t, primaries, writes/3)
	var one, three, both []pursuit
	for round := range b.rounds {
		one = append(one, once(t, server, startServer(t), writes))
		three = append(three, once(t, server, startCluster(t, 3), writes))
		both = append(both, once(t, primaries, startCluster(t, 3), writes))
		t.Logf("round %d, %d SETs: one server %v; to a cluster of 3 %v; from a cluster of 3 to another %v", round+1, writes, one[round], three[round], both[round])
	}
	source, surecut := seconds(both, sourceCPU), seconds(both, surecutCPU)
	b.add(ratio(fmt.Sprintf("stream of %d SETs to a cluster of 3 / to one server", writes), of(three, followed), of(one, followed), 1.2, 1.0, 0),
		ratio(fmt.Sprintf("stream of %d SETs from a cluster of 3 to another / from one server to one", writes), of(both, followed), of(one, followed), 0, 0, 0),
		row{what: "stream from a cluster of 3 to another: CPU of surecut / of the source", measured: fmt.Sprintf("%.2f s / %.2f s", surecut, source), value: surecut / source})
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
	counts := []int{4, 1, 16} // what others are compared with comes first
	runs := make(map[int][]pursuit)
	for round := range b.rounds {
		for _, n := range counts {
			p := once(t, source, startServer(t), writes, "--lanes", strconv.Itoa(n))
			t.Logf("round %d, --lanes %d: %v", round+1, n, p)
			runs[n] = append(runs[n], p)
		}
	}
	for _, n := range counts[1:] {
		b.add(ratio(fmt.Sprintf("stream of %d SETs with --lanes %d / %d", writes, n, counts[0]), of(runs[n], followed), of(runs[counts[0]], followed), 0, 0, 0))
	}
	for _, n := range counts {
		source, surecut := seconds(runs[n], sourceCPU), seconds(runs[n], surecutCPU)
		b.add(row{what: fmt.Sprintf("--lanes %d: CPU of surecut / of the source", n),
			measured: fmt.Sprintf("%.2f s / %.2f s (target %.2f s)", surecut, source, seconds(runs[n], targetCPU)), value: surecut / source})
	}
}

// distance follows SETs to a target that is 50 ms away, and to one that is near.
func (b *bench) distance(t *testing.T) {
	writes := size("SURECUT_BENCH_WRITES", 1_000_000)
	source := startServer(t)
	setLoad(t, source, writes/3)
	var near, far []pursuit
	var peak int64
	for round := range b.rounds {
		near = append(near, once(t, source, startServer(t), writes))
		target := startServer(t)
		s := migrate(t, source, "redis://"+delayed(t, target.addrs()[0], 25*time.Millisecond))
		far = append(far, pursue(t, source, target, s, setLoad, writes))
		s.stop(t)
		target.stop()
		peak = max(peak, s.peak.Load())
		t.Logf("round %d, %d SETs: near %v; 50 ms away %v, peak %d MiB", round+1, writes, near[round], far[round], s.peak.Load()>>20)
	}
	b.add(ratio(fmt.Sprintf("stream of %d SETs over 50 ms of round trip / to a near target", writes), of(far, followed), of(near, followed), 0, 0, 0),
		peakRow("migrate over 50 ms of round trip", peak, mustTake, aimTake))
}

// idle measures what links cost that have nothing to do: one, and the three of a cluster.
func (b *bench) idle(t *testing.T) {
	during := time.Duration(size("SURECUT_BENCH_IDLE_SECONDS", 30)) * time.Second
	for _, primaries := range []int{1, 3} {
		start := startServer
		if primaries > 1 {
			start = func(t *testing.T) *deployment { return startCluster(t, primaries) }
		}
		source, target := start(t), start(t)
		setLoad(t, source, 100_000)
		s := migrate(t, source, target.url())
		cpus := func() [3]time.Duration { return [...]time.Duration{s.cpu(), source.cpu(), target.cpu()} }
		before := cpus()
		time.Sleep(during)
		var perMinute [3]float64
		for i, after := range cpus() {
			perMinute[i] = (after - before[i]).Seconds() * time.Minute.Seconds() / during.Seconds()
		}
		b.add(row{what: fmt.Sprintf("%d idle link(s): CPU of surecut a minute, s", primaries),
			measured: fmt.Sprintf("source %.2f s, target %.2f s; resident %d MiB", perMinute[1], perMinute[2], statusOf(s.cmd.Process.Pid, "VmRSS")>>20), value: perMinute[0]})
		s.stop(t)
		source.stop()
		target.stop()
	}
}
