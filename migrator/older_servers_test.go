//go:build servers

package migrator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// modern writes commands that came after 2.8, in forms whose repetition or loss shows, until the function that it gives is called.
func modern(t testing.TB, s *servers.Server, streams bool) (stop func()) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr}, ForceSingleClient: true, DisableCache: true, AlwaysRESP2: true, DisableRetry: true})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var over atomic.Bool
	var written atomic.Int64
	go func() {
		defer close(done)
		defer client.Close()
		for n := 0; !over.Load(); n++ {
			var cmds []rueidis.Completed
			add := func(line string) { cmds = append(cmds, client.B().Arbitrary(strings.Fields(line)...).Build()) }
			k := func(kind string) string { return kind + ":" + strconv.Itoa(rng.IntN(20)) }
			for range 16 {
				switch rng.IntN(24) {
				case 0, 1, 2:
					add(fmt.Sprintf("RPUSH %s %d %d", k("l"), n, rng.IntN(9)))
				case 3:
					add(fmt.Sprintf("LMOVE %s %s LEFT RIGHT", k("l"), k("l")))
				case 4:
					add(fmt.Sprintf("LMOVE %s %s RIGHT LEFT", k("l"), k("l")))
				case 5:
					add(fmt.Sprintf("LMPOP 2 %s %s LEFT COUNT 2", k("l"), k("l")))
				case 6, 7:
					add(fmt.Sprintf("ZADD %s GT CH %d a %d b %d c", k("z"), rng.IntN(99), rng.IntN(99), rng.IntN(99)))
				case 8:
					add(fmt.Sprintf("ZADD %s LT %d a %d b", k("z"), rng.IntN(99), rng.IntN(99)))
				case 9:
					add(fmt.Sprintf("ZMPOP 1 %s MAX COUNT 1", k("z")))
				case 10, 11:
					add(fmt.Sprintf("HSET %s a %d b %d c %d", k("h"), n, rng.IntN(9), rng.IntN(9)))
				case 12:
					add(fmt.Sprintf("SET %s %d.5 EX 10000", k("f"), rng.IntN(9)))
				case 13, 14:
					add(fmt.Sprintf("INCRBYFLOAT %s 1.125", k("f")))
				case 15:
					add(fmt.Sprintf("GETEX %s EX 20000", k("f")))
				case 16:
					add("GETDEL " + k("f"))
				case 17:
					add(fmt.Sprintf("UNLINK %s %s", k("z"), k("h")))
				case 18:
					add(fmt.Sprintf("SADD %s %d %d %d", k("s"), n, n+1, n+2))
					add(fmt.Sprintf("SPOP %s 2", k("s")))
				case 19:
					add(fmt.Sprintf("EXPIRE %s 9000 NX", k("s")))
				default:
					x := k("x")
					if !streams {
						add("APPEND " + k("a") + " x")
						break
					}
					add(fmt.Sprintf("XADD %s MAXLEN ~ 50 LIMIT 10 * f %d", x, n))
					add(fmt.Sprintf("XADD %s NOMKSTREAM MINID ~ %d * g %d", x, time.Now().UnixMilli()-500, n))
					add(fmt.Sprintf("XGROUP CREATE %s g 0", x))
					add(fmt.Sprintf("XREADGROUP GROUP g c%d COUNT 1 STREAMS %s >", rng.IntN(3), x))
					add(fmt.Sprintf("XAUTOCLAIM %s g c9 0 0 COUNT 1", x))
					add(fmt.Sprintf("XTRIM %s MAXLEN 40", x))
				}
			}
			if n%50 == 0 {
				add(fmt.Sprintf("COPY %s %s REPLACE", k("l"), k("l")))
				add(fmt.Sprintf("ZRANGESTORE %s %s 0 1", k("z"), k("z")))
			}
			add("MULTI")
			add("INCR " + k("m"))
			add(fmt.Sprintf("LMOVE %s %s LEFT LEFT", k("l"), k("l")))
			add("INCR " + k("m"))
			add("EXEC")
			for _, r := range client.DoMulti(context.Background(), cmds...) {
				if r.NonRedisError() != nil {
					return
				}
			}
			written.Add(int64(len(cmds)))
			time.Sleep(10 * time.Millisecond) // what an older target lacks is copied key by key, which a busy machine must keep up with
		}
	}()
	poll(t, "traffic", func() bool { return written.Load() > 100 })
	return func() {
		over.Store(true)
		<-done
		t.Logf("%d commands of traffic", written.Load())
	}
}

// TestOlderTargets migrates live traffic of new commands to targets that lack them, under crashes.
func TestOlderTargets(t *testing.T) {
	for _, image := range servers.Images() {
		t.Run(strings.NewReplacer("/", "-", ":", "-").Replace(image), func(t *testing.T) {
			source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, image)
			streams := target.Number() >= 60000 // before, the comparison has no XINFO STREAM FULL to read them by
			u := urls{source.URL(), target.URL()}
			stop := modern(t, source, streams)
			dir := t.TempDir()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 4))
			for range 3 {
				r := begin(t, u, dir, nil)
				time.Sleep(time.Duration(300+rng.IntN(400)) * time.Millisecond)
				r.abort()
			}
			r := begin(t, u, dir, nil)
			r.caughtUp()
			time.Sleep(500 * time.Millisecond) // of traffic while it has caught up
			stop()
			r.caughtUp()
			report := r.stop()
			addsUp(t, report)
			for _, p := range report.Problems {
				t.Errorf("%+v", p)
			}
			t.Logf("%+v", report.Counters)
			equal(t, u, dataset.CompareOptions{})
		})
	}
}

