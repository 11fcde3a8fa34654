package stream

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb/fixtures"
	"surecut/internal/resp"
	"surecut/internal/spool"
	"surecut/migrator/internal/target"
)

// stream begins a spool with bytes, in frames of at most size bytes.
func spoolOf(t *testing.T, data []byte, size int) *spool.Log {
	t.Helper()
	log, err := spool.Open(t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	if err := log.Start("id", 100); err != nil {
		t.Fatal(err)
	}
	for i := int64(1); len(data) > 0; i++ {
		n := min(size, len(data))
		if err := log.Append(i, data[:n]); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	return log
}

// feedOf feeds what a spool holds to its end, as that of a link that ends does.
func feedOf(t *testing.T, log *spool.Log, filter *keyspace.Filter, db int) *SpoolFeed {
	t.Helper()
	from, err := NewSpoolFeed(log, filter, Mark{Offset: 100, DB: db}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { from.Close() })
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return from
}

func groupsOf(t *testing.T, log *spool.Log, db int) ([]group, error) {
	t.Helper()
	out := make(chan stretch, 100000)
	err := feedOf(t, log, &keyspace.Filter{}, db).run(t.Context(), out)
	var all []group
	for c := range out {
		all = append(all, c.groups...)
	}
	return all, err
}

func encode(lines ...string) []byte {
	var out []byte
	for _, line := range lines {
		var args [][]byte
		for _, w := range strings.Fields(line) {
			args = append(args, []byte(w))
		}
		out = resp.AppendCommand(out, args...)
	}
	return out
}

func TestParser(t *testing.T) {
	for _, c := range []struct {
		name, why string
		stream    []byte
		want      string // db:command of each group, [ ] around one, /n control commands, @db after it
	}{
		{"single", "every command is a group", encode("SET a 1", "DEL a"), "[3:SET]/0@3 [3:DEL]/0@3"},
		{"select", "the database lasts", encode("SELECT 5", "SET a 1", "PING"), "[]/1@5 [5:SET]/0@5 []/1@5"},
		{"group", "MULTI ... EXEC is one", encode("MULTI", "INCR a", "INCR b", "EXEC", "INCR c"), "[3:INCR 3:INCR]/2@3 [3:INCR]/0@3"},
		{"select inside", "7.0 selects inside of a group", encode("multi", "SELECT 1", "INCR a", "SELECT 2", "INCR b", "exec", "INCR c"), "[1:INCR 2:INCR]/4@2 [2:INCR]/0@2"},
		{"cut-off command", "its bytes come again", encode("SET a 1", "SET b 2")[:40], "[3:SET]/0@3"},
		{"cut-off group", "it is all or nothing", append(encode("SET a 1"), encode("MULTI", "INCR a")...), "[3:SET]/0@3"},
		{"keep-alive", "a bare newline counts as bytes", append([]byte("\n\n"), encode("SET a 1")...), "[3:SET]/0@3"},
		{"lone EXEC", "a checkpoint within a group leaves its end", encode("SET a 1", "EXEC", "SET b 1"), "[3:SET]/0@3 []/1@3 [3:SET]/0@3"},
		{"empty", "nothing is no error", nil, ""},
	} {
		for _, size := range []int{1, 7, 1 << 20} {
			t.Run(fmt.Sprintf("%s by %d", c.name, size), func(t *testing.T) {
				groups, err := groupsOf(t, spoolOf(t, c.stream, size), 3)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				at, db := int64(100), 3
				for _, g := range groups {
					if g.start != at || g.end <= g.start || g.startDB != db {
						t.Errorf("group from %d to %d of database %d behind %d of %d", g.start, g.end, g.startDB, at, db)
					}
					at, db = g.end, g.db
					var names []string
					for _, c := range g.commands {
						if c.end <= g.start || c.end > g.end {
							t.Errorf("a command ends at %d, its group lies from %d to %d", c.end, g.start, g.end)
						}
						names = append(names, fmt.Sprintf("%d:%s", c.db, c.args[0]))
					}
					got = append(got, fmt.Sprintf("[%s]/%d@%d", strings.Join(names, " "), g.control, g.db))
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("%s: got %s, want %s", c.why, strings.Join(got, " "), c.want)
				}
			})
		}
	}
	t.Run("damaged", func(t *testing.T) {
		if _, err := groupsOf(t, spoolOf(t, append(encode("SET a 1"), "*x\r\n"...), 9), 0); err == nil || !strings.Contains(err.Error(), "offset") {
			t.Errorf("a stream that is none gave %v", err)
		}
	})
}

// TestParserGathers: what the spool holds becomes one stretch, however many parts it was received in.
func TestParserGathers(t *testing.T) {
	const parts = 1000
	command := encode("SET a 1")
	out := make(chan stretch, parts)
	p := feedOf(t, spoolOf(t, bytes.Repeat(command, parts), len(command)), &keyspace.Filter{}, 0)
	if err := p.run(t.Context(), out); err != nil || len(out) != 1 {
		t.Errorf("%d stretches for what lay in the spool, %v", len(out), err)
	}
}

// TestParserOnRecordings: every recorded stream parses to its last byte, wherever the reads end.
func TestParserOnRecordings(t *testing.T) {
	for _, f := range fixtures.All(t) {
		for _, size := range []int{13, 64 << 10} {
			groups, err := groupsOf(t, spoolOf(t, f.Stream(), size), 0)
			if err != nil {
				t.Fatal(err)
			}
			if end := groups[len(groups)-1].end; end != 100+int64(len(f.Stream())) {
				t.Errorf("%s by %d: ends at %d of %d", f.Version, size, end, 100+len(f.Stream()))
			}
		}
	}
}

// TestParserObserves: whoever watches sees the source's own names, databases and transactions, and no keep-alives.
func TestParserObserves(t *testing.T) {
	log := spoolOf(t, encode("SELECT 2", "SET a 1", "PING", "REPLCONF GETACK *", "MULTI", "SET b 1", "SELECT 3", "RENAME b c", "EXEC"), 5)
	p := feedOf(t, log, &keyspace.Filter{DBPrefix: map[int]string{2: "two:"}}, 0)
	var seen []string
	p.observe = func(db int, args [][]byte, at time.Time) {
		seen = append(seen, fmt.Sprintf("%d %s %d", db, bytes.Join(args, []byte(" ")), at.UnixMilli()))
	}
	out := make(chan stretch, 100)
	if err := p.run(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	times := 0
	for i, s := range seen {
		if at := strings.LastIndexByte(s, ' '); s[at:] != " 0" {
			times++
			seen[i] = s[:at]
		}
	}
	want := "0 SELECT 2, 2 SET a 1, 2 MULTI, 2 SET b 1, 2 SELECT 3, 3 RENAME b c, 3 EXEC"
	if got := strings.Join(seen, ", "); got != want || times != len(seen) {
		t.Errorf("seen %s, %d times; want %s", got, times, want)
	}
}

// TestParserWaits: of what lies in the spool no more is parsed ahead than memory allows, however large its commands are.
func TestParserWaits(t *testing.T) {
	const values, size = 20, 1 << 20
	log := spoolOf(t, bytes.Repeat(encode("SET a "+strings.Repeat("v", size)), values), 4<<20)
	p := feedOf(t, log, &keyspace.Filter{}, 0)
	out, over := make(chan stretch, 1024), make(chan error, 1)
	go func() { over <- p.run(t.Context(), out) }()
	for deadline := time.Now().Add(10 * time.Second); len(out) < ParsedBytes/size-1 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	if n := len(out); n == 0 || n > ParsedBytes/size {
		t.Errorf("%d commands of 1 MiB are waiting", n)
	}
	d, n := newTestDispatcher(newTestStream(t), &target.Checkpoint{Offset: 100}), 0
	go func() {
		for _, lane := range d.lanes {
			for lane.take() != nil {
			}
		}
	}()
	defer d.lane(keyspace.Slot("a")).stop()
	for s := range out {
		for d.open, d.at = s, 0; d.pending(); n++ {
			if err := d.step(t.Context(), d.take()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := <-over; err != nil || n != values {
		t.Errorf("%d of %d commands, %v", n, values, err)
	}
}
