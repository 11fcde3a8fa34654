package migrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/reply"
)

// Bounds of what a scan asks for at once.
const (
	scanCount      = "512"
	scanBatchKeys  = 64
	scanBatchBytes = 4 << 20 // of values, estimated by those of the batch before
)

// entries is what the loader reads: an RDB, or the keys of a server that is scanned.
type entries interface {
	Next() (*rdb.Entry, error)
	Walk(keyspace.Visitor) error
	Version() int
	Consumed() int64
}

// scan reads the keys of one server by SCAN and DUMP or, if the server refuses DUMP, by the commands of their types. Keys that are written
// meanwhile may be missing, or have an old value.
type scan struct {
	ctx       context.Context // of the reader, which may go on when all keys are listed
	l         *link
	keys      []keyspace.Key // the keys to read; nil: all
	out       chan []scanned
	err       error // why out was closed; nil: all keys were sent
	noDump    bool  // the server refuses DUMP
	fieldTTLs bool  // fields of hashes may expire; set only if the server refuses DUMP

	gone []keyspace.Key // those of keys that the server does not have; complete once all entries are read

	batch   []scanned
	current *scanned
	bytes   int64
}

type scanned struct {
	rdb.Entry
	version int
	raw     []byte
	gone    bool // the server does not have the key
	skip    bool // nothing is known of the key

	typed *typed // reads the value when it is written; nil: raw has the value
	kind  string // the type, as TYPE names it; "": TYPE has to be asked again
}

// named holds the names of keys of one database.
type named struct {
	db    int
	names []string
}

// loadScan scans the source and loads its keys; if keys is not nil, only these. It returns those of keys that the source does not have.
func (l *link) loadScan(ctx context.Context, ld *loader, keys []keyspace.Key) (gone []keyspace.Key, err error) {
	s := &scan{l: l, keys: keys, out: make(chan []scanned, 2)}
	g, ctx := errgroup.WithContext(ctx)
	s.ctx = ctx
	g.Go(func() error {
		defer close(s.out)
		s.err = s.run(ctx)
		return s.err
	})
	g.Go(func() error { return ld.load(ctx, s) })
	err = g.Wait()
	return s.gone, err
}

// run scans every database: one connection lists the keys, and several read them.
func (s *scan) run(ctx context.Context) error {
	server, err := s.l.source.d.Server(ctx, s.l.shard.Node())
	if err != nil {
		return fmt.Errorf("source %s: %w", s.l.shard.Node(), err)
	}
	if s.keys == nil && server.Number >= 70000 {
		if err := s.functions(ctx); err != nil {
			return err
		}
	}
	if err := s.retry(ctx, func() (err error) {
		s.noDump, err = s.refusesDump(ctx)
		return err
	}); err != nil {
		return fmt.Errorf("source %s: %w", s.l.shard.Node(), err)
	}
	list := make(chan named)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(list)
		if s.keys != nil {
			return s.listKeys(ctx, list)
		}
		return s.listAll(ctx, list)
	})
	for range s.l.m.cfg.Lanes {
		g.Go(func() error { return s.worker(ctx, list, server.Number >= 70000) })
	}
	return g.Wait()
}

