//go:build servers

package migrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/spool"
	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// TestConnectionsKilled ends connections on both sides again and again in the middle of the stream.
func TestConnectionsKilled(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb"), servers.Standalone(t, "redis:7.0")
	u := urls{source.URL(), target.URL()}
	stop := writeTo(t, source, false)
	r := begin(t, u, t.TempDir(), nil)
	r.caughtUp()
	for i := range 150 {
		target.Must("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		if i%16 == 0 {
			source.Must("CLIENT", "KILL", "TYPE", "replica")
		}
		time.Sleep(time.Duration(i%12) * time.Millisecond)
	}
	stop()
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{})
}

// TestTargetStalls: a target that stands still keeps what it was sent in its buffers.
func TestTargetStalls(t *testing.T) {
	source, target := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "256mb"), servers.Standalone(t, "redis:7.0")
	u := urls{source.URL(), target.URL()}
	dir := t.TempDir()
	stop := writeTo(t, source, false)
	r := begin(t, u, dir, nil)
	r.caughtUp()
	target.Pause()
	time.Sleep(500 * time.Millisecond)
	target.Resume()
	r.caughtUp()
	target.Pause()
	time.Sleep(100 * time.Millisecond)
	r.cancel() // what it has sent still waits in the target's buffers
	target.Resume()
	r.wait()
	r = begin(t, u, dir, nil)
	stop()
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{})
}

// TestCodisReplicasLag: codis-proxy gives reads to replicas, and those may be far behind. What has been written is asked for where
// it was written.
func TestCodisReplicasLag(t *testing.T) {
	t.Parallel()
	source, target, behind := servers.Standalone(t, "redis:6.0"), servers.Standalone(t, "redis:6.0"), servers.Standalone(t, "redis:6.0")
	u := urls{source.URL(), "redis+codis://" + servers.CodisWithReplica(t, behind, target).Addr}
	dir := t.TempDir()
	fill(t, source, 1000)
	r := begin(t, u, dir, nil)
	r.caughtUp()
	for range 2 {
		stop := writeTo(t, source, false)
		time.Sleep(1500 * time.Millisecond) // several checkpoints
		stop()
		r.caughtUp()
		r.abort()
		r = begin(t, u, dir, nil)
	}
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, urls{source.URL(), target.URL()}, dataset.CompareOptions{})
}

// TestCodisResumed: what the source writes after a run was killed cannot have been applied by it, and is not copied key by key.
func TestCodisResumed(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:6.0"), servers.Standalone(t, "redis:6.0")
	u := urls{source.URL(), "redis+codis://" + servers.CodisStandIn(t, target).Addr}
	dir := t.TempDir()
	fill(t, source, 100)
	r := begin(t, u, dir, nil)
	r.caughtUp()
	source.Must("INCR", "before")
	r.caughtUp()
	r.abort()
	r = begin(t, u, dir, nil)
	r.caughtUp()
	for range 200 {
		source.Must("INCR", "after")
	}
	r.caughtUp()
	report := r.stop()
	addsUp(t, report)
	if c := report.Counters; c.CommandsApplied < 150 || c.CommandsRepaired > 50 {
		t.Errorf("%d commands applied, %d repaired", c.CommandsApplied, c.CommandsRepaired)
	}
	equal(t, urls{source.URL(), target.URL()}, dataset.CompareOptions{})
}

// TestBehindNutcracker: a server behind a nutcracker that is lost and comes back is no end, whatever words the proxy finds for it.
func TestBehindNutcracker(t *testing.T) {
	t.Parallel()
	source := servers.Standalone(t, "redis:6.0", "--repl-backlog-size", "64mb")
	target := servers.Standalone(t, "redis:6.0", "--appendonly", "yes")
	proxy := servers.Twemproxy(t, []string{"timeout: 4000"}, target.Addr+":1 one")
	stop := writeTo(t, source, false)
	r := begin(t, urls{source.URL(), "redis+twemproxy://" + proxy.Addr + "?via=proxy&config=" + proxy.Config}, t.TempDir(), nil)
	r.caughtUp()
	for range 3 {
		target.Kill()
		target.Restart()
		r.caughtUp()
	}
	stop()
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, urls{source.URL(), target.URL()}, dataset.CompareOptions{})
}

