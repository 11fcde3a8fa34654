//go:build servers

package command

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
)

// TestServersTakeRewritten: what a command becomes for an older server does there what the command does on one that knows it. Every
// image takes the part of the older server, as far as it understands what a command becomes.
func TestServersTakeRewritten(t *testing.T) {
	const model = "redis:8.0"
	servers.Require(t, model)
	known := servers.Standalone(t, model)
	for _, image := range servers.Images() {
		t.Run(strings.NewReplacer("/", "-", ":", "-").Replace(image), func(t *testing.T) {
			s := servers.Standalone(t, image)
			number := versionNumber(s.Info("server")["redis_version"])
			for _, tt := range rewriteSamples {
				if tt.since > number {
					continue
				}
				for _, old := range []int{v28, v32, v40, v50, v60, v62, v70, v74} {
					if old <= number {
						sameEffect(t, known, s, DialectOf(old, 0), old, tt)
					}
				}
			}
		})
	}
}

type rewriteSample struct {
	setup, line string
	since       int // version that the server needs for what the command becomes
}

var rewriteSamples = []rewriteSample{
	{"SET k v", "UNLINK k", 0},
	{"SET k v", "GETDEL k", 0},
	{"SET k 10.5 PX 9000000", "SET k 11.25 KEEPTTL", 0},
	{"SET k 10.5", "SET k 9 KEEPTTL", 0},
	{"DEL k", "SET k 9 KEEPTTL", 0},
	{"SET k 9 PX 9000000", "SET k 1000 KEEPTTL", 0},
	{"HMSET h a 1", "HSET h a 2 b 3", 0},
	{"RPUSH l a b c", "LMOVE l m RIGHT LEFT", 0},
	{"RPUSH l a b c", "LMOVE l m LEFT RIGHT", 0},
	{"RPUSH l a b c", "LMOVE l l LEFT RIGHT", 0},
	{"RPUSH l a b c", "LMOVE l m LEFT LEFT", 0},
	{"RPUSH l a", "LMOVE l m RIGHT RIGHT", 0},
	{"RPUSH l a b c d", "LPOP l 3", 0},
	{"RPUSH l a b c d", "RPOP l 3", 0},
	{"RPUSH l a b", "RPOP l 3", 0},
	{"RPUSH l a", "RPUSHX l b c", 0},
	{"ZADD z 1 a 2 b", "ZADD z GT CH 5 a 1 b 7 c", 0},
	{"ZADD z 1 a 2 b", "ZADD z XX LT 0.5 a 9 b 7 c", 0},
	{"ZADD z 1 a 2 b", "ZADD z NX 5 a 7 c", 0},
	{"ZADD z 1.1 a", "ZADD z GT 1.1000000000000003 a 3 b", 0},
	{"ZADD z 1 a 2 b", "ZADD z XX GT -inf a +inf b", 0},
	{"ZADD z 1 a", "ZADD z GT INCR 5 a", 0},
	{"ZADD z 1 a", "ZADD z CH 5 a 6 b", 0},
	{"ZADD z 1 a 2 b 3 c", "ZPOPMIN z 2", 0},
	{"ZADD z 1 a 2 b 3 c", "ZPOPMAX z", 0},
	{"ZADD z 1 a 2 b 3 c", "ZPOPMAX z 5", 0},
	{"XADD s 1-1 f v", "XADD s NOMKSTREAM 2-1 f w", v50},
	{"XADD s 1-1 f v; XADD s 2-1 f v; XADD s 2-2 f v", "XADD s MINID = 2-1 LIMIT 0 3-1 f w", v50},
	{"XADD s 1-1 f v; XADD s 2-1 f v; XADD s 2-2 f v", "XTRIM s MINID = 2", v50},
	{"XADD s 1-1 f v; XADD s 2-1 f v; XADD s 2-2 f v", "XTRIM s MINID 9", v50},
	{"XADD s 1-1 f v; XGROUP CREATE s g 0", "XGROUP CREATECONSUMER s g c", v50},
	{"XADD s 1-1 f v", "XGROUP CREATE s g 1-1 ENTRIESREAD 1", v50},
	{"HMSET h a 1 b 2 c 3", "HGETDEL h FIELDS 2 a b", 0},
	{"HMSET h a 1 b 2", "HPERSIST h FIELDS 1 a", 0},
	{"SET m x", "GEORADIUS z 15 37 200 km STORE m", v32},
	{"SET m x", "GEORADIUSBYMEMBER z a 200 km STOREDIST m", v32},
	{"SET m x; GEOADD z 13.361389 38.115556 a 15.087269 37.502669 b", "GEORADIUS z 15 37 200 km STORE m", v32},
	{"ZADD m 1 x; GEOADD z 13.361389 38.115556 a 15.087269 37.502669 b", "GEORADIUS z 15 37 1 m STORE m", v32},
}