func send[T any](ctx context.Context, to chan<- T, x T) error {
	select {
	case to <- x:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// functions sends the function libraries of the server to out. If it refuses to list them, that is reported.
func (s *scan) functions(ctx context.Context) error {
	client, err := s.l.source.d.Client(ctx, s.l.shard.Node(), 0)
	if err != nil {
		return fmt.Errorf("source %s: %w", s.l.shard.Node(), err)
	}
	libraries, err := client.Do(ctx, endpoint.Arbitrary(client, "FUNCTION", "LIST", "WITHCODE")).ToArray()
	if err != nil { // everything else is copied nevertheless
		s.l.ledger.Note(0, "", "FUNCTION LIST", "function libraries are not copied: "+err.Error())
	}
	var batch []scanned
	for _, lib := range libraries {
		fields, err := lib.ToArray()
		if err != nil {
			return fmt.Errorf("source %s: FUNCTION LIST: %w", s.l.shard.Node(), err)
		}
		for i := 0; i+1 < len(fields); i += 2 {
			if name, _ := fields[i].ToString(); name == "library_code" {
				code, err := fields[i+1].ToString()
				if err != nil {
					return fmt.Errorf("source %s: FUNCTION LIST: %w", s.l.shard.Node(), err)
				}
				batch = append(batch, scanned{Entry: rdb.Entry{Kind: rdb.KindFunction, Value: []byte(code)}})
			}
		}
	}
	return send(ctx, s.out, batch)
}

func (s *scan) listKeys(ctx context.Context, list chan<- named) error {
	byDB := map[int][]string{}
	for _, k := range s.keys {
		byDB[k.DB] = append(byDB[k.DB], k.Name)
	}
	for db, names := range byDB {
		if err := send(ctx, list, named{db, names}); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) listAll(ctx context.Context, list chan<- named) error {
	client, err := s.l.source.d.Client(ctx, s.l.shard.Node(), 0)
	if err != nil {
		return fmt.Errorf("source %s: %w", s.l.shard.Node(), err)
	}
	info, err := endpoint.Info(ctx, client, "keyspace")
	if err != nil {
		return fmt.Errorf("source %s: INFO keyspace: %w", s.l.shard.Node(), err)
	}
	dbs, err := endpoint.Keyspace(info)
	if err != nil {
		return fmt.Errorf("source %s: %w", s.l.shard.Node(), err)
	}
	for db := range dbs {
		if !s.l.scope.MatchDB(db) {
			continue
		}
		if err := s.listDB(ctx, db, list); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) listDB(ctx context.Context, db int, list chan<- named) error {
	for cursor := "0"; ; {
		var page rueidis.ScanEntry
		err := s.retry(ctx, func() error {
			client, err := s.l.source.d.Client(ctx, s.l.shard.Node(), db)
			if err == nil {
				page, err = client.Do(ctx, endpoint.Arbitrary(client, "SCAN", cursor, "COUNT", scanCount)).AsScanEntry()
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("source %s: SCAN of database %d: %w", s.l.shard.Node(), db, err)
		}
		names := slices.DeleteFunc(page.Elements, func(name string) bool { return strings.HasPrefix(name, keyspace.Prefix) })
		if len(names) > 0 {
			if err := send(ctx, list, named{db, names}); err != nil {
				return err
			}
		}
		if cursor = strconv.FormatUint(page.Cursor, 10); cursor == "0" {
			return nil
		}
	}
}

// retry repeats try, for up to Config.RetryFor, while the connection is lost, or the server is loading or busy.
func (s *scan) retry(ctx context.Context, try func() error) error {
	again, err := sourceRetry(s.l.m.cfg.RetryFor).Do(ctx, func() (again, err error) {
		err = try()
		if code := endpoint.Code(err); code == "" || code == "LOADING" || code == "BUSY" {
			return err, nil
		}
		return nil, err
	})
	return cmp.Or(again, err)
}

func (s *scan) worker(ctx context.Context, list <-chan named, expireTimes bool) error {
	size := scanBatchKeys
	for n := range list {
		for len(n.names) > 0 {
			names := n.names[:min(size, len(n.names))]
			n.names = n.names[len(names):]
			var got []scanned
			err := s.retry(ctx, func() (err error) {
				if s.noDump {
					got, err = s.readTyped(ctx, n.db, names, expireTimes)
				} else {
					got, err = s.read(ctx, n.db, names, expireTimes)
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("source %s: %w", s.l.shard.Node(), err)
			}
			bytes := 1
			for i := range got {
				bytes += len(got[i].raw)
			}
			size = min(max(scanBatchBytes/(bytes/len(names)+1), 1), scanBatchKeys)
			if err := send(ctx, s.out, got); err != nil {
				return err
			}
		}
	}
	return nil
}

// read returns the values and expiries of keys. A key that has gone is left out or, if it was asked for by name, marked as gone.
func (s *scan) read(ctx context.Context, db int, names []string, expireTimes bool) ([]scanned, error) {
	client, err := s.l.source.d.Client(ctx, s.l.shard.Node(), db)
	if err != nil {
		return nil, err
	}
	dc, release := client.Dedicate()
	defer release()
	expiry := "PTTL"
	if expireTimes {
		expiry = "PEXPIRETIME"
	}
	cmds := []rueidis.Completed{endpoint.Arbitrary(dc, "TIME")}
	for _, name := range names {
		cmds = append(cmds, endpoint.Arbitrary(dc, "DUMP", name), endpoint.Arbitrary(dc, expiry, name))
	}
	res := dc.DoMulti(ctx, cmds...)
	m, err := res[0].ToMessage()
	if err != nil {
		return nil, err
	}
	now, err := reply.Time(&m)
	if err != nil {
		return nil, err
	}
	base := now.UnixMilli()
	if expireTimes {
		base = 0
	}
	var out []scanned
	for i, name := range names {
		e := scanned{Entry: rdb.Entry{Kind: rdb.KindKey, DB: db, Key: []byte(name), Idle: -1, Freq: -1}}
		if e.gone, err = e.take(res[1+2*i], res[2+2*i], base, s.l.m.cfg.BigValue); err != nil {
			if code := endpoint.Code(err); code == "MOVED" || code == "ASK" {
				continue // the slot is moving, and the later comparison finds the key
			}
			return nil, fmt.Errorf("DUMP %s: %w", keyspace.PrintableShort(name), err)
		}
		if !e.gone || s.keys != nil {
			out = append(out, e)
		}
	}
	return out, nil
}

// take reads the replies to DUMP, and to PTTL, which counts from base, or to PEXPIRETIME, with base 0.
func (e *scanned) take(dump, expiry rueidis.RedisResult, base, big int64) (gone bool, err error) {
	payload, err := dump.AsBytes()
	if rueidis.IsRedisNil(err) {
		return true, nil
	}
	at, err2 := expiry.AsInt64()
	if err := errors.Join(err, err2); err != nil {
		return false, err
	}
	switch {
	case at == -2:
		return true, nil
	case at >= 0:
		e.ExpireAt = max(base+at, 1)
	}
	d, err := rdb.SplitDump(payload)
	if err != nil {
		return false, err
	}
	e.Type, e.version, e.raw = d.Type, d.Version, d.Raw
	if e.Big = int64(len(d.Raw)) > big; !e.Big {
		e.Raw = d.Raw
	}
	return false, nil
}

// Next returns the next key.
func (s *scan) Next() (*rdb.Entry, error) {
	for {
		for len(s.batch) > 0 {
			s.current, s.batch = &s.batch[0], s.batch[1:]
			s.bytes += int64(len(s.current.raw))
			if !s.current.gone {
				return &s.current.Entry, nil
			}
			s.gone = append(s.gone, keyspace.Key{DB: s.current.DB, Name: string(s.current.Key)}) // with the source's name
		}
		batch, ok := <-s.out
		if !ok {
			if s.err != nil {
				return nil, s.err
			}
			return nil, io.EOF
		}
		s.batch = batch
	}
}

// Walk hands the current value over to v.
func (s *scan) Walk(v keyspace.Visitor) error {
	if e := s.current; e.typed != nil {
		err := e.typed.walk(string(e.Key), e.kind, v)
		if errors.Is(err, keyspace.ErrGone) && !errors.Is(err, errSlotMoving) && s.keys != nil {
			s.gone = append(s.gone, keyspace.Key{DB: e.DB, Name: string(e.Key)})
		}
		return err
	}
	return rdb.WalkValue(s.current.Type, s.current.raw, v)
}

// Version returns the RDB version of the current value.
func (s *scan) Version() int { return s.current.version }

// Consumed returns how many bytes the values had so far.
func (s *scan) Consumed() int64 { return s.bytes }

// runScan copies a source that is not replicated, by one scan.
func (l *link) runScan(ctx context.Context) error {
	if err := l.clock.measure(ctx, l.shard.Node()); err != nil {
		return err
	}
	if l.began == fresh {
		err := l.standing.advance(received, func(st *linkState) error {
			st.StartedMs = l.clock.now()
			return nil
		})
		if err != nil {
			return err
		}
	}
	l.do(working)
	if !l.standing.stage().inTarget() {
		reading, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(l.m.stopping, stop)()
		if err := l.loadSnapshot(ctx, reading); err != nil {
			if reading.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
				return l.stopped()
			}
			return err
		}
	}
	return l.stopped()
}

// Outdated is a key whose value on the target differs from the source's.
type Outdated struct {
	Key   keyspace.Key // with the source's name
	Extra bool         // only the target has the key
}

// Recopied counts what became of keys that were copied again.
type Recopied struct {
	Copied  int64 `json:"copied"`
	Deleted int64 `json:"deleted"` // the source has them no longer
	Left    int64 `json:"left"`    // not copied, each with a problem; or not deleted, since the target held keys before the migration
}

// CopyAgain copies keys from the source to the target as they are now. The migration must have ended, and its capture must be a scan. Keys
// that only the target has are deleted if the target was empty before the migration. Only one call runs at a time, since an older copy of a
// key must not overwrite a newer one.
func (m *Migration) CopyAgain(ctx context.Context, keys []Outdated) (r Recopied, err error) {
	m.again.Lock()
	defer m.again.Unlock()
	if time.Since(m.proven) > slotPoll { // a key that a node lacks only because its slot has moved must not be deleted
		if err := m.proveSlots(ctx); err != nil {
			return r, err
		}
		m.proven = time.Now()
	}
	byLink := make([][]keyspace.Key, len(m.links))
	keep := map[keyspace.Key]bool{}
	for _, k := range keys {
		if k.Extra && !m.state.TargetWasEmpty {
			keep[k.Key] = true
		}
		i := 0
		if n, ok := m.cfg.Sides.Source.PrimaryOf(m.cfg.Sides.Source.Slot(k.Key.Name)); ok {
			i = max(slices.IndexFunc(m.links, func(l *link) bool { return l.shard.Node() == n.Addr }), 0)
		}
		byLink[i] = append(byLink[i], k.Key)
	}
	for i, keys := range byLink {
		if len(keys) == 0 {
			continue
		}
		if err := m.copyAgain(ctx, i, keys, keep, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (m *Migration) copyAgain(ctx context.Context, i int, keys []keyspace.Key, keep map[keyspace.Key]bool, r *Recopied) (err error) {
	l := newLink(m, i, m.links[i].shard.Nodes(), m.links[i].shard.Node()) // a link with counters of its own
	if err := l.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	ld := &loader{l: l, replace: true, renew: true}
	gone, err := l.loadScan(ctx, ld, keys)
	if err != nil {
		return err
	}
	r.Copied += l.ledger.SnapshotApplied.Load()
	r.Left += l.ledger.SnapshotReported.Load() + l.ledger.SnapshotKept.Load()
	for _, k := range gone {
		db, ok := l.scope.Map(k.DB)
		if keep[k] || !ok {
			r.Left++
			continue
		}
		if err := l.removeGone(ctx, keyspace.Key{DB: db, Name: l.scope.TargetName(k.DB, k.Name)}); err != nil {
			return err
		}
		r.Deleted++
	}
	return nil
}

// removeGone deletes a key of the target that the source does not have.
func (l *link) removeGone(ctx context.Context, k keyspace.Key) error {
	return l.m.target.retry(ctx, func() (again, err error) { return sorted(l.writer.remove(ctx, []keyspace.Key{k})) })
}