// TestServersBehindNutcrackerGoBack: a server behind a proxy may come back with data that is seconds old, as one that lost what it had not
// written to its disk, or a replica that was promoted, and nothing on the way need fail over that. What it lacks is copied again.
func TestServersBehindNutcrackerGoBack(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"while the stream is applied", "while the migration is stopped", "before the migration is stopped"} {
		t.Run(when, func(t *testing.T) {
			source := servers.Standalone(t, "redis:6.0", "--repl-backlog-size", "64mb")
			backends := []*servers.Server{servers.Standalone(t, "redis:6.0"), servers.Standalone(t, "redis:7.0")}
			proxy := servers.Twemproxy(t, []string{"timeout: 4000"}, backends[0].Addr+":1 one", backends[1].Addr+":1 two")
			u, dir := urls{source.URL(), "redis+twemproxy://" + proxy.Addr + "?via=proxy&config=" + proxy.Config}, t.TempDir()
			stop := writeTo(t, source, false)
			r := begin(t, u, dir, nil)
			for _, s := range backends {
				r.caughtUp()
				s.Must("SAVE")
				saved := r.m.links[0].positions.Applied().Offset
				r.poll("writes after that", func() bool { return r.m.links[0].positions.Applied().Offset > saved+200_000 })
				goBack := func() {
					s.Kill()
					s.Restart()
				}
				switch when {
				case "while the stream is applied":
					goBack()
				case "while the migration is stopped":
					r.stop()
					goBack()
					r = begin(t, u, dir, nil)
				default:
					stop()
					r.caughtUp()
					goBack()
					r.m.Finish()
					r.wait()
					if r.err != nil && !errors.Is(r.err, target.ErrRegressed) {
						t.Fatal(r.err)
					}
					stop = writeTo(t, source, false)
					r = begin(t, u, dir, nil)
				}
			}
			stop()
			r.caughtUp()
			addsUp(t, r.stop())
			keys := backends[0].Must("KEYS", "*").([]any)
			move := []string{"MIGRATE", "127.0.0.1", strings.TrimPrefix(backends[1].Addr, "127.0.0.1:"), "", "0", "60000", "KEYS"}
			for _, k := range keys {
				move = append(move, k.(string))
			}
			backends[0].Must(move...)
			equal(t, urls{source.URL(), backends[1].URL()}, dataset.CompareOptions{})
		})
	}
}

// TestNameTooLongForNutcracker: a name that the proxy closes its connection over is reported, and holds up nothing else.
func TestNameTooLongForNutcracker(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:6.0"), servers.Standalone(t, "redis:6.0")
	proxy := servers.Twemproxy(t, nil, target.Addr+":1 one")
	long, passes := strings.Repeat("x", 16336), strings.Repeat("y", 16335)
	fill(t, source, 1000)
	for _, name := range []string{long, passes} {
		source.Must("SET", name, "1")
	}
	r := begin(t, urls{source.URL(), "redis+twemproxy://" + proxy.Addr + "?via=proxy&config=" + proxy.Config}, t.TempDir(), func(c *Config) { c.RetryFor = 20 * time.Second })
	r.caughtUp()
	source.Must("INCR", long)
	source.Must("INCR", passes)
	source.Must("MSET", long, "1", "beside it", "2")
	r.caughtUp()
	report := r.stop()
	addsUp(t, report)
	if c := report.Counters; c.SnapshotReported != 1 || c.CommandsReported < 1 || len(report.Problems) < 2 || !strings.Contains(report.Problems[0].Reason, "too long for the proxy") {
		t.Errorf("%+v, %d problems", c, len(report.Problems))
	}
	source.Must("DEL", long)
	equal(t, urls{source.URL(), target.URL()}, dataset.CompareOptions{})
}

