//go:build servers

package scanner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/psync"
)

// fill writes keys of every type in two databases: 2000 small strings and one of each collection a hundred times.
func fill(s *servers.Server, databases ...int) (keys int64) {
	for _, db := range databases {
		c := s.Client(db)
		do := func(args ...string) {
			if err := c.Do(context.Background(), c.B().Arbitrary(args...).Build()).Error(); err != nil {
				panic(fmt.Sprintf("%v: %v", args, err))
			}
			keys++
		}
		for i := range 500 {
			do("SET", fmt.Sprintf("user:%d:name", i), strings.Repeat("x", i))
		}
		for i := range 100 {
			do("SETEX", fmt.Sprintf("session:%d", i), "3000", "x")
			do(slices.Concat([]string{"RPUSH", fmt.Sprintf("list:%d", i)}, many(i*3+1, 1))...)
			do(slices.Concat([]string{"SADD", fmt.Sprintf("set:%d", i)}, many(i*3+1, 1))...)
			do(slices.Concat([]string{"ZADD", fmt.Sprintf("zset:%d", i)}, many(i*3+1, 2))...)
			do(slices.Concat([]string{"HMSET", fmt.Sprintf("hash:%d", i)}, many(i*3+1, 2))...)
			if !knows(s, "XADD") {
				continue
			}
			for range 3 {
				do("XADD", fmt.Sprintf("stream:%d", i), "*", "f", "v")
			}
			keys -= 2
		}
		do("SET", "__surecut:own", "x")
		keys--
	}
	return keys
}

// knows tells whether the server has a command, which takes arguments.
func knows(s *servers.Server, command string) bool {
	err := s.Do(command).Error()
	return err == nil || !strings.HasPrefix(err.Error(), "unknown command")
}

// many gives n arguments of so many words each: numbers, that are scores and values too.
func many(n, words int) (args []string) {
	for i := range n {
		for range words {
			args = append(args, fmt.Sprint(i))
		}
	}
	return args
}

func TestLiveAndRDBAgree(t *testing.T) {
	t.Parallel()
	for _, image := range servers.Images() {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			s := servers.Standalone(t, image)
			want := fill(s, 0, 5)
			ctx, o := context.Background(), DefaultConfig()
			o.Touch = true // 2.8 evicts by use
			live, err := ScanLive(ctx, endpointtest.Open(t, s.URL()), o)
			if err != nil {
				t.Fatal(err)
			}
			checkSums(t, live)
			sizeBy, notes, prefixes := SizeByMemoryUsage, 0, 7
			if !knows(s, "MEMORY") { // before 4.0
				sizeBy, notes = SizeByEstimate, 1
			}
			if !knows(s, "XADD") { // before 5.0
				prefixes = 6
			}
			if live.Totals.Keys != want || live.Totals.SizeBy != sizeBy || live.Totals.Errors+live.Totals.Vanished != 0 || len(live.Notes) != notes {
				t.Errorf("live: %+v, notes %q; want %d keys", live.Totals, live.Notes, want)
			}
			file := scanFile(t, snapshotOf(t, s), nil)
			if live.Totals.Keys != file.Totals.Keys || live.Totals.Elements != file.Totals.Elements || live.Totals.NoTTL != file.Totals.NoTTL {
				t.Errorf("live %+v, file %+v", live.Totals, file.Totals)
			}
			if a, b := counts(live.ByType), counts(file.ByType); !slices.Equal(a, b) {
				t.Errorf("types: live %v, file %v", a, b)
			}
			if a, b := counts(live.ByPrefix), counts(file.ByPrefix); !slices.Equal(a, b) || len(a) != prefixes {
				t.Errorf("prefixes: live %v, file %v", a, b)
			}
			for i := range live.BySlot {
				if live.BySlot[i].Slot != file.BySlot[i].Slot || live.BySlot[i].Keys != file.BySlot[i].Keys {
					t.Fatalf("slots: live %+v, file %+v", live.BySlot[i], file.BySlot[i])
				}
			}
			for i := range live.TTL {
				if live.TTL[i].Keys != file.TTL[i].Keys {
					t.Errorf("times to live: live %+v, file %+v", live.TTL[i], file.TTL[i])
				}
			}
			named, err := ScanLive(ctx, endpointtest.Open(t, s.URL()+"/5"), DefaultConfig())
			if err != nil || named.Totals.Keys != want/2 {
				t.Errorf("database 5 of the URL: %+v, %v; want %d keys", named, err, want/2)
			}
		})
	}
}