// sameEffect runs a sample as it is on one server, and as it becomes on the other.
func sameEffect(t *testing.T, known, s *servers.Server, d *Dialect, old int, tt rewriteSample) {
	t.Helper()
	cmds, outcome := d.Rewrite(nil, words(tt.line))
	if outcome != Changed {
		return
	}
	for _, server := range []*servers.Server{known, s} {
		server.Must("FLUSHALL")
		for setup := range strings.SplitSeq(tt.setup, ";") {
			server.Must(strings.Fields(setup)...)
		}
	}
	if strings.Contains(tt.line, "LIMIT") { // which a client may not send beside =
		known.Must(strings.Fields(strings.Replace(tt.line, "LIMIT 0 ", "", 1))...)
	} else if err := known.Do(strings.Fields(tt.line)...).Error(); err != nil {
		t.Fatalf("%s: %v", tt.line, err)
	}
	for _, c := range cmds {
		if err := s.Do(texts(c)...).Error(); err != nil && err.Error() != "redis nil message" {
			t.Errorf("%s for %d became %.60q: %v", tt.line, old, c, err)
		}
	}
	for _, k := range []string{"k", "h", "l", "m", "z", "s"} {
		if want, got := shown(known, k), shown(s, k); want != got {
			t.Errorf("%s; %s for %d became %.80q: %s is %s, want %s", tt.setup, tt.line, old, cmds, k, got, want)
		}
	}
}

// shown is a value as text, with whether it expires.
func shown(s *servers.Server, k string) string {
	kind := fmt.Sprint(s.Must("TYPE", k))
	text := kind
	switch kind {
	case "string":
		text += fmt.Sprint(s.Must("GET", k))
	case "list":
		text += fmt.Sprint(s.Must("LRANGE", k, "0", "-1"))
	case "zset":
		text += fmt.Sprint(s.Must("ZRANGE", k, "0", "-1", "WITHSCORES"))
	case "hash":
		for _, f := range []string{"a", "b", "c"} {
			v, _ := s.Do("HGET", k, f).ToString()
			text += " " + f + "=" + v
		}
	case "stream":
		text += fmt.Sprint(s.Must("XRANGE", k, "-", "+"))
		groups, _ := s.Do("XINFO", "GROUPS", k).ToArray()
		for _, g := range groups {
			m, _ := g.AsStrMap()
			text += fmt.Sprintf(" group %s at %s, %s consumers", m["name"], m["last-delivered-id"], m["consumers"])
		}
	}
	ttl, _ := s.Do("PTTL", k).AsInt64()
	return text + " expires " + strconv.FormatBool(ttl > 8_000_000)
}

// TestSwapScript: the script does what SWAPDB does, expiries and keys of both databases included.
func TestSwapScript(t *testing.T) {
	for _, image := range servers.Images() {
		t.Run(strings.NewReplacer("/", "-", ":", "-").Replace(image), func(t *testing.T) {
			s := servers.Standalone(t, image)
			in := func(db int, args ...string) string {
				c := s.Client(db)
				m, err := c.Do(t.Context(), c.B().Arbitrary(args...).Build()).ToAny()
				if err != nil {
					return err.Error()
				}
				return fmt.Sprint(m)
			}
			at := strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10)
			in(1, "SET", "one", "1")
			in(1, "SET", "both", "first")
			in(1, "PEXPIREAT", "both", at)
			in(2, "SET", "two", "2")
			in(2, "RPUSH", "both", "second")
			args := DialectOf(v32, 0).SwapDB(1, 2, 0)
			if err := s.Do(args...).Error(); err != nil {
				t.Fatal(err)
			}
			got := []string{in(1, "GET", "two"), in(1, "LRANGE", "both", "0", "-1"), in(1, "TTL", "both"), in(1, "DBSIZE"),
				in(2, "GET", "one"), in(2, "GET", "both"), in(2, "DBSIZE")}
			if want := "2 [second] -1 2 1 first 2"; strings.Join(got, " ") != want {
				t.Errorf("%q, want %s", got, want)
			}
			if ttl, err := strconv.Atoi(in(2, "TTL", "both")); err != nil || ttl < 3500 {
				t.Errorf("the expiry is %d s away, %v", ttl, err)
			}
		})
	}
	if got := DialectOf(v40, 0).SwapDB(1, 2, 0); strings.Join(got, " ") != "SWAPDB 1 2" {
		t.Errorf("%q", got)
	}
}