// TestTargetRestarts: with its data on disk a target is continued with; without, nothing may be called migrated.
func TestTargetRestarts(t *testing.T) {
	t.Parallel()
	t.Run("keeps its data", func(t *testing.T) {
		source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0", "--appendonly", "yes")
		u := urls{source.URL(), target.URL()}
		stop := writeTo(t, source, false)
		r := begin(t, u, t.TempDir(), nil)
		r.caughtUp()
		for range 2 {
			target.Kill()
			target.Restart()
		}
		stop()
		r.caughtUp()
		addsUp(t, r.stop())
		equal(t, u, dataset.CompareOptions{})
	})
	t.Run("loses its data", func(t *testing.T) {
		source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
		stop := writeTo(t, source, false)
		defer stop()
		r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), nil)
		r.caughtUp()
		target.Kill()
		target.Restart()
		if err := r.fails(); !errors.Is(err, errRegressed) {
			t.Fatal(err)
		}
	})
	t.Run("loses its data while nothing is written", func(t *testing.T) {
		source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
		writeTo(t, source, false)()
		r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), nil)
		r.caughtUp()
		writeTo(t, source, false)()
		r.caughtUp()
		target.Kill()
		target.Restart()
		if err := r.fails(); !errors.Is(err, errRegressed) {
			t.Fatal(err)
		}
	})
	t.Run("loses its data in the snapshot", func(t *testing.T) {
		source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
		u := urls{source.URL(), target.URL()}
		fill(t, source, 50000)
		r := begin(t, u, t.TempDir(), func(c *Config) { c.RateOps = 25000 })
		poll(t, "part of the snapshot", func() bool { return r.m.Report().Counters.SnapshotApplied > 5000 })
		target.Kill()
		target.Restart()
		r.caughtUp()
		addsUp(t, r.stop())
		equal(t, u, dataset.CompareOptions{})
	})
}

// TestSourceForgets: a source that restarted, or whose backlog is too small, cannot be continued with.
func TestSourceForgets(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), nil)
	r.caughtUp()
	source.Kill()
	source.Restart()
	if err := r.fails(); !errors.Is(err, receive.ErrNotContinued) {
		t.Fatal(err)
	}
}

// TestSpoolFails: a disk that takes no more is not a source that was lost, and is told before the source has gone on for too long.
func TestSpoolFails(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	dir := t.TempDir()
	r := begin(t, urls{source.URL(), target.URL()}, dir, func(cfg *Config) { cfg.SpoolLimit = 16 << 20 })
	r.caughtUp()
	streams, err := filepath.Glob(filepath.Join(dir, "*", "stream"))
	if err != nil || len(streams) != 1 {
		t.Fatal(streams, err)
	}
	if err := os.Rename(streams[0], streams[0]+".gone"); err != nil { // where the next segment would be written
		t.Fatal(err)
	}
	value := strings.Repeat("x", 64<<10)
	for i := range 200 {
		source.Must("SET", "k"+strconv.Itoa(i), value)
	}
	var disk *receive.DiskError
	if err := r.fails(); !errors.As(err, &disk) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "Config.StateDir") {
		t.Fatal(err)
	}
}

