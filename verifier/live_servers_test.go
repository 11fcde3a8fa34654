//go:build servers

package verifier

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/psync"
	"surecut/internal/resp"
)

// traffic writes until the test ends: hot counters, a queue, keys that expire at once, transactions. It returns once all of its keys were
// written.
func traffic(t *testing.T, source *servers.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	client := source.Client(0)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			n := strconv.Itoa(i % 20)
			for _, args := range []commands{
				do("INCR", "counter:"+n), do("LPUSH", "queue", strconv.Itoa(i)), do("HINCRBY", "hash", n, "1"),
				do("SET", "short:"+strconv.Itoa(i), "v", "PX", "40"), do("XADD", "stream", "MAXLEN", "100", "*", "n", n),
			} {
				client.Do(ctx, client.B().Arbitrary(args[0]...).Build())
			}
			if i%3 == 0 {
				client.Do(ctx, client.B().Arbitrary("RPOP", "queue").Build())
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	waitFor(t, "all keys of the traffic", func() bool { return source.Must("EXISTS", "counter:19") == int64(1) })
}

// Lag is never a difference: a native replica of a source that is written all the time holds what it must.
func TestReplicaUnderWrites(t *testing.T) {
	t.Parallel()
	source := servers.Standalone(t, "redis:7.0")
	fill(source, 5000)
	target := servers.Replica(t, source)
	traffic(t, source)
	r := verify(t, source, target, func(o *Config) { o.Interval = 200 * time.Millisecond })
	if n := r.Totals; n.Different+n.Missing+n.Extra != 0 || n.Same < 5500 {
		t.Errorf("%s: %+v, %q, %+v", r.Verdict, n, r.Reasons, r.Findings)
	}
}

// With the link stopped at offsets, keys that never stand still get their verdict: right ones the same, a wrong one different.
func TestProofAtOffset(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:8.0")
	f := follow(t, source, target)
	fill(source, 2000)
	traffic(t, source)
	f.catchUp(t, source)
	target.Must("INCRBY", "counter:5", "1000")
	target.Must("DEL", "k77")
	target.Must("SET", "rogue", "v")
	r := verify(t, source, target, func(o *Config) { o.Applier, o.Interval = f, 100*time.Millisecond })
	if r.Proof != "offset" || r.Totals.Unchecked != 0 || r.Totals.Different != 1 || r.Totals.Missing != 1 || r.Totals.Extra != 1 {
		t.Errorf("%s by %s: %+v, %q", r.Verdict, r.Proof, r.Totals, r.Reasons)
	}
	for _, fd := range r.Findings {
		if want := map[string]Verdict{"counter:5": Different, "k77": Missing, "rogue": Extra}[fd.Key]; fd.Verdict != want {
			t.Errorf("%s: %s (%s), want %s", fd.Key, fd.Verdict, fd.Reason, want)
		}
	}
	if f.frames == 0 {
		t.Error("no frame was taken")
	}
}

// A transaction of a cluster reads keys of one slot only: those of many slots take several at one standstill.
func TestProofAtOffsetOfCluster(t *testing.T) {
	t.Parallel()
	source, target := servers.Cluster(t, "redis:7.0", 1, 0)[0], servers.Standalone(t, "redis:7.0")
	f := follow(t, source, target)
	f.slots = keyspace.SlotRanges{{First: 0, Last: keyspace.Slots - 1}}
	fill(source, 2000)
	traffic(t, source)
	f.catchUp(t, source)
	for i := range 300 {
		target.Must("SET", "k"+strconv.Itoa(i+1), "wrong")
	}
	target.Must("INCRBY", "counter:5", "1000")
	r := verify(t, source, target, func(o *Config) { o.Applier, o.Interval = f, 100*time.Millisecond })
	if r.Proof != "offset" || r.Totals.Unchecked != 0 || r.Totals.Different != 301 || r.Totals.Missing+r.Totals.Extra != 0 {
		t.Errorf("%s by %s: %+v, %q", r.Verdict, r.Proof, r.Totals, r.Reasons)
	}
	if f.frames == 0 {
		t.Error("no frame was taken")
	}
}

// A cluster's replicas answer for their slots once they are told to.
func TestClusterFromReplicas(t *testing.T) {
	t.Parallel()
	source, target := servers.Cluster(t, "redis:6.0", 3, 1), servers.Cluster(t, "valkey/valkey:8.1", 3, 0)
	for i := range 300 {
		key := "k" + strconv.Itoa(i)
		owner := int(keyspace.Slot(key)) * 3 / keyspace.Slots
		source[owner].Must("RPUSH", key, "a", "b")
		target[owner].Must("RPUSH", key, "a", "b")
	}
	for _, s := range source[:3] {
		s.Must("WAIT", "1", "10000")
	}
	target[0].Must("SETRANGE", tagged(0)+"extra", "0", "x")
	r := verify(t, source[0], target[0], func(o *Config) { o.ReadFrom, o.Rounds = FromReplica, 1 })
	if r.Totals.Same != 300 || r.Totals.Extra != 1 || r.Totals.Unchecked != 0 {
		t.Errorf("%s: %+v, %q, %+v", r.Verdict, r.Totals, r.Reasons, r.Findings)
	}
}

func tagged(slot uint16) string { return "{" + keyspace.SlotTag(slot) + "}" }

// follower feeds the target with what the source replicates, and can be stopped: the smallest migration there is.
type follower struct {
	reads  string
	id     string
	slots  keyspace.SlotRanges // of a cluster
	mu     sync.Mutex
	moved  *sync.Cond
	at     int64 // applied
	limit  int64 // it applies no further; -1: no limit
	frames int
	lost   error // why the stream has ended
}

func follow(t *testing.T, source, target *servers.Server) *follower {
	t.Helper()
	spec, err := endpoint.Parse(source.URL())
	if err != nil {
		t.Fatal(err)
	}
	d, err := endpoint.Open(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	conn, err := d.DialReplica(context.Background(), source.Addr)
	if err != nil {
		t.Fatal(err)
	}
	session, err := psync.Start(context.Background(), conn, psync.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.CopySnapshot(context.Background(), io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	f := &follower{reads: source.Addr, id: session.ReplID, at: session.Offset, limit: -1}
	f.moved = sync.NewCond(&f.mu)
	stream, done := make(chan sent, 1000), make(chan struct{})
	go func() {
		defer close(stream)
		for r := resp.NewReader(session); ; {
			args, n, err := r.ReadCommand()
			if err != nil {
				f.mu.Lock()
				f.lost = err
				f.moved.Broadcast()
				f.mu.Unlock()
				return
			}
			words := make([]string, len(args))
			for i := range args {
				words[i] = string(args[i])
			}
			stream <- sent{words, n}
		}
	}()
	go func() {
		defer close(done)
		f.apply(target.Client(0), stream)
	}()
	go func() { // a source drops a replica that has not acknowledged for repl-timeout
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			f.mu.Lock()
			at := f.at
			f.mu.Unlock()
			if session.Ack(at) != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { session.Close(); f.Release(); <-done })
	return f
}

// sent is a command of the stream, and the bytes that it takes there.
type sent struct {
	words []string
	bytes int64
}

// apply sends what has arrived to the target, as much at once as the limit lets: one by one, it would not keep up with a source that
// is written as fast as it can be.
func (f *follower) apply(client rueidis.Client, stream <-chan sent) {
	for next, ok := <-stream; ok; {
		f.mu.Lock()
		for f.limit >= 0 && f.at+next.bytes > f.limit {
			f.moved.Wait()
		}
		at, limit := f.at, f.limit
		f.mu.Unlock()
		var cmds rueidis.Commands
		for fits := true; fits; {
			at += next.bytes
			switch strings.ToUpper(next.words[0]) {
			case "PING", "SELECT", "REPLCONF", "MULTI", "EXEC":
			default:
				cmds = append(cmds, client.B().Arbitrary(next.words...).Build())
			}
			select {
			case next, ok = <-stream:
				fits = ok && (limit < 0 || at+next.bytes <= limit)
			default:
				next.words, fits = nil, false
			}
		}
		if len(cmds) > 0 {
			client.DoMulti(context.Background(), cmds...)
		}
		f.mu.Lock()
		f.at = at
		f.moved.Broadcast()
		f.mu.Unlock()
		if ok && next.words == nil {
			next, ok = <-stream
		}
	}
}

func (f *follower) catchUp(t *testing.T, source *servers.Server) {
	t.Helper()
	offset, err := strconv.ParseInt(source.Info("replication")["master_repl_offset"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.wait(offset); err != nil {
		t.Fatal(err)
	}
}

func (f *follower) wait(offset int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.at < offset && f.lost == nil {
		f.moved.Wait()
	}
	return f.lost
}

func (f *follower) Links() []AppliedLink {
	return []AppliedLink{{Shard: f.reads, Reads: f.reads, Slots: f.slots}}
}

func (f *follower) Applied(context.Context, int) (Position, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Position{f.id, f.at}, nil
}

func (f *follower) Freeze(context.Context, int) (Frame, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frames++
	f.limit = f.at
	return f, nil
}

func (f *follower) ApplyTo(_ context.Context, offset int64) ([]keyspace.Key, error) {
	f.mu.Lock()
	if offset < f.limit {
		f.mu.Unlock()
		return nil, fmt.Errorf("offset %d is before %d", offset, f.limit)
	}
	f.limit = offset
	f.moved.Broadcast()
	f.mu.Unlock()
	return nil, f.wait(offset)
}

func (f *follower) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = -1
	f.moved.Broadcast()
}
