//go:build servers

package preflight

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
)

// ordinaryMove starts the servers of the most common migration: one server with a password and no replica, as its default
// configuration is, to a cluster of three.
func ordinaryMove(t *testing.T) (urls, *servers.Server) {
	t.Helper()
	source := servers.Standalone(t, "redis:7.0", "--requirepass", password)
	nodes := servers.Cluster(t, "redis:7.0", 3, 0, "--requirepass", password, "--masterauth", password)
	return urls{url(source), url(nodes[0])}, source
}

// fill writes keys of every type that applications use, and runs the commands that they run.
func fill(t *testing.T, s *servers.Server, keys int) {
	t.Helper()
	var commands [][]string
	for i := range keys {
		id := fmt.Sprint(i)
		commands = append(commands, []string{"SET", "session:" + id, strings.Repeat("x", 100), "EX", "86400"}, []string{"GET", "session:" + id},
			[]string{"HSET", "user:" + id, "name", "n" + id, "mail", "m" + id}, []string{"HGETALL", "user:" + id}, []string{"INCR", "hits:" + id})
	}
	commands = append(commands, []string{"ZADD", "board", "1", "a", "2", "b"}, []string{"RPUSH", "queue", "a", "b"}, []string{"SADD", "tags", "a", "b"},
		[]string{"XADD", "events", "*", "f", "v"}, []string{"MGET", "session:1", "session:2"}, []string{"DEL", "session:1", "session:2"},
		[]string{"EVAL", "return redis.call('incr', KEYS[1])", "1", "hits:1"})
	pipe(t, s, commands)
}

// alarms lists what was alarmed, and prints it.
func alarms(t *testing.T, rep Report) (ids []string) {
	t.Helper()
	for _, c := range rep.Checks {
		if c.Result == Alarm || c.Result == Fail {
			t.Logf("%s %s (%s): %s; wanted %s", c.Result, c.ID, c.Subject, c.Found, c.Wanted)
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// TestOrdinaryMove: whoever makes the most common move has few things to decide.
func TestOrdinaryMove(t *testing.T) {
	t.Parallel()
	move, source := ordinaryMove(t)
	fill(t, source, 2000)
	rep := check(t, move, nil)
	if ids := alarms(t, rep); len(ids) > 2 || rep.Verdict == Fail {
		t.Errorf("%d alarms, verdict %s, want at most two alarms: %v", len(ids), rep.Verdict, ids)
	}
}

// TestCheckDoesNotMeasureItself: one check after the other on servers that nobody uses finds the same each time, so that what was
// accepted of the first holds for the next.
func TestCheckDoesNotMeasureItself(t *testing.T) {
	move, source := ordinaryMove(t)
	fill(t, source, 10_000)
	first := check(t, move, nil)
	for range 2 {
		again := check(t, move, func(c *Config) { c.Accept = first.Unaccepted() })
		if ids := again.Unaccepted(); len(ids) > 0 {
			t.Errorf("alarms that the first check did not raise: %v", ids)
			alarms(t, again)
		}
		for _, id := range IDs() {
			if a, b := worst(first, id), worst(again, id); a.Result != b.Result || measured(id) && !strings.Contains(b.Wanted, "at 0 B/s") {
				t.Errorf("first %+v, then %+v", a, b)
			}
		}
	}
}

// measured are checks whose wanted value comes of the rate of writes, which is 0 where nobody writes.
func measured(id string) bool { return slices.Contains([]string{"backlog", "local_disk"}, id) }

// pipe sends commands in large pipelines.
func pipe(t *testing.T, s *servers.Server, commands [][]string) {
	t.Helper()
	client := s.Client(0)
	for some := range slices.Chunk(commands, 5000) {
		built := make([]rueidis.Completed, len(some))
		for i, words := range some {
			built[i] = client.B().Arbitrary(words...).Build()
		}
		for i, reply := range client.DoMulti(t.Context(), built...) {
			if err := reply.Error(); err != nil && !rueidis.IsRedisNil(err) {
				t.Fatalf("%v: %v", some[i], err)
			}
		}
	}
}

// TestRenamedCommands: a source that has renamed a writing command is told from one that has it no more.
func TestRenamedCommands(t *testing.T) {
	t.Parallel()
	for _, image := range []string{"redis:6.0", "redis:7.0", "redis:8.0"} {
		source := servers.Standalone(t, image, "--rename-command", "INCRBY", "ADDTO", "--rename-command", "XGROUP", "GROUPS", "--rename-command", "FLUSHALL", "")
		rep := check(t, urls{url(source), url(servers.Standalone(t, "redis:8.0"))}, nil)
		found := false
		for _, c := range rep.Checks {
			found = found || c.ID == "command_compatibility" && c.Result == Note && strings.Contains(c.Found, "INCRBY, XGROUP;")
		}
		if !found {
			t.Errorf("%s: not told in %+v", image, rep.Checks)
		}
	}
}