// TestSpoolDamaged: what a bad disk has changed is never applied; the source has it still.
func TestSpoolDamaged(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	u, dir := urls{source.URL(), target.URL()}, t.TempDir()
	r := begin(t, u, dir, nil)
	r.caughtUp()
	source.Must("RPUSH", "list", "first")
	log := r.m.links[0].replica.spool
	poll(t, "disk", func() bool { return log.End() > 0 && log.Durable() == log.End() })
	source.Must("RPUSH", "list", "second") // its frame says so
	r.caughtUp()
	r.abort()
	segments, err := filepath.Glob(filepath.Join(dir, "*", "stream", "*.spool"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	data[210] ^= 1 // in the first frame
	if err := os.WriteFile(segments[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := begin(t, u, dir, nil).fails(); !errors.Is(err, spool.ErrCorrupt) || !strings.Contains(err.Error(), filepath.Dir(segments[0])) {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Dir(segments[0]), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	r = begin(t, u, dir, nil)
	source.Must("RPUSH", "list", "last")
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{})
}

// TestTargetFull: a target without memory stops the migration; with more, the same command goes on.
func TestTargetFull(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"snapshot", "stream"} {
		t.Run(phase, func(t *testing.T) {
			source, target := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb"), servers.Standalone(t, "redis:7.0", "--maxmemory-policy", "noeviction")
			u := urls{source.URL(), target.URL()}
			dir := t.TempDir()
			stop := writeTo(t, source, false)
			full := func() {
				n, err := strconv.Atoi(target.Info("memory")["used_memory"])
				if err != nil {
					t.Fatal(err)
				}
				target.Must("CONFIG", "SET", "maxmemory", strconv.Itoa(n+64<<10))
			}
			if phase == "snapshot" {
				full()
				fill(t, source, 20000)
			}
			r := begin(t, u, dir, nil)
			if phase == "stream" {
				r.caughtUp()
				full()
				fill(t, source, 20000)
			}
			if err := r.fails(); !errors.Is(err, errTargetFull) {
				t.Fatal(err)
			}
			target.Must("CONFIG", "SET", "maxmemory", "0")
			r = begin(t, u, dir, nil)
			r.caughtUp()
			stop()
			r.caughtUp()
			addsUp(t, r.stop())
			equal(t, u, dataset.CompareOptions{})
		})
	}
}

// TestExpiries: keys that are renewed, renamed and swapped while they are held, and keys that expire meanwhile.
func TestExpiries(t *testing.T) {
	for _, v := range []string{"6.0", "7.0", "8.0"} {
		t.Run(v, func(t *testing.T) {
			source, target := servers.Standalone(t, image(v)), servers.Standalone(t, image(v))
			u := urls{source.URL(), target.URL()}
			fill(t, source, 20000)
			if v == "8.0" {
				source.Must("HSET", "fields", "a", "1", "b", "2")
				source.Must("HPEXPIRE", "fields", "12000", "FIELDS", "1", "a")
			}
			must := func(line string) { t.Helper(); source.Must(strings.Fields(line)...) }
			for i := range 50 {
				must(fmt.Sprintf("SET renewed:%d v PX 12000", i))
				must(fmt.Sprintf("SET gone:%d v PX 12000", i))
				must(fmt.Sprintf("SET counted:%d 5 PX 12000", i))
				must(fmt.Sprintf("SET renamed:%d v EX 500", i))
			}
			dir := t.TempDir()
			r := begin(t, u, dir, func(c *Config) { c.RateOps = 6000 })
			poll(t, "snapshot", func() bool { return r.m.Report().Counters.SnapshotApplied > 500 })
			for i := range 50 {
				if v == "8.0" && i == 0 {
					must("HPEXPIRE fields 600000 FIELDS 1 a")
				}
				must(fmt.Sprintf("INCR counted:%d", i))
				must(fmt.Sprintf("PEXPIRE counted:%d 600000", i))
				must(fmt.Sprintf("EXPIRE renewed:%d 600", i))
				must(fmt.Sprintf("RENAME renamed:%d other:%d", i, i))
				must(fmt.Sprintf("SET fresh:%d v EX 700", i))
				must(fmt.Sprintf("RENAME fresh:%d fresher:%d", i, i))
			}
			r.caughtUp()
			poll(t, "end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
			poll(t, "expiry", func() bool { return source.Must("EXISTS", "gone:1").(int64) == 0 })
			r.caughtUp()
			addsUp(t, r.stop())
			equal(t, u, dataset.CompareOptions{})
			if n := source.Must("EXISTS", "renewed:1", "counted:1", "other:1", "fresher:1"); n != int64(4) {
				t.Errorf("%d of 4 keys: the machine is too slow to renew them in time", n)
			}
			if ttl := target.Must("TTL", "other:1").(int64); ttl < 100 {
				t.Errorf("the renamed key has TTL %d", ttl)
			}
		})
	}
}

// TestExpiredInFlight: while the target stands still, or nobody applies anything, keys expire there by its own clock; the
// source has changed them before, and renewed them.
func TestExpiredInFlight(t *testing.T) {
	make := []string{"SET append v", "SET incr 5", "SET bit v", "HSET hash a 1 b 2", "SADD set a b", "RPUSH list a b", "ZADD zset 1 a 2 b",
		"SADD one a", "SADD two b", "RPUSH from a b", "SET renamed v", "SET copied v", "XADD stream 1-1 f v", "HSET counts a 5", "SET moved v"}
	change := []string{"APPEND append w", "INCR incr", "SETBIT bit 100 1", "HSET hash c 3", "SADD set c", "LPUSH list c", "ZINCRBY zset 5 a",
		"SUNIONSTORE both one two", "RPOPLPUSH from to", "RENAME renamed other", "APPEND other w", "COPY copied copy", "APPEND copy w",
		"XADD stream 2-1 f w", "HINCRBY counts a 1", "APPEND inherited w"}
	all := strings.Fields("append incr bit hash set list zset one two from other copied copy stream counts inherited")
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %v", restarted), func(t *testing.T) {
			source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
			u := urls{source.URL(), target.URL()}
			dir := t.TempDir()
			r := begin(t, u, dir, nil)
			r.caughtUp()
			at := time.Now().Add(12 * time.Second) // a loaded machine needs some of it
			for _, line := range make {
				args := strings.Fields(line)
				source.Must(args...)
				source.Must("PEXPIREAT", args[1], strconv.FormatInt(at.UnixMilli(), 10))
			}
			source.Must("RENAME", "moved", "inherited")
			r.caughtUp()
			if restarted {
				r.abort()
			} else {
				target.Pause()
			}
			for _, line := range change {
				source.Must(strings.Fields(line)...)
			}
			for _, k := range all {
				source.Must("PEXPIRE", k, "600000")
			}
			if time.Now().After(at) {
				t.Fatal("this machine is too slow for the keys' time to live")
			}
			time.Sleep(time.Until(at) + 100*time.Millisecond)
			if restarted {
				r = begin(t, u, dir, nil)
			} else {
				target.Resume()
			}
			r.caughtUp()
			addsUp(t, r.stop())
			equal(t, u, dataset.CompareOptions{})
		})
	}
}

// TestHeldThroughCrash: what was held when a run ended abruptly gets its expiry in the next one.
func TestHeldThroughCrash(t *testing.T) {
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	u := urls{source.URL(), target.URL()}
	fill(t, source, 5000)
	for i := range 300 {
		source.Must("SET", "old:"+strconv.Itoa(i), "v", "EX", "900")
	}
	dir := t.TempDir()
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !over.Load(); i++ {
			source.Do("SET", "ttl:"+strconv.Itoa(i%400), strconv.Itoa(i), "EX", "800")
			source.Do("RENAME", "ttl:"+strconv.Itoa(i%400), "rn:"+strconv.Itoa(i%400))
		}
	}()
	for i := range 6 {
		r := begin(t, u, dir, func(c *Config) { c.RateOps = 20000; c.MaxLag = time.Millisecond })
		time.Sleep(time.Duration(150+60*i) * time.Millisecond)
		r.abort()
	}
	r := begin(t, u, dir, nil)
	over.Store(true)
	<-done
	r.caughtUp()
	poll(t, "end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
	r.stop()
	equal(t, u, dataset.CompareOptions{})
}

// TestAcrossSlots: what a cluster cannot run is resolved by copies, under load.
func TestAcrossSlots(t *testing.T) {
	t.Parallel()
	source := servers.Standalone(t, "redis:7.0")
	target := servers.Cluster(t, "redis:7.0", 3, 0)
	u := urls{source.URL(), target[0].URL()}
	dir := t.TempDir()
	stop := writeTo(t, source, false)
	crossing := func() {
		for i := range 30 {
			a, b := strconv.Itoa(i), strconv.Itoa(i*7%30)
			source.Do("RENAME", "n:"+a, "n:"+b)
			source.Do("SUNIONSTORE", "set:"+a, "set:"+b)
			source.Do("SADD", "set:"+a, a, b)
			source.Do("LMOVE", "l:"+a, "l:"+b, "LEFT", "RIGHT")
			source.Do("MSET", "x:"+a, a, "x:"+b, b)
			source.Do("COPY", "h:"+a, "h2:"+b, "REPLACE")
			source.Do("ZUNIONSTORE", "z:"+a, "2", "z:"+a, "z:"+b)
			source.Do("DEL", "x:"+a, "s:"+b)
			source.Do("PFADD", "pf:"+a, a)
			source.Do("PFMERGE", "pf:"+b, "pf:"+a)
			source.Do("BITOP", "OR", "bit:"+a, "s:"+a, "s:"+b)
			source.Do("EVAL", "redis.call('INCR', KEYS[1]) redis.call('INCR', KEYS[2])", "2", "n:"+a, "n:"+b)
			if i == 15 {
				source.Do("FLUSHALL")
			}
		}
	}
	r := begin(t, u, dir, nil)
	r.caughtUp()
	for range 4 {
		crossed := make(chan struct{})
		go func() {
			defer close(crossed)
			crossing()
		}()
		time.Sleep(30 * time.Millisecond)
		r.stop() // in the middle of copies as of a later offset
		<-crossed
		r = begin(t, u, dir, nil)
		r.caughtUp()
	}
	crossing()
	r.abort()
	crossing()
	r = begin(t, u, dir, nil)
	crossing()
	stop()
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{NoFunctions: true})
}