// TestVerbatimScripts: a source that replicates scripts as they were called names them by their SHA1, which a node of the target, or
// a target that was restarted, need not know.
func TestVerbatimScripts(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"standalone", "cluster"} {
		t.Run(to, func(t *testing.T) {
			source := servers.Standalone(t, "redis:6.0", "--lua-replicate-commands", "no")
			var target *servers.Server
			if to == "cluster" {
				target = servers.Cluster(t, "redis:7.0", 3, 0)[0]
			} else {
				target = servers.Standalone(t, "redis:7.0")
			}
			u := urls{source.URL(), target.URL()}
			early := fmt.Sprint(source.Must("SCRIPT", "LOAD", "return redis.call('INCRBY',KEYS[1],ARGV[1])"))
			dir := t.TempDir()
			r := begin(t, u, dir, nil)
			r.caughtUp()
			call := func(sha string) {
				for i := range 100 {
					source.Must("EVALSHA", sha, "1", "n:"+strconv.Itoa(i), "7")
				}
			}
			late := fmt.Sprint(source.Must("SCRIPT", "LOAD", "redis.call('RPUSH',KEYS[1]..':l',ARGV[1]) return redis.call('APPEND',KEYS[1],'x')"))
			call(early)
			r.caughtUp()
			r.abort()
			// the target forgets, and the run that resumes is sent SHA1s alone
			for _, shard := range openSide(t, u.target).Shards() {
				addr := shard.Primary.Addr
				c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true, AlwaysRESP2: true})
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Do(t.Context(), c.B().ScriptFlush().Build()).Error(); err != nil {
					t.Fatal(err)
				}
				c.Close()
			}
			r = begin(t, u, dir, nil)
			call(early)
			r.caughtUp()            // keys of scripts are copied before: what such a script does beside its keys would be reported
			if to == "standalone" { // its undeclared keys lie in other slots
				call(late)
			}
			r.caughtUp()
			report := r.stop()
			addsUp(t, report)
			if report.Counters.CommandsRepaired+report.Counters.CommandsReported > 0 || len(report.Problems) > 0 {
				t.Errorf("%+v %v", report.Counters, report.Problems)
			}
			equal(t, u, dataset.CompareOptions{})
		})
	}
}

// TestScriptsThatDiffer: what a verbatim script reads in another order on a newer target, or draws by lot, is copied; where it declares no
// keys, that is reported.
func TestScriptsThatDiffer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, script string
		keys         int
		problems     bool
	}{
		{"order", "for _, m in ipairs(redis.call('SMEMBERS',KEYS[2])) do redis.call('RPUSH',KEYS[1],m) end", 2, false},
		{"order of a hash", "redis.call('RPUSH',KEYS[1],unpack(redis.call('HKEYS',KEYS[3])))", 3, false},
		{"chance", "redis.call('RPUSH',KEYS[1],math.random(1000000000))", 1, false},
		{"undeclared", "redis.call('RPUSH','list:'..ARGV[1],unpack(redis.call('SMEMBERS','set')))", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			source := servers.Standalone(t, "redis:6.0", "--lua-replicate-commands", "no")
			target := servers.Standalone(t, "redis:7.0")
			u := urls{source.URL(), target.URL()}
			for i := range 50 {
				source.Must("SADD", "set", fmt.Sprint("member", i))
				source.Must("HSET", "hash", fmt.Sprint("field", i), strings.Repeat("x", 100))
			}
			r := begin(t, u, t.TempDir(), nil)
			r.caughtUp()
			for i := range 10 {
				keys := []string{"list:" + strconv.Itoa(i), "set", "hash"}[:tt.keys]
				source.Must(slices.Concat([]string{"EVAL", tt.script, strconv.Itoa(tt.keys)}, keys, []string{strconv.Itoa(i)})...)
			}
			r.caughtUp()
			report := r.stop()
			addsUp(t, report)
			if tt.problems != (len(report.Problems) > 0) || len(report.Problems) > 1 {
				t.Errorf("%v", report.Problems)
			}
			if !tt.problems {
				equal(t, u, dataset.CompareOptions{})
			}
		})
	}
}

// TestScriptsAcrossSlots: the keys of a script that a cluster cannot run are copied; that is all of it where the script touches no others.
func TestScriptsAcrossSlots(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, script string
		problems     bool
	}{
		{"declared", "redis.call('SET',KEYS[1],ARGV[1]) return redis.call('APPEND',KEYS[2],'y')", false},
		{"undeclared", "redis.call('SET',KEYS[1],ARGV[1]) return redis.call('APPEND',KEYS[2]..':x','y')", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			source := servers.Standalone(t, "redis:6.0", "--lua-replicate-commands", "no")
			target := servers.Cluster(t, "redis:7.0", 3, 0)[0]
			u := urls{source.URL(), target.URL()}
			r := begin(t, u, t.TempDir(), nil)
			r.caughtUp()
			for i := range 20 {
				source.Must("EVAL", tt.script, "2", "a:"+strconv.Itoa(i), "b:"+strconv.Itoa(i), "v")
			}
			r.caughtUp()
			report := r.stop()
			addsUp(t, report)
			if report.Counters.CommandsRepaired == 0 || tt.problems != (len(report.Problems) > 0) {
				t.Errorf("%+v %v", report.Counters, report.Problems)
			}
			if !tt.problems {
				equal(t, u, dataset.CompareOptions{})
			}
		})
	}
}
