package reread

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	"surecut/internal/waiting"
)

// Bounds of what a scan asks for at once.
const (
	scanCount      = "512"
	scanBatchKeys  = 64
	scanBatchBytes = 4 << 20 // of values, estimated by those of the batch before
)

// Scan reads the keys of one server by SCAN and DUMP or, if the server refuses DUMP, by the commands of their types. Keys that are written
// meanwhile may be missing, or have an old value.
type Scan struct {
	cfg       ScanConfig
	ctx       context.Context // of Run
	out       chan []scanned
	err       error // why out was closed; nil: all keys were sent
	noDump    bool  // the server refuses DUMP
	fieldTTLs bool  // fields of hashes may expire; set only if the server refuses DUMP

	gone []keyspace.Key // those of keys that the server does not have

	batch   []scanned
	current *scanned
	bytes   int64
}

// ScanConfig configures a scan.
type ScanConfig struct {
	Source   *endpoint.Deployment
	Node     func() string    // returns the address of the server, which may change
	Keys     []keyspace.Key   // the keys to read; nil: all
	Filter   *keyspace.Filter // selects the databases that are scanned
	Readers  int              // number of keys, or portions of keys, that are read at the same time
	BigValue int64            // bytes above which a value counts as big
	RetryFor time.Duration    // how long a lost server is tried again
	Waits    *waiting.Book    // what is waited for; may be nil
	Log      *slog.Logger

	// NoFunctions is called if the server refuses to list its function libraries.
	NoFunctions func(error)
}

// NewScan returns a scan, whose keys are read with Next while Run runs.
func NewScan(cfg ScanConfig) *Scan { return &Scan{cfg: cfg, out: make(chan []scanned, 2)} }

type scanned struct {
	rdb.Entry
	raw  []byte
	gone bool // the server does not have the key
	skip bool // nothing is known of the key

	typed *typed // reads the value when it is written; nil: raw has the value
	kind  string // the type, as TYPE names it; "": TYPE has to be asked again
}

// named holds the names of keys of one database.
type named struct {
	db    int
	names []string
}

// Run reads the keys and returns when all were passed to Next.
func (s *Scan) Run(ctx context.Context) error {
	defer close(s.out)
	s.ctx = ctx
	s.err = s.readAll(ctx)
	return s.err
}

// Absent returns those of the keys to read that the server does not have. It may be called once Next has returned io.EOF.
func (s *Scan) Absent() []keyspace.Key { return s.gone }