// TestDatabases: MOVE, COPY ... DB, SWAPDB, FLUSHDB and FLUSHALL between databases.
func TestDatabases(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"6.0", "7.0", "8.0"} {
		t.Run(v, func(t *testing.T) {
			source, target := servers.Standalone(t, image(v)), servers.Standalone(t, image(v))
			u := urls{source.URL(), target.URL()}
			dir := t.TempDir()
			stop := writeTo(t, source, false)
			one := source.Client(1)
			other := func(args ...string) {
				if err := one.Do(t.Context(), one.B().Arbitrary(args...).Build()).NonRedisError(); err != nil {
					t.Fatal(err)
				}
			}
			work := func(flush bool) {
				for i := range 20 {
					a := strconv.Itoa(i)
					source.Do("SET", "ttl:"+a, a, "EX", "500")
					other("SET", "one:"+a, a)
					other("INCR", "n:"+a)
					source.Do("MOVE", "n:"+a, "1")
					other("MOVE", "one:"+a, "0")
					source.Do("COPY", "h:"+a, "h:"+a, "DB", "1", "REPLACE")
					if i%5 == 0 {
						source.Do("SWAPDB", "0", "1")
						source.Do("SWAPDB", "1", "1")
						other("SWAPDB", "1", "2")
					}
					if flush && i == 10 {
						other("FLUSHDB")
					}
				}
				if flush {
					source.Do("FLUSHALL")
				}
			}
			work(true)
			r := begin(t, u, dir, nil)
			work(false)
			r.caughtUp()
			work(true)
			r.abort()
			work(true)
			r = begin(t, u, dir, nil)
			work(false)
			stop()
			r.caughtUp()
			poll(t, "end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
			addsUp(t, r.stop())
			equal(t, u, dataset.CompareOptions{})
		})
	}
}