// counts are keys and elements by name.
func counts(groups []Group) (out []string) {
	for _, g := range groups {
		out = append(out, fmt.Sprintf("%s: %d keys, %d elements", g.Name, g.Keys, g.Elements))
	}
	slices.Sort(out)
	return out
}

// snapshotOf returns a path of an RDB with what the server holds.
func snapshotOf(t *testing.T, s *servers.Server) string {
	t.Helper()
	ctx := context.Background()
	conn, err := endpointtest.Open(t, s.URL()).DialReplica(ctx, s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	session, err := psync.Start(ctx, conn, psync.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	f, err := os.Create(filepath.Join(t.TempDir(), "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.CopySnapshot(ctx, f, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// set writes a key to the node that owns it.
func set(t *testing.T, d *endpoint.Deployment, key string) {
	t.Helper()
	ctx := context.Background()
	node, ok := d.PrimaryOf(keyspace.Slot(key))
	if !ok {
		t.Fatalf("nobody owns the slot of %s", key)
	}
	c, err := d.Client(ctx, node.Addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(ctx, c.B().Set().Key(key).Value("v").Build()).Error(); err != nil {
		t.Fatal(err)
	}
}

func TestScanCluster(t *testing.T) {
	t.Parallel()
	image := servers.Images()[0]
	nodes := servers.Cluster(t, image, 2, 1)
	d := endpointtest.Open(t, "redis+cluster://"+nodes[0].Addr)
	ctx := context.Background()
	var want int64
	for i := range 500 {
		key := fmt.Sprintf("k:%d", i)
		set(t, d, key)
		want++
	}
	for _, from := range []string{FromPrimary, FromReplica} {
		deadline := time.Now().Add(time.Minute)
		for {
			o := DefaultConfig()
			o.ReadFrom = from
			b, err := ScanLive(ctx, d, o)
			if err == nil && b.Totals.Keys == want && b.Totals.Errors == 0 {
				checkSums(t, b)
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("from %s: %+v, %v; want %d keys", from, b, err, want)
			}
			time.Sleep(50 * time.Millisecond) // a replica follows a moment later
		}
	}
}

func TestKeysThatVanishOrHide(t *testing.T) {
	t.Parallel()
	image := servers.Images()[len(servers.Images())-1]
	s := servers.Standalone(t, image)
	for i := range 300 {
		s.Must("SET", fmt.Sprintf("open:%d", i), "x")
	}
	s.Must("SET", "secret:1", "x")
	s.Must("DEBUG", "SET-ACTIVE-EXPIRE", "0")
	for i := range 40 {
		s.Must("SET", fmt.Sprintf("open:short:%d", i), "x", "PX", "1")
	}
	time.Sleep(20 * time.Millisecond) // expired, and still in the table of keys
	s.Must("ACL", "SETUSER", "limited", "on", ">pw", "~open:*", "~__surecut*", "+@all")
	d := endpointtest.Open(t, strings.Replace(s.URL(), "redis://", "redis://limited:pw@", 1))
	b, err := ScanLive(context.Background(), d, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, b)
	if b.Totals.Keys != 300 || b.Totals.Errors != 1 {
		t.Errorf("totals %+v, want 300 keys and one error", b.Totals)
	}
	if !slices.ContainsFunc(b.Notes, func(n string) bool { return strings.Contains(n, "1 keys could not be read") }) {
		t.Errorf("notes %q do not say so", b.Notes)
	}

	s.Must("ACL", "SETUSER", "limited", "-memory")
	d = endpointtest.Open(t, strings.Replace(s.URL(), "redis://", "redis://limited:pw@", 1))
	if b, err = ScanLive(context.Background(), d, DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	if b.Totals.SizeBy != SizeByEstimate || b.Totals.Keys != 300 || b.Totals.Bytes < 300 || len(b.Notes) != 2 || strings.Contains(strings.Join(b.Notes, ""), "pw") {
		t.Errorf("without MEMORY USAGE: %+v, notes %q", b.Totals, b.Notes)
	}

	s.Must("ACL", "SETUSER", "limited", "resetkeys", "~nothing")
	d = endpointtest.Open(t, strings.Replace(s.URL(), "redis://", "redis://limited:pw@", 1))
	if b, err = ScanLive(context.Background(), d, DefaultConfig()); err == nil {
		t.Errorf("nothing could be read, and that was called a result: %+v", b.Totals)
	}
}

func TestRateAndCancel(t *testing.T) {
	s := servers.Standalone(t, servers.Images()[0])
	fill(s, 0)
	o := DefaultConfig()
	o.Rate = 4000
	calls := 0
	o.Progress = func(done, total int64) {
		if calls++; done > total+total/10 {
			t.Errorf("progress %d of %d", done, total)
		}
	}
	begin := time.Now()
	b, err := ScanLive(context.Background(), endpointtest.Open(t, s.URL()), o)
	if err != nil {
		t.Fatal(err)
	}
	if least := time.Duration(b.Totals.Keys-scanCount) * time.Second / time.Duration(o.Rate); time.Since(begin) < least {
		t.Errorf("%d keys took %v at %d a second", b.Totals.Keys, time.Since(begin), o.Rate)
	}
	if calls == 0 {
		t.Error("no progress was reported")
	}
	o.Rate = 10
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if b, err := ScanLive(ctx, endpointtest.Open(t, s.URL()), o); err == nil {
		t.Errorf("a canceled scan gave %+v", b.Totals)
	}
}

// TestScanHeatsNoKey: a server that evicts by frequency counts every use, so that none may be counted after a scan.
func TestScanHeatsNoKey(t *testing.T) {
	t.Parallel()
	for _, image := range servers.Must() {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			s := servers.Standalone(t, image, "--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lfu", "--lfu-log-factor", "0", "--lfu-decay-time", "0")
			fill(s, 0)
			used := func() (sum int64) {
				for _, key := range []string{"user:7:name", "list:9", "set:9", "zset:9", "hash:9", "stream:9", "session:1"} {
					n, err := s.Do("OBJECT", "FREQ", key).AsInt64()
					if err != nil {
						t.Fatal(err)
					}
					sum += n
				}
				return sum
			}
			before := used()
			b, err := ScanLive(t.Context(), endpointtest.Open(t, s.URL()), DefaultConfig())
			if err != nil {
				t.Fatal(err)
			}
			checkSums(t, b)
			if after := used(); after != before {
				t.Errorf("the keys were used %d times before the scan, %d times after it", before, after)
			}
			if k := b.Top[0]; k.Frequency < 1 || k.IdleSeconds != unknown || k.Encoding == "" || k.Serialized < 1 || k.Node != s.Addr {
				t.Errorf("the largest key lacks a figure: %+v", k)
			}
			server, err := endpointtest.Open(t, s.URL()).Server(t.Context(), s.Addr)
			if err != nil {
				t.Fatal(err)
			}
			if counted := b.Totals.Elements > b.Totals.Keys; counted != (server.Number >= sinceNoTouch) || counted == (len(b.Notes) > 0) {
				t.Errorf("%d elements counted, notes %q", b.Totals.Elements, b.Notes)
			}
			if server.Number >= sinceNoTouch {
				return
			}
			s.Must("ACL", "SETUSER", "limited", "on", ">pw", "~*", "+@all", "-memory")
			if b, err := ScanLive(t.Context(), endpointtest.Open(t, strings.Replace(s.URL(), "redis://", "redis://limited:pw@", 1)), DefaultConfig()); !errors.Is(err, errNoSizes) {
				t.Errorf("neither sizes nor elements could be read, and that gave %+v, %v", b, err)
			}
			s.Must("CONFIG", "SET", "maxmemory", "0")
			if b, err = ScanLive(t.Context(), endpointtest.Open(t, s.URL()), DefaultConfig()); err != nil || b.Totals.Elements <= b.Totals.Keys || len(b.Notes) > 0 {
				t.Errorf("nothing is evicted without maxmemory: %+v, %v", b, err)
			}
			before = used()
			o := DefaultConfig()
			o.Touch = true
			if b, err = ScanLive(t.Context(), endpointtest.Open(t, s.URL()), o); err != nil {
				t.Fatal(err)
			}
			if after := used(); after == before || b.Totals.Elements <= b.Totals.Keys || len(b.Notes) > 0 {
				t.Errorf("with Touch: used %d times, %d elements, notes %q", after, b.Totals.Elements, b.Notes)
			}
		})
	}
}

// TestOutputBufferIsReckoned: what is written during a scan, times the time that the copy takes, against the server's limit.
func TestOutputBufferIsReckoned(t *testing.T) {
	s := servers.Standalone(t, servers.Images()[0])
	s.Must("CONFIG", "SET", "client-output-buffer-limit", "slave 1048576 0 0")
	for i := range 20 {
		s.Must("SET", fmt.Sprintf("k:%d", i), strings.Repeat("x", 50_000))
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			s.Do("SET", fmt.Sprintf("k:%d", i%20), strings.Repeat("y", 50_000))
			time.Sleep(time.Millisecond)
		}
	}()
	o := DefaultConfig()
	o.CopyRate = 10_000 // 1 MB takes 100 s
	b, err := ScanLive(t.Context(), endpointtest.Open(t, s.URL()), o)
	stop()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	if len(b.OutputBuffer) != 1 {
		t.Fatalf("output buffers %+v, want one", b.OutputBuffer)
	}
	got := b.OutputBuffer[0]
	if got.Node != s.Addr || got.MeasuredBy != ByInput || got.WriteRate < 50_000 || got.Snapshot < 1_000_000 || got.HardLimit != 1<<20 ||
		got.Needed < got.WriteRate*90 || !strings.Contains(got.Risk, "hard limit of 1.0 MiB") || !strings.Contains(got.Remedy, "client-output-buffer-limit") {
		t.Errorf("%+v", got)
	}
}

// TestForeignKeysAreSetAside: a node may hold keys of slots that it does not own.
func TestForeignKeysAreSetAside(t *testing.T) {
	t.Parallel()
	nodes := servers.Cluster(t, servers.Images()[0], 2, 0)
	d := endpointtest.Open(t, "redis+cluster://"+nodes[0].Addr)
	for i := range 50 {
		set(t, d, fmt.Sprintf("k:%d", i))
	}
	shard := d.Shards()[0]
	l := &liveScan{d: d, o: DefaultConfig(), t: newTally(DefaultConfig()), limit: limiter(0), sizeBy: SizeByMemoryUsage}
	if err := l.node(t.Context(), shard.Primary.Addr, keyspace.SlotRanges{{First: keyspace.Slot("k:1"), Last: keyspace.Slot("k:1")}, {First: keyspace.Slot("k:2"), Last: keyspace.Slot("k:2")}, {First: keyspace.Slot("k:3"), Last: keyspace.Slot("k:3")}}); err != nil {
		t.Fatal(err)
	}
	b, err := l.result()
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, b)
	if b.Totals.Foreign == 0 || b.Totals.Keys > 3 || len(b.Uncounted) == 0 || b.Uncounted[0].Reason != reasonForeign || len(b.Notes) > 0 {
		t.Errorf("%+v, uncounted %+v, notes %q", b.Totals, b.Uncounted, b.Notes)
	}
}

func TestBatchCountsWhatIsGone(t *testing.T) {
	t.Parallel()
	s := servers.Standalone(t, servers.Images()[0])
	s.Must("SET", "here", "x")
	conn, err := endpointtest.Open(t, s.URL()).OpenSession(t.Context(), s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := batch{conn: conn, usage: true, counts: true, use: useIdle}
	if err := b.read(context.Background(), []string{"gone", "here", "gone too"}); err != nil {
		t.Fatal(err)
	}
	if len(b.readings) != 1 || string(b.readings[0].name) != "here" || b.vanished != 2 || b.failed != 0 {
		t.Errorf("read %+v, %d vanished, %d failed; want one and two", b.readings, b.vanished, b.failed)
	}
}