// readAll scans every database: one connection lists the keys, and several read them.
func (s *Scan) readAll(ctx context.Context) error {
	server, err := s.cfg.Source.Server(ctx, s.cfg.Node())
	if err != nil {
		return fmt.Errorf("source %s: %w", s.cfg.Node(), err)
	}
	if s.cfg.Keys == nil && server.Number >= 70000 {
		if err := s.functions(ctx); err != nil {
			return err
		}
	}
	if err := s.retry(ctx, func() (err error) {
		s.noDump, err = s.refusesDump(ctx)
		return err
	}); err != nil {
		return fmt.Errorf("source %s: %w", s.cfg.Node(), err)
	}
	list := make(chan named)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(list)
		if s.cfg.Keys != nil {
			return s.listKeys(ctx, list)
		}
		return s.listAll(ctx, list)
	})
	for range s.cfg.Readers {
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
func (s *Scan) functions(ctx context.Context) error {
	var libraries []rueidis.RedisMessage
	err := s.retry(ctx, func() error {
		client, err := s.cfg.Source.Client(ctx, s.cfg.Node(), 0)
		if err == nil {
			libraries, err = client.Do(ctx, endpoint.Arbitrary(client, "FUNCTION", "LIST", "WITHCODE")).ToArray()
		}
		return err
	})
	if err != nil { // everything else is copied nevertheless
		s.cfg.NoFunctions(err)
	}
	var batch []scanned
	for _, lib := range libraries {
		fields, err := lib.ToArray()
		if err != nil {
			return fmt.Errorf("source %s: FUNCTION LIST: %w", s.cfg.Node(), err)
		}
		for i := 0; i+1 < len(fields); i += 2 {
			if name, _ := fields[i].ToString(); name == "library_code" {
				code, err := fields[i+1].ToString()
				if err != nil {
					return fmt.Errorf("source %s: FUNCTION LIST: %w", s.cfg.Node(), err)
				}
				batch = append(batch, scanned{Entry: rdb.Entry{Kind: rdb.KindFunction, Value: []byte(code)}})
			}
		}
	}
	return send(ctx, s.out, batch)
}

func (s *Scan) listKeys(ctx context.Context, list chan<- named) error {
	byDB := map[int][]string{}
	for _, k := range s.cfg.Keys {
		byDB[k.DB] = append(byDB[k.DB], k.Name)
	}
	for db, names := range byDB {
		if err := send(ctx, list, named{db, names}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scan) listAll(ctx context.Context, list chan<- named) error {
	var info map[string]string
	err := s.retry(ctx, func() error {
		client, err := s.cfg.Source.Client(ctx, s.cfg.Node(), 0)
		if err == nil {
			info, err = endpoint.Info(ctx, client, "keyspace")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("source %s: INFO keyspace: %w", s.cfg.Node(), err)
	}
	dbs, err := endpoint.Keyspace(info)
	if err != nil {
		return fmt.Errorf("source %s: %w", s.cfg.Node(), err)
	}
	for db := range dbs {
		if !s.cfg.Filter.MatchDB(db) {
			continue
		}
		if err := s.listDB(ctx, db, list); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scan) listDB(ctx context.Context, db int, list chan<- named) error {
	for cursor := "0"; ; {
		var page rueidis.ScanEntry
		err := s.retry(ctx, func() error {
			client, err := s.cfg.Source.Client(ctx, s.cfg.Node(), db)
			if err == nil {
				page, err = client.Do(ctx, endpoint.Arbitrary(client, "SCAN", cursor, "COUNT", scanCount)).AsScanEntry()
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("source %s: SCAN of database %d: %w", s.cfg.Node(), db, err)
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

// retry repeats try, for up to Config.RetryFor, while the connection is lost, the server is loading or busy, or its cluster is down.
func (s *Scan) retry(ctx context.Context, try func() error) error {
	again, err := asking{s.cfg.RetryFor, s.cfg.Waits}.ask(ctx, s.cfg.Node, func() (again, err error) {
		err = try()
		if code := endpoint.Code(err); code == "" || code == "LOADING" || code == "BUSY" || code == "CLUSTERDOWN" {
			return err, nil
		}
		return nil, err
	})
	return cmp.Or(again, err)
}

func (s *Scan) worker(ctx context.Context, list <-chan named, expireTimes bool) error {
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
				return fmt.Errorf("source %s: %w", s.cfg.Node(), err)
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
func (s *Scan) read(ctx context.Context, db int, names []string, expireTimes bool) ([]scanned, error) {
	client, err := s.cfg.Source.Client(ctx, s.cfg.Node(), db)
	if err != nil {
		return nil, err
	}
	dc, release := client.Dedicate()
	defer release()
	res, base, err := askOf(ctx, dc, "DUMP", names, expireTimes)
	if err != nil {
		return nil, err
	}
	var out []scanned
	for i, name := range names {
		e := scanned{Entry: rdb.Entry{Kind: rdb.KindKey, DB: db, Key: []byte(name), Idle: -1, Freq: -1}}
		if e.gone, err = e.take(res[2*i], res[2*i+1], base, s.cfg.BigValue); err != nil {
			if code := endpoint.Code(err); code == "MOVED" || code == "ASK" {
				continue // the slot is moving, and the later comparison finds the key
			}
			return nil, fmt.Errorf("DUMP %s: %w", keyspace.PrintableShort(name), err)
		}
		if !e.gone || s.cfg.Keys != nil {
			out = append(out, e)
		}
	}
	return out, nil
}

// askOf asks, in one pipeline, a command and the expiry of each key. It returns two replies for each, and from when on the expiries count,
// in Unix ms: a server before 7.0 tells only what is left.
func askOf(ctx context.Context, c rueidis.CoreClient, command string, names []string, expireTimes bool) (res []rueidis.RedisResult, base int64, err error) {
	expiry := "PTTL"
	if expireTimes {
		expiry = "PEXPIRETIME"
	}
	cmds := []rueidis.Completed{endpoint.Arbitrary(c, "TIME")}
	for _, name := range names {
		cmds = append(cmds, endpoint.Arbitrary(c, command, name), endpoint.Arbitrary(c, expiry, name))
	}
	res = c.DoMulti(ctx, cmds...)
	m, err := res[0].ToMessage()
	if err != nil {
		return nil, 0, err
	}
	now, err := reply.Time(&m)
	if err != nil || expireTimes {
		return res[1:], 0, err
	}
	return res[1:], now.UnixMilli(), nil
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
	e.Type, e.raw = d.Type, d.Raw
	if e.Big = int64(len(d.Raw)) > big; !e.Big {
		e.Raw = d.Raw
	}
	return false, nil
}

// Next returns the next key.
func (s *Scan) Next() (*rdb.Entry, error) {
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
func (s *Scan) Walk(v keyspace.Visitor) error {
	if e := s.current; e.typed != nil {
		err := e.typed.walk(string(e.Key), e.kind, v)
		if errors.Is(err, keyspace.ErrGone) && !errors.Is(err, errSlotMoving) && !errors.Is(err, errChanged) && s.cfg.Keys != nil {
			s.gone = append(s.gone, keyspace.Key{DB: e.DB, Name: string(e.Key)})
		}
		return err
	}
	return rdb.WalkValue(s.current.Type, s.current.raw, v)
}

// Consumed returns how many bytes the values had so far.
func (s *Scan) Consumed() int64 { return s.bytes }
