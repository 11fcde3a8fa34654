package scanner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/rueidis"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

const (
	scanCount   = 256 // number of keys that are asked about at a time
	scansAtOnce = 8   // number of shards that are scanned at a time
)

// ScanLive reads every key of a deployment by SCAN, with one connection per shard: its type, encoding, time to live, idle time or
// frequency, size by MEMORY USAGE, and number of elements. It needs Redis 2.8. Where MEMORY USAGE is missing (before 4.0) or
// refused, sizes are estimated, and the result says so. SCAN may return a key twice while the table of keys is being resized: then
// the lists of the largest keys have it once, but the sums count it twice.
//
// No key looks used because it was scanned. Elements are counted under CLIENT NO-TOUCH (since 7.2). Before 7.2 they are counted
// only on servers that do not evict by use, and on replicas, which keep a clock of their own; elsewhere the numbers are unknown
// unless Config.Touch is set. If such a server refuses MEMORY USAGE as well, the scan fails.
//
// A node that fails ends the scan with an error, because an incomplete scan proves nothing. A key that cannot be read is counted in
// Totals.Errors, and one that was deleted meanwhile in Totals.Vanished.
func ScanLive(ctx context.Context, d *endpoint.Deployment, o Config) (*BigKeys, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	l := &liveScan{d: d, o: o, t: newTally(o), limit: limiter(o.Rate), sizeBy: SizeByMemoryUsage}
	if spec := d.Spec(); spec.DB >= 0 && len(l.o.DBs) == 0 && spec.Kind != endpoint.Cluster {
		l.o.DBs = []int{spec.DB}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(scansAtOnce)
	for _, shard := range d.Shards() {
		g.Go(func() error {
			addr := l.pick(shard)
			if err := l.node(ctx, addr, slotsOf(d, shard)); err != nil {
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
	o     Config
	limit *rate.Limiter // counts keys

	mu       sync.Mutex
	t        *tally // guarded by mu, like the fields below
	sizeBy   string
	notes    []string
	expected int64 // number of keys that the servers held when their scans began
	own      int64 // number of surecut's own keys
	buffers  []Buffer
	firstErr error // of the first key that could not be read
}

// slotsOf returns the slots whose keys belong to a shard. It returns nil where a shard has all keys.
func slotsOf(d *endpoint.Deployment, shard endpoint.Shard) keyspace.SlotRanges {
	if d.Kind() == endpoint.Cluster {
		return shard.Slots
	}
	return nil
}

func (l *liveScan) result() (*BigKeys, error) {
	t := l.t.totals
	if t.Keys == 0 && t.Errors > 0 {
		return nil, fmt.Errorf("none of %d keys could be read: %w", t.Errors, l.firstErr)
	}
	l.t.totals.SizeBy = l.sizeBy
	out := l.t.result(l.o)
	slices.SortFunc(l.buffers, func(a, b Buffer) int { return strings.Compare(a.Node, b.Node) })
	out.OutputBuffer = append(out.OutputBuffer, l.buffers...)
	slices.Sort(l.notes)
	out.Notes = append(out.Notes, slices.Compact(l.notes)...)
	if t.Errors > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("%d keys could not be read; the first error: %v.", t.Errors, l.firstErr))
	}
	if met := t.Keys + t.Vanished + t.Errors + t.Foreign + l.own; met < l.expected-l.expected/20 {
		out.Notes = append(out.Notes, fmt.Sprintf("SCAN returned %d keys, but the servers counted %d at its beginning; the others were deleted or had expired.", met, l.expected))
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

// nodeScan is the scan of one server.
type nodeScan struct {
	*liveScan
	server endpoint.Server
	slots  keyspace.SlotRanges // slots whose keys belong to it; nil: all
	use    string              // see batch
	conn   *endpoint.Session
	counts bool // elements may be counted
	evicts bool // this server evicts keys by use
	usage  bool // MEMORY USAGE works
	sent   endpoint.Traffic
}

// node scans every selected database of one server.
func (l *liveScan) node(ctx context.Context, addr string, slots keyspace.SlotRanges) error {
	server, err := l.d.Server(ctx, addr)
	if err != nil {
		return err
	}
	if server.Number < sinceScan {
		return fmt.Errorf("a server of version %s has no SCAN; scan an RDB file of it instead (rdb:PATH)", server.Version)
	}
	keyspace, err := l.databases(ctx, addr)
	if err != nil {
		return err
	}
	var dbs []int
	for db, d := range keyspace {
		if l.o.wantsDB(db) {
			dbs = append(dbs, db)
			l.mu.Lock()
			l.expected += d.Keys
			l.mu.Unlock()
		}
	}
	slices.Sort(dbs)
	n := &nodeScan{liveScan: l, server: server, slots: slots, usage: server.Number >= sinceMemoryUsage}
	if !n.usage {
		l.estimated(addr, "it came with Redis 4.0")
	}
	client, err := l.d.Client(ctx, addr, 0)
	if err != nil {
		return err
	}
	policy := settingOf(ctx, client, "maxmemory_policy", "maxmemory-policy")
	byUse := strings.Contains(policy, "lru") || strings.Contains(policy, "lfu") || policy == ""
	n.evicts = server.Role == "master" && byUse && settingOf(ctx, client, "maxmemory", "maxmemory") != "0"
	if n.use = useIdle; strings.Contains(policy, "lfu") {
		n.use = useFreq
	}
	first, _ := endpoint.ReadCounters(ctx, client) // where this is refused, no rate is known
	if err := n.open(ctx); err != nil {
		return err
	}
	defer n.conn.Close()
	for _, db := range dbs {
		if err := n.database(ctx, db); err != nil {
			return fmt.Errorf("database %d: %w", db, err)
		}
	}
	l.buffer(ctx, client, addr, first, n.sent)
	return nil
}

// settingOf returns a memory setting under its name in INFO, or where INFO lacks it (before 3.2) under its parameter name. It
// returns "" where the server does not tell.
func settingOf(ctx context.Context, client rueidis.Client, field, parameter string) string {
	if info, err := endpoint.Info(ctx, client, "memory"); err == nil && info[field] != "" {
		return info[field]
	}
	return configOf(ctx, client, parameter)
}

// configOf returns a parameter of the server, or "" where the server does not tell.
func configOf(ctx context.Context, client rueidis.Client, name string) string {
	values, err := client.Do(ctx, client.B().ConfigGet().Parameter(name).Build()).AsStrMap()
	if err != nil {
		return ""
	}
	return values[name]
}

// These Redis versions introduced the commands.
const (
	sinceScan        = 20800
	sinceMemoryUsage = 40000
	sinceNoTouch     = 70200
)

// databases returns the databases that hold keys.
func (l *liveScan) databases(ctx context.Context, addr string) (map[int]endpoint.Database, error) {
	client, err := l.d.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	info, err := endpoint.Info(ctx, client, "keyspace")
	if err != nil {
		return nil, err
	}
	return endpoint.Keyspace(info)
}

// database scans one database over the connection of its node.
func (n *nodeScan) database(ctx context.Context, db int) error {
	if err := n.conn.Select(ctx, db); err != nil {
		return err
	}
	b := batch{conn: n.conn, addr: n.server.Addr, db: db, samples: n.o.Samples, use: n.use, usage: n.usage, counts: n.counts, model: modelOf(n.server.Flavor, n.server.Version)}
	defer func() {
		n.usage = b.usage
		n.sent.Calls, n.sent.Bytes = n.sent.Calls+b.sent.Calls, n.sent.Bytes+b.sent.Bytes
	}()
	if !b.counts && !b.usage {
		return errNoSizes
	}
	for cursor := "0"; ; {
		names, next, err := n.conn.Scan(ctx, cursor, "")
		if err != nil {
			return err
		}
		if err := n.step(ctx, &b, names); err != nil {
			return err
		}
		if cursor = next; cursor == "0" {
			return nil
		}
	}
}

// open makes the connection for scanning all databases of the node.
func (n *nodeScan) open(ctx context.Context) (err error) {
	if n.conn, err = n.d.OpenSession(ctx, n.server.Addr); err != nil {
		return err
	}
	if n.server.Cluster && n.server.Role != "master" {
		replies, err := n.conn.Do(ctx, n.conn.B().Readonly().Build())
		if err == nil {
			err = replies[0].Error()
		}
		if err != nil {
			n.conn.Close()
			return fmt.Errorf("READONLY: %w", err)
		}
	}
	n.counts, err = n.mayCount(ctx)
	if err != nil {
		n.conn.Close()
	}
	return err
}

// errNoSizes says that no size can be determined on a server, and anything else about its keys would be misleading.
var errNoSizes = errors.New("it has no MEMORY USAGE, and counting elements would change when keys were last used, on a primary that evicts keys by use; read a replica, set Config.Touch, or scan an RDB file of it (rdb:PATH)")

// mayCount says whether counting elements over the connection does no harm.
func (n *nodeScan) mayCount(ctx context.Context) (bool, error) {
	if n.server.Number >= sinceNoTouch {
		replies, err := n.conn.Do(ctx, n.conn.B().Arbitrary("CLIENT", "NO-TOUCH", "ON").Build())
		if err != nil {
			return false, err
		}
		if replies[0].Error() == nil {
			return true, nil
		}
	}
	if n.o.Touch || !n.evicts {
		return true, nil
	}
	n.note("%s evicts keys by use (or does not report whether it does), and has no CLIENT NO-TOUCH (since 7.2). Elements were not counted there, because that changes when keys were last used. Read a replica, or set Config.Touch.", n.server.Addr)
	return false, nil
}

// estimated notes, once per node, that sizes no longer come from the server.
func (l *liveScan) estimated(addr, why string) {
	l.mu.Lock()
	l.sizeBy = SizeByEstimate
	l.mu.Unlock()
	l.note("%s has no MEMORY USAGE (%s). The sizes of its keys are estimated by a model, from their encoding, their number of elements and a few of these; an RDB file gives better figures.", addr, why)
}

// step reads the keys of one SCAN reply, in pieces that fit the rate and the lengths of the names.
func (l *nodeScan) step(ctx context.Context, b *batch, names []string) error {
	own := len(names)
	names = slices.DeleteFunc(names, isOwn)
	own -= len(names)
	names = l.mine(b.db, names)
	most := scanCount
	if l.o.Rate > 0 {
		most = min(most, max(1, l.o.Rate/4)) // at a low rate the pieces are small, so that there are no bursts
	}
	pieces := endpoint.ByNames(names, most)
	if len(pieces) == 0 && own > 0 {
		pieces = [][]string{nil}
	}
	for _, piece := range pieces {
		if err := l.limit.WaitN(ctx, len(piece)); err != nil {
			return fmt.Errorf("wait for Config.Rate: %w", errors.Join(ctx.Err(), err))
		}
		if err := b.read(ctx, piece); err != nil {
			return err
		}
		l.account(b, own)
		if b.refused != nil && !b.counts {
			return fmt.Errorf("%w (%w)", errNoSizes, b.refused)
		}
		if b.refused != nil {
			l.estimated(b.addr, b.refused.Error())
			b.refused = nil
		}
		own = 0
	}
	return nil
}

// mine sets aside the keys whose slot belongs to another node. A migration of slots may have left them behind.
func (l *nodeScan) mine(db int, names []string) []string {
	if len(l.slots) == 0 {
		return names
	}
	return slices.DeleteFunc(names, func(name string) bool {
		foreign := len(l.slots) > 0 && !l.slots.Has(keyspace.Slot(name))
		if foreign {
			l.mu.Lock()
			l.t.from(l.server.Addr)
			l.t.setAside(db, []byte(name), keyspace.None, reasonForeign)
			l.mu.Unlock()
		}
		return foreign
	})
}

// account adds the results of a batch to the tally.
func (l *liveScan) account(b *batch, own int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.from(b.addr)
	for i := range b.readings {
		l.t.add(&b.readings[i])
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
