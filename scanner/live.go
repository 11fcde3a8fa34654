package scanner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"surecut/internal/endpoint"
)

const (
	scanCount   = 256 // COUNT of SCAN: what one step costs a server
	scansAtOnce = 8   // shards scanned at a time
)

// ScanLive reads every key of a deployment by SCAN, one connection a shard: its type, time to live, size by MEMORY USAGE,
// and number of elements. It needs Redis 2.8; where MEMORY USAGE is missing (before 4.0) or refused, sizes are estimated
// and the result says so. SCAN may give a key twice while the table of keys is being resized: the list of the largest keys
// holds it once, the sums twice.
//
// A node that fails ends the scan with an error: half a scan is no evidence. A key that cannot be read is counted
// in Totals.Errors; one that is gone by then in Totals.Vanished.
func ScanLive(ctx context.Context, d *endpoint.Deployment, o Options) (*BigKeys, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	l := &liveScan{d: d, o: o, t: newTally(o), limit: limiter(o.Rate), sizeBy: SizeByMemoryUsage}
	if spec := d.Spec(); spec.DB >= 0 && len(l.o.DBs) == 0 && spec.Kind == endpoint.Standalone {
		l.o.DBs = []int{spec.DB}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(scansAtOnce)
	for _, shard := range d.Shards() {
		g.Go(func() error {
			addr := l.pick(shard)
			if err := l.node(ctx, addr); err != nil {
				return fmt.Errorf("scan %s: %w", addr, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return l.result()
}

func limiter(keysPerSecond int) *rate.Limiter {
	if keysPerSecond == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(keysPerSecond), scanCount)
}

// liveScan is one scan of all shards.
type liveScan struct {
	d     *endpoint.Deployment
	o     Options
	limit *rate.Limiter // in keys

	mu       sync.Mutex
	t        *tally // guarded by mu, like all below
	sizeBy   string
	notes    []string
	expected int64 // keys that the servers held when their scan began
	own      int64 // surecut's own keys
	firstErr error // of a key that could not be read
}

func (l *liveScan) result() (*BigKeys, error) {
	t := l.t.totals
	if t.Keys == 0 && t.Errors > 0 {
		return nil, fmt.Errorf("not one of %d keys could be read: %w", t.Errors, l.firstErr)
	}
	l.t.totals.SizeBy = l.sizeBy
	out := l.t.result(l.o)
	slices.Sort(l.notes)
	out.Notes = append(out.Notes, slices.Compact(l.notes)...)
	if t.Errors > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("%d keys could not be read; the first error: %v.", t.Errors, l.firstErr))
	}
	if met := t.Keys + t.Vanished + t.Errors + l.own; met < l.expected-l.expected/20 {
		out.Notes = append(out.Notes, fmt.Sprintf("SCAN gave %d keys where the servers counted %d at its start; the others were deleted meanwhile, or had expired.", met, l.expected))
	}
	return out, nil
}

func (l *liveScan) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, fmt.Sprintf(format, args...))
}

func (l *liveScan) pick(s endpoint.Shard) string {
	if l.o.ReadFrom == FromReplica && len(s.Replicas) > 0 {
		return s.Replicas[0].Addr
	}
	return s.Primary.Addr
}

// node scans every wanted database of one server.
func (l *liveScan) node(ctx context.Context, addr string) error {
	server, err := l.d.Server(ctx, addr)
	if err != nil {
		return err
	}
	if server.Number < sinceScan {
		return fmt.Errorf("a server of version %s has no SCAN; scan an RDB file of it instead (--source rdb:/path)", server.Version)
	}
	keys, err := l.databases(ctx, addr)
	if err != nil {
		return err
	}
	var dbs []int
	for db, n := range keys {
		if l.o.wantsDB(db) {
			dbs = append(dbs, db)
			l.mu.Lock()
			l.expected += n
			l.mu.Unlock()
		}
	}
	slices.Sort(dbs)
	usage := server.Number >= sinceMemoryUsage
	if !usage {
		l.estimated(addr, "it came with Redis 4.0")
	}
	for _, db := range dbs {
		if usage, err = l.database(ctx, server, db, usage); err != nil {
			return fmt.Errorf("database %d: %w", db, err)
		}
	}
	return nil
}

// The Redis versions in which commands came.
const (
	sinceScan        = 20800
	sinceMemoryUsage = 40000
)

// databases gives the databases that hold keys, with the number of these.
func (l *liveScan) databases(ctx context.Context, addr string) (map[int]int64, error) {
	client, err := l.d.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	info, err := endpoint.Info(ctx, client, "keyspace")
	if err != nil {
		return nil, err
	}
	keys := map[int]int64{}
	for name, value := range info {
		number, ok := strings.CutPrefix(name, "db")
		db, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		first, _, _ := strings.Cut(value, ",")
		n, err := strconv.ParseInt(strings.TrimPrefix(first, "keys="), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("INFO keyspace says %q of %s", value, name)
		}
		keys[db] = n
	}
	return keys, nil
}

// database scans one database of one server over a connection of its own. It gives back whether MEMORY USAGE works.
func (l *liveScan) database(ctx context.Context, server endpoint.Server, db int, usage bool) (bool, error) {
	client, err := l.d.Client(ctx, server.Addr, db)
	if err != nil {
		return usage, err
	}
	conn, release := client.Dedicate()
	defer release()
	b := batch{conn: conn, addr: server.Addr, db: db, samples: l.o.Samples, usage: usage}
	if server.Cluster && server.Role != "master" {
		if err := conn.Do(ctx, conn.B().Readonly().Build()).Error(); err != nil {
			return usage, fmt.Errorf("READONLY: %w", err)
		}
	}
	cursor := "0"
	for {
		entry, err := conn.Do(ctx, conn.B().Arbitrary("SCAN", cursor, "COUNT", strconv.Itoa(scanCount)).Build()).ToArray()
		if err != nil {
			return b.usage, fmt.Errorf("SCAN: %w", err)
		}
		names, next, err := scanReply(entry)
		if err != nil {
			return b.usage, err
		}
		if err := l.step(ctx, &b, names); err != nil {
			return b.usage, err
		}
		if cursor = next; cursor == "0" {
			return b.usage, nil
		}
	}
}

// estimated says, once a node, that sizes are no longer the server's word.
func (l *liveScan) estimated(addr, why string) {
	l.mu.Lock()
	l.sizeBy = SizeByEstimate
	l.mu.Unlock()
	l.note("%s gives no MEMORY USAGE (%s): sizes of its keys are estimated from their number of elements, strings by their length. An RDB file would tell serialized sizes.", addr, why)
}

// step reads the keys of one SCAN reply in pieces that the rate allows.
func (l *liveScan) step(ctx context.Context, b *batch, names []string) error {
	own := len(names)
	names = slices.DeleteFunc(names, isOwn)
	own -= len(names)
	for len(names) > 0 || own > 0 {
		n := min(len(names), scanCount)
		if l.o.Rate > 0 {
			n = min(n, max(1, l.o.Rate/4)) // small rates come in small pieces, not in bursts
		}
		if err := l.limit.WaitN(ctx, n); err != nil {
			return fmt.Errorf("wait for --rate: %w", errors.Join(ctx.Err(), err))
		}
		if err := b.read(ctx, names[:n]); err != nil {
			return err
		}
		l.account(b, own)
		if b.refused != nil {
			l.estimated(b.addr, b.refused.Error())
			b.refused = nil
		}
		names, own = names[n:], 0
	}
	return nil
}

// account adds what a batch read to the tally.
func (l *liveScan) account(b *batch, own int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range b.readings {
		l.t.add(r)
	}
	l.own += int64(own)
	l.t.totals.Vanished += b.vanished
	l.t.totals.Errors += b.failed
	if l.firstErr == nil {
		l.firstErr = b.firstErr
	}
	if l.o.Progress != nil {
		t := l.t.totals
		l.o.Progress(t.Keys+t.Vanished+t.Errors+l.own, max(l.expected, t.Keys))
	}
}
