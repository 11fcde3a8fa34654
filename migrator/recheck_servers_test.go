//go:build servers

package migrator

import (
	"fmt"
	"strings"
	"testing"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// TestExistingBefore50: RESTORE of an old target takes no date; what gives it must not touch a key that stays as it was.
func TestExistingBefore50(t *testing.T) {
	if !servers.Exists("redis:4.0") {
		t.Skip("no image of redis:4.0")
	}
	source, target := servers.Standalone(t, "redis:4.0"), servers.Standalone(t, "redis:4.0")
	source.Must("SET", "kept", "source", "EX", "90000")
	target.Must("SET", "kept", "target")
	for i := range 700 { // more than a batch
		source.Must("SET", fmt.Sprintf("new:%d", i), "v", "EX", "90000")
	}
	r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), func(c *Config) { c.Mode, c.OnExisting = ModeFull, ExistingKeep })
	r.wait()
	if r.err != nil {
		t.Fatal(r.err)
	}
	addsUp(t, r.m.Report())
	if v, ttl := target.Must("GET", "kept"), target.Must("TTL", "kept"); v != "target" || ttl != int64(-1) {
		t.Errorf("the target's own key is %v with TTL %v", v, ttl)
	}
	if c := r.m.Report().Counters; c.SnapshotKept != 1 || c.SnapshotApplied != 700 {
		t.Errorf("counted %+v", c)
	}
	for _, i := range []int{0, 699} {
		if ttl := target.Must("TTL", fmt.Sprintf("new:%d", i)).(int64); ttl < 80000 || ttl > 90000 {
			t.Errorf("new:%d has TTL %d", i, ttl)
		}
	}
}

// TestStallOutlastsExpiries: a target that stands still runs what it was sent only after keys of it have expired. What was
// made of such a key, and what of that, is copied as well. Through a proxy there is no transaction to ask for the key in.
func TestStallOutlastsExpiries(t *testing.T) {
	t.Run("one server", func(t *testing.T) {
		target := servers.Standalone(t, "redis:7.0")
		stallOutlastsExpiries(t, servers.Standalone(t, "redis:7.0"), target, target.URL())
	})
	t.Run("through a proxy", func(t *testing.T) {
		target := servers.Standalone(t, "redis:6.0")
		stallOutlastsExpiries(t, servers.Standalone(t, "redis:6.0"), target, "redis+codis://"+servers.CodisStandIn(t, target).Addr)
	})
}

func stallOutlastsExpiries(t *testing.T, source, target *servers.Server, targetURL string) {
	fill(t, source, 100)
	r := begin(t, urls{source.URL(), targetURL}, t.TempDir(), nil)
	r.caughtUp()
	poll(t, "end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
	const n = 20
	for i := range n {
		source.Must("SET", fmt.Sprintf("counter:%d", i), "5", "PX", "5000")
		source.Must("SADD", fmt.Sprintf("set:%d", i), "a", "b")
		source.Must("PEXPIRE", fmt.Sprintf("set:%d", i), "5000")
		source.Must("SET", fmt.Sprintf("kept:%d", i), "5", "PX", "5000")
	}
	r.caughtUp()
	target.Pause()
	for i := range n {
		source.Must("INCR", fmt.Sprintf("counter:%d", i))
		source.Must("PEXPIRE", fmt.Sprintf("counter:%d", i), "600000")
		source.Must("SUNIONSTORE", fmt.Sprintf("union:%d", i), fmt.Sprintf("set:%d", i))
		source.Must("SUNIONSTORE", fmt.Sprintf("reunion:%d", i), fmt.Sprintf("union:%d", i))
		source.Must("APPEND", fmt.Sprintf("kept:%d", i), "7")
		source.Must("PERSIST", fmt.Sprintf("kept:%d", i))
	}
	poll(t, "expiry", func() bool { return source.Must("EXISTS", fmt.Sprintf("set:%d", n-1)) == int64(0) })
	target.Resume()
	r.caughtUp()
	poll(t, "end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
	addsUp(t, r.stop())
	equal(t, urls{source.URL(), target.URL()}, dataset.CompareOptions{})
}

// TestOutage: keys that expire on the target while nothing applies the stream, and that the source has changed, read, moved or
// renewed before they expired there.
func TestOutage(t *testing.T) {
	for _, v := range []string{"6.0", "8.0"} {
		t.Run(v, func(t *testing.T) {
			source, target := servers.Standalone(t, image(v)), servers.Standalone(t, image(v))
			u := urls{source.URL(), target.URL()}
			fill(t, source, 100)
			must := func(format string, args ...any) {
				t.Helper()
				source.Must(strings.Fields(fmt.Sprintf(format, args...))...)
			}
			dir := t.TempDir()
			r := begin(t, u, dir, nil)
			r.caughtUp()
			poll(t, "end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
			const n = 20
			kinds := []string{"counter", "counted", "hash", "list", "set", "zset", "persisted", "renamed"}
			for i := range n {
				must("SET counter:%d 5", i)
				must("SET counted:%d 5", i)
				must("SET persisted:%d 5", i)
				must("SET renamed:%d 5", i)
				must("HSET hash:%d f 1 g 2", i)
				must("RPUSH list:%d a b", i)
				must("SADD set:%d a b", i)
				must("ZADD zset:%d 1 a 2 b", i)
				for _, k := range kinds {
					must("PEXPIRE %s:%d 5000", k, i)
				}
				if v == "8.0" {
					must("HSET fields:%d f 1 g 2 h 3", i)
					must("HPEXPIRE fields:%d 5000 FIELDS 2 f g", i)
				}
			}
			r.caughtUp()
			r.abort()
			for i := range n {
				must("INCR counter:%d", i)
				must("PEXPIRE counter:%d 600000", i) // a counter that begins anew would take it
				must("INCR counted:%d", i)           // and is left to expire
				must("APPEND persisted:%d 5", i)
				must("PERSIST persisted:%d", i)
				must("HSET hash:%d f 3", i)
				must("EXPIRE hash:%d 700", i)
				must("RPOPLPUSH list:%d moved:%d", i, i)
				must("SUNIONSTORE union:%d set:%d", i, i)
				must("SUNIONSTORE reunion:%d union:%d", i, i)
				must("ZUNIONSTORE zunion:%d 2 zset:%d zset:%d WEIGHTS 2 3", i, i, i)
				must("RENAME renamed:%d other:%d", i, i)
				must("APPEND other:%d 5", i)
				must("PERSIST other:%d", i)
				if v == "8.0" {
					must("COPY zset:%d copied:%d", i, i)
					must("PERSIST copied:%d", i)
					must("HPERSIST fields:%d FIELDS 1 f", i)
					must("HINCRBY fields:%d g 1", i)
					must("HPEXPIRE fields:%d 600000 FIELDS 1 g", i)
				}
			}
			if ttl := source.Must("PTTL", "counter:0").(int64); ttl < 10000 {
				t.Errorf("counter:0 has the TTL %d ms", ttl)
			}
			poll(t, "expiry on the target", func() bool {
				for i := range n {
					for _, k := range kinds {
						if target.Must("EXISTS", fmt.Sprintf("%s:%d", k, i)) != int64(0) {
							return false
						}
					}
				}
				return v != "8.0" || target.Must("HLEN", "fields:0") == int64(1)
			})
			r = begin(t, u, dir, nil)
			r.caughtUp()
			poll(t, "end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
			addsUp(t, r.stop())
			equal(t, u, dataset.CompareOptions{})
		})
	}
}