// TestFreeze: at the offset of a frame the target holds exactly what the source held there, of a key that never rests.
func TestFreeze(t *testing.T) {
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), nil)
	r.caughtUp()
	stop := writeTo(t, source, false)
	defer stop()
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !over.Load() {
			source.Do("INCR", "hot")
		}
	}()
	defer func() { over.Store(true); <-done }()
	dump := func(s *servers.Server) (string, int64) {
		cmds := s.Client(0)
		dc, release := cmds.Dedicate()
		defer release()
		res := dc.DoMulti(t.Context(), endpoint.Arbitrary(dc, "MULTI"), endpoint.Arbitrary(dc, "GET", "hot"), endpoint.Arbitrary(dc, "ROLE"), endpoint.Arbitrary(dc, "EXEC"))
		replies, err := res[3].ToArray()
		if err != nil {
			t.Fatal(err)
		}
		hot, _ := replies[0].ToString()
		offset, err := endpoint.ParseOffset(replies[1])
		if err != nil {
			t.Fatal(err)
		}
		return hot, offset
	}
	for range 20 {
		var f *stream.Frame
		poll(t, "frame", func() (ok bool) {
			var err error
			f, err = r.m.Freeze(t.Context(), 0)
			return err == nil
		})
		want, offset := dump(source)
		if _, err := f.ApplyTo(t.Context(), offset); err != nil {
			t.Fatal(err)
		}
		if got, _ := dump(target); got != want {
			t.Fatalf("at offset %d the target holds %s, the source held %s", offset, got, want)
		}
		if _, err := f.ApplyTo(t.Context(), offset-100); !errors.Is(err, stream.ErrPassed) {
			t.Fatalf("an offset that is passed: %v", err)
		}
		f.Release()
		f.Release()
	}
}

// TestFreezeNamesKeysThatAreAhead: what the target refuses is copied as the source holds it now, which is later than the frame's offset.
func TestFreezeNamesKeysThatAreAhead(t *testing.T) {
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	dir := t.TempDir()
	r := begin(t, urls{source.URL(), target.URL()}, dir, nil)
	r.caughtUp()
	defer r.stop()
	source.Must("SET", "seen", "1")
	poll(t, "the target follows", func() bool { return target.Do("GET", "seen").Error() == nil })
	const name = "l\xff" // JSON does not take it as it is
	target.Must("SET", name, "no list")
	control, err := r.m.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	remote, err := Attach(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := remote.Freeze(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	source.Must("RPUSH", name, "a")
	offset, err := strconv.ParseInt(source.Info("replication")["master_repl_offset"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	source.Must("RPUSH", name, "b")
	ahead, err := f.ApplyTo(t.Context(), offset)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := target.Do("LLEN", name).AsInt64(); err != nil || n != 2 {
		t.Fatalf("the target's list has %d elements (%v), want the two of now", n, err)
	}
	if want := (keyspace.Key{Name: name}); len(ahead) != 1 || ahead[0] != want {
		t.Errorf("the keys that are ahead are %+v, want %+v", ahead, want)
	}
	source.Must("SET", "later", "1")
	offset, err = strconv.ParseInt(source.Info("replication")["master_repl_offset"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if ahead, err := f.ApplyTo(t.Context(), offset); err != nil || len(ahead) != 0 {
		t.Errorf("at the offset of the copy still %+v are ahead, %v", ahead, err)
	}
}

// TestStops: an order to stop ends a migration in every phase.
func TestStops(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	u := urls{source.URL(), target.URL()}
	fill(t, source, 20000)
	stop := writeTo(t, source, false)
	dir := t.TempDir()
	for _, after := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond, time.Second} {
		r := begin(t, u, dir, func(c *Config) { c.RateOps = 40000 })
		time.Sleep(after)
		r.stop()
	}
	r := begin(t, u, dir, nil)
	r.caughtUp()
	stop()
	r.caughtUp()
	r.stop()
	equal(t, u, dataset.CompareOptions{})
	if _, err := r.m.Freeze(context.Background(), 0); err == nil {
		t.Error("a link that has ended was frozen")
	}
}

// TestFullOnly ends with the snapshot and leaves nothing behind.
func TestFullOnly(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	u := urls{source.URL(), target.URL()}
	fill(t, source, 10000)
	r := begin(t, u, t.TempDir(), func(c *Config) { c.Mode = ModeFull })
	r.wait()
	if r.err != nil {
		t.Fatal(r.err)
	}
	addsUp(t, r.m.Report())
	equal(t, u, dataset.CompareOptions{})
	if n := target.Must("KEYS", "__surecut*"); len(n.([]any)) != 0 {
		t.Errorf("left behind: %q", n)
	}
}

// TestForeignKeys: what the target had before stays, whatever happens to the load.
func TestForeignKeys(t *testing.T) {
	for _, mode := range []string{ExistingKeep, ExistingFail} {
		t.Run(mode, func(t *testing.T) {
			source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
			u := urls{source.URL(), target.URL()}
			fill(t, source, 20000)
			for i := range 200 {
				target.Must("SET", "fill:"+strconv.Itoa(i*100), "foreign")
			}
			source.Must("SET", "fill:100", "v", "EX", "900") // within --hold-expiry
			dir := t.TempDir()
			slow := func(c *Config) { c.OnExisting, c.RateOps = mode, 20000 }
			r := begin(t, u, dir, slow)
			if mode == ExistingFail {
				r.fails()
				r = begin(t, u, dir, slow)
				r.fails()
			} else {
				poll(t, "part of the snapshot", func() bool {
					return r.m.Report().Counters.SnapshotApplied > 3000 && r.m.links[0].standing.stage() != receiving
				})
				source.Must("SET", "later", "v", "EX", "900")
				target.Must("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
				r.abort()
				r = begin(t, u, dir, slow)
				r.caughtUp()
				addsUp(t, r.stop())
				if ttl := target.Must("PTTL", "later").(int64); ttl < 600_000 {
					t.Errorf("what the source has written later expires in %d ms", ttl)
				}
				if n := target.Must("DBSIZE").(int64); n < 20000 {
					t.Errorf("%d keys arrived", n)
				}
			}
			for i := range 200 {
				if got := target.Must("GET", "fill:"+strconv.Itoa(i*100)); got != "foreign" {
					t.Fatalf("%s: a key of the target became %q", mode, got)
				}
				if ttl := target.Must("PTTL", "fill:"+strconv.Itoa(i*100)); ttl != int64(-1) {
					t.Fatalf("%s: a key of the target expires in %d ms, as the source's does", mode, ttl)
				}
			}
		})
	}
}

// TestEarlierMigration: what another migration has left on the target says nothing about this one.
func TestEarlierMigration(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	u := urls{source.URL(), target.URL()}
	stop := writeTo(t, source, false)
	r := begin(t, u, t.TempDir(), nil)
	r.caughtUp()
	r.abort()
	stop()
	target.Must("HSET", keyMigration, "seen_ms", "1", "heartbeat_ms", "1") // long ago
	source.Kill()
	source.Restart() // empty, and its offsets begin again
	replace := func(c *Config) { c.OnExisting = ExistingReplace }
	target.Must("DEL", "none")
	for _, k := range target.Must("KEYS", "*").([]any) {
		if !strings.HasPrefix(k.(string), "__surecut") {
			target.Must("DEL", k.(string))
		}
	}
	r = begin(t, u, t.TempDir(), replace)
	r.caughtUp()
	writeTo(t, source, false)()
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{})
}

// TestRefused: a command that the target refuses has all of its keys copied, and so has one that finds no key there.
func TestRefused(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	u := urls{source.URL(), target.URL()}
	r := begin(t, u, t.TempDir(), nil)
	for i := range 20 {
		source.Must("SET", "from:"+strconv.Itoa(i), "v")
		source.Must("RPUSH", "list:"+strconv.Itoa(i), "a")
		source.Must("SET", "renew:"+strconv.Itoa(i), "v")
	}
	r.caughtUp()
	for i := range 20 {
		target.Must("DEL", "from:"+strconv.Itoa(i), "renew:"+strconv.Itoa(i))
		target.Must("SET", "list:"+strconv.Itoa(i), "of another type")
	}
	for i := range 20 {
		source.Must("RENAME", "from:"+strconv.Itoa(i), "to:"+strconv.Itoa(i))
		source.Must("RPUSH", "list:"+strconv.Itoa(i), "b")
		source.Must("EXPIRE", "renew:"+strconv.Itoa(i), "5000")
	}
	r.caughtUp()
	report := r.stop()
	addsUp(t, report)
	if report.Counters.CommandsRepaired < 60 {
		t.Errorf("repaired: %+v", report.Counters)
	}
	equal(t, u, dataset.CompareOptions{})
}
