package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// Bounds of what the loader sends at once, and of what it holds in memory.
const (
	loadBatchBytes = 256 << 10
	loadBatchKeys  = 512
	loadNameBytes  = 16 << 10 // names that share an allocation; so much is kept in memory with a name that is reported
	loadHeldBytes  = 16 << 20 // and two values of Config.BigValue
	loadWaiting    = 16       // batches that wait for a connection; what comes later waits in the file
)

// restorer writes values of a snapshot to the target, and deletes them. No key occurs twice in one call.
type restorer interface {
	// restore writes a batch, and calls settle once for each key: with nil when the target has its value, or with the error by which the
	// target refused it. An error of restore itself, or of settle, ends the load.
	restore(ctx context.Context, b *batch, settle func(k *loadKey, refused *refusedError) error) error

	// rebuild writes a value by commands, in bounded memory, while walk hands it over. lost describes the parts of the value that no command
	// can build. The error is keyspace.ErrGone if the source's value has gone or expired meanwhile, and a refusedError if the target does not take
	// the value.
	rebuild(ctx context.Context, k loadKey, over overwrite, walk func(keyspace.Visitor) error) (lost []string, err error)

	// remove deletes keys, and temporary keys that were left by rebuilding them. It does not try again.
	remove(ctx context.Context, keys []keyspace.Key) error

	close()
}

// entries is what the loader reads: an RDB, or the keys of a server that is scanned.
type entries interface {
	Next() (*rdb.Entry, error)
	Walk(keyspace.Visitor) error
	Consumed() int64
}

// loader writes a snapshot to the target.
type loader struct {
	l       *link
	replace bool // an earlier run may have written some of the keys
	hold    bool // keys that expire soon are written without their expiry
	renew   bool // the target's keys are known to be out of date, and are overwritten
	r       entries
	show    func(*rdb.Entry)    // is shown the entries that are read; may be nil
	held    *semaphore.Weighted // bytes of batches that are in memory
	most    int64               // the capacity of held
	work    chan *batch         // batches to be written
	spare   chan *batch         // batches that were written and can be filled again
	open    map[string]*batch   // by node: batches that are being filled
	last    *batch              // the one that the last key was added to; nil once it is flushed
	names   slab[byte]          // of keys
	single  restorer            // writes values that are too large for a batch
}

// batch is a number of values for one node.
type batch struct {
	addr    string
	keys    []loadKey
	payload []byte // the payloads of all keys, one behind the other
	weight  int64
	over    overwrite
}

// value is the payload of a key.
func (b *batch) value(k *loadKey) []byte { return b.payload[k.from:k.to] }

type loadKey struct {
	db         int
	name       string
	kind       byte
	from, to   int // in payload
	expireAt   int64
	idle, freq int64
	attempts   int
	restored   bool // the value is written, but not its exact expiry, which takes a command of its own before 5.0 (no ABSTTL)
}

// load reads the snapshot to its end and returns when the target has answered for every key.
func (ld *loader) load(ctx context.Context, from entries) error {
	ld.r = from
	ld.most = loadHeldBytes + 2*ld.l.m.cfg.BigValue
	ld.held = semaphore.NewWeighted(ld.most)
	ld.work = make(chan *batch, loadWaiting)
	ld.spare = make(chan *batch, 8)
	ld.open = map[string]*batch{}
	ld.single = ld.l.newWriter()
	defer ld.single.close()
	g, ctx := errgroup.WithContext(ctx)
	for range ld.l.m.cfg.Lanes {
		g.Go(func() error { return ld.worker(ctx) })
	}
	g.Go(func() error {
		defer close(ld.work)
		return ld.read(ctx)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return ld.l.expiries.Save()
}

func (ld *loader) read(ctx context.Context) error {
	for {
		e, err := ld.r.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			ld.l.ledger.SnapshotBytes.Store(ld.r.Consumed())
			if ld.l.file != nil { // the commands of an AOF begin here
				ld.l.m.update(func() { ld.l.st.Start = ld.r.Consumed() })
			}
			return ld.flushAll(ctx)
		}
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		switch e.Kind {
		case rdb.KindKey:
			err = ld.key(ctx, e)
		case rdb.KindFunction:
			err = ld.function(ctx, string(e.Value))
		case rdb.KindAux:
			err = ld.aux(ctx, string(e.Name), string(e.Value))
		case rdb.KindModuleAux:
			ld.l.log.Info("data that a module keeps outside of keys does not travel", "module", keyspace.PrintableShort(string(e.Name)))
		}
		if err != nil {
			return err
		}
		if ld.show != nil && (e.Kind == rdb.KindAux || e.Kind == rdb.KindKey && ld.l.scope.Carries(keyspace.Key{DB: e.DB, Name: string(e.Key)})) {
			ld.show(e)
		}
		ld.l.ledger.SnapshotBytes.Store(ld.r.Consumed())
	}
}

// aux takes two facts out of a snapshot: the database that is selected in the stream, and cached scripts (which an RDB holds until 6.2).
func (ld *loader) aux(ctx context.Context, name, value string) error {
	switch name {
	case "repl-stream-db": // the commands of an AOF do not go on with this database
		if ld.l.file != nil {
			return nil
		}
		if db, err := strconv.Atoi(value); err == nil && db >= 0 {
			ld.l.m.update(func() { ld.l.st.StreamDB = db })
		}
	case "lua":
		if err := ld.l.scripts.add(value); err != nil {
			return err
		}
		if !ld.l.m.target.can.nodes {
			return nil // a proxy gives no access to the script caches of its servers
		}
		return ld.everywhere(ctx, "a cached script", "SCRIPT", "LOAD", value)
	}
	return nil
}

func (ld *loader) function(ctx context.Context, code string) error {
	if !ld.l.m.target.dialect.Knows("FUNCTION") {
		ld.l.ledger.Note(0, "", "FUNCTION LOAD", "a function library was not loaded: the target has no functions (they came with 7.0)")
		return nil
	}
	return ld.everywhere(ctx, "a function library", "FUNCTION", "LOAD", "REPLACE", code)
}

func (ld *loader) everywhere(ctx context.Context, what string, args ...string) error {
	err := ld.l.m.target.everywhere(ctx, args)
	var refused *refusedError
	if errors.As(err, &refused) && endpoint.Code(refused.reply) != "NOPERM" {
		ld.l.ledger.Note(0, "", args[0]+" LOAD", what+" was not loaded: "+refused.Error())
		return nil
	}
	return err
}

// key writes one key of the snapshot, or adds it to a batch, or counts why it is left out.
func (ld *loader) key(ctx context.Context, e *rdb.Entry) (err error) {
	l := ld.l
	l.ledger.SnapshotKeys.Add(1)
	k := l.scope.Arriving(e.DB, ld.nameOf(e))
	if !l.scope.Carries(k) {
		l.ledger.SnapshotFiltered.Add(1)
		return nil
	}
	db, ok := l.scope.Map(e.DB)
	if !ok {
		l.ledger.ReportKey(k, fmt.Sprintf("the target has no database %d; map it with Filter.DBMap or Filter.DBPrefix", e.DB))
		return nil
	}
	if err := l.scope.Collision(k); err != nil {
		return err
	}
	if e.ExpireAt > 0 && e.ExpireAt <= l.st.StartedMs && !ld.postpones() {
		l.ledger.SnapshotExpired.Add(1)
		return nil
	}
	lk := loadKey{db: db, name: k.Name, kind: e.Type, expireAt: e.ExpireAt, idle: e.Idle, freq: e.Freq}
	if lk.expireAt, err = ld.expiry(e, k); err != nil {
		return err
	}
	if lk.expireAt > 0 && l.m.cfg.Mode != ModeFull { // a full copy applies no commands, which alone ask for expiries
		l.m.target.expiring.note(db, k.Name, lk.expireAt)
	}
	if e.Big {
		return ld.big(ctx, lk)
	}
	return ld.add(ctx, e, k, lk)
}

// nameOf returns a copy of a key's name. Many names share an allocation.
func (ld *loader) nameOf(e *rdb.Entry) string {
	name := ld.names.take(len(e.Key), loadNameBytes)
	copy(name, e.Key)
	return view(name)
}

// postpones says whether no key may expire before all commands are applied. That is so with an AOF, whose commands may renew an expiry that
// has passed by now.
func (ld *loader) postpones() bool { return ld.l.file != nil && ld.l.file.AOF }

// expiry returns the expiry that a key of the snapshot gets for now. An expiry that the stream may renew before it passes is held: the key
// gets none, or a postponed one from an AOF, and is put on the list of held keys. With Config.OnExisting keep only an AOF's keys are held:
// a key that the target keeps as it was must not get the source's expiry at the end, and only the reply to RESTORE says whether it does.
func (ld *loader) expiry(e *rdb.Entry, k keyspace.Key) (expireAt int64, err error) {
	l := ld.l
	if ld.postpones() {
		l.notePassed(e, k)
	}
	keeps := l.m.cfg.OnExisting == ExistingKeep
	switch {
	case e.ExpireAt <= 0:
		return e.ExpireAt, nil
	case ld.postpones():
		return postponed(e.ExpireAt), l.expiries.Hold(k)
	case ld.hold && !keeps && e.ExpireAt < l.clock.Now()+l.m.cfg.HoldExpiry.Milliseconds():
		return 0, l.expiries.Hold(k)
	}
	return e.ExpireAt, nil
}

// add puts a value into the open batch of its node. k is the key as scope names it, lk the key of the target.
func (ld *loader) add(ctx context.Context, e *rdb.Entry, k keyspace.Key, lk loadKey) error {
	l := ld.l
	b, err := ld.batchFor(k.Name)
	if err != nil {
		return err
	}
	lk.from = len(b.payload)
	payload, err := l.m.target.payloads.appendValue(b.payload, e.Type, e.Raw, l.m.cfg.BigValue)
	switch {
	case err == nil:
	case errors.Is(err, rdb.ErrTooLarge):
		return ld.rebuild(ctx, ld.single, lk, func(v keyspace.Visitor) error { return rdb.WalkValue(e.Type, e.Raw, v) })
	case notRestorable(err):
		l.ledger.ReportKey(k, err.Error())
		return nil
	default:
		return fmt.Errorf("snapshot: key %s of database %d: %w", keyspace.PrintableShort(k.Name), k.DB, err)
	}
	b.payload = payload
	lk.to = len(b.payload)
	b.keys = append(b.keys, lk)
	if len(b.payload) >= loadBatchBytes || len(b.keys) >= loadBatchKeys {
		return ld.flush(ctx, b)
	}
	return nil
}

// batchFor returns the open batch of a key's node.
func (ld *loader) batchFor(name string) (*batch, error) {
	t := ld.l.m.target
	if ld.last != nil && !t.cluster { // all keys have the same node
		return ld.last, nil
	}
	addr, err := t.addrOf(name)
	if err != nil {
		return nil, err
	}
	b := ld.open[addr]
	if b == nil {
		b = ld.newBatch(addr)
		ld.open[addr] = b
	}
	ld.last = b
	return b, nil
}

func (ld *loader) newBatch(addr string) *batch {
	select {
	case b := <-ld.spare:
		*b = batch{addr: addr, keys: b.keys[:0], payload: b.payload[:0], over: ld.overwrite()}
		return b
	default:
		return &batch{addr: addr, over: ld.overwrite()}
	}
}

func (ld *loader) flush(ctx context.Context, b *batch) error {
	delete(ld.open, b.addr)
	ld.last = nil
	b.weight = min(int64(cap(b.payload)), ld.most)
	if err := ld.held.Acquire(ctx, b.weight); err != nil {
		return context.Cause(ctx)
	}
	select {
	case ld.work <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (ld *loader) flushAll(ctx context.Context) error {
	for _, b := range ld.open {
		if err := ld.flush(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (ld *loader) worker(ctx context.Context) error {
	w := ld.l.newWriter()
	defer w.close()
	for b := range ld.work {
		if err := ld.restore(ctx, w, b); err != nil {
			return err
		}
		ld.held.Release(b.weight)
		if cap(b.payload) > 4*loadBatchBytes { // a large value is not to be kept in memory for the small ones that follow
			continue
		}
		select {
		case ld.spare <- b:
		default:
		}
	}
	return nil
}

// restore writes one batch.
func (ld *loader) restore(ctx context.Context, w restorer, b *batch) error {
	if len(b.keys) == 0 { // the target could take none of its values
		return nil
	}
	applied := int64(0)
	defer func() { ld.l.ledger.SnapshotApplied.Add(applied) }()
	return w.restore(ctx, b, func(k *loadKey, refused *refusedError) error {
		switch {
		case refused == nil:
			applied++
			return nil
		case !errors.Is(refused, errExists): // the server does not take this payload, so the value is built by commands
			payload := b.value(k)
			return ld.rebuild(ctx, w, *k, func(v keyspace.Visitor) error {
				return rdb.WalkValue(payload[0], payload[1:len(payload)-10], v)
			})
		case ld.l.m.cfg.OnExisting == ExistingKeep:
			ld.l.ledger.SnapshotKept.Add(1)
			return nil
		}
		return fmt.Errorf("target %s: key %s of database %d exists already: empty the target, or say Config.OnExisting replace or keep", refused.addr, keyspace.PrintableShort(k.name), k.db)
	})
}

// rebuild writes one value by commands, and counts the outcome.
func (ld *loader) rebuild(ctx context.Context, w restorer, k loadKey, walk func(keyspace.Visitor) error) error {
	lost, err := w.rebuild(ctx, k, ld.overwrite(), walk)
	gone := errors.Is(err, keyspace.ErrGone)
	for i := 0; i < len(lost) && !gone; i++ {
		ld.l.ledger.Note(k.db, k.name, "", lost[i])
	}
	var refused *refusedError
	switch {
	case err == nil:
		ld.l.ledger.SnapshotApplied.Add(1)
	case gone: // the value has expired, or a source that is scanned has it no longer
		ld.l.ledger.SnapshotExpired.Add(1)
	case !errors.As(err, &refused):
		return err
	case !errors.Is(err, errExists): // the target cannot hold such a value
		ld.l.ledger.ReportKey(keyspace.Key{DB: k.db, Name: k.name}, refused.reply.Error())
	case ld.l.m.cfg.OnExisting == ExistingKeep:
		ld.l.ledger.SnapshotKept.Add(1)
	default:
		return fmt.Errorf("target %s: write key %s by commands: it exists already: empty the target, or say Config.OnExisting replace or keep", refused.addr, keyspace.PrintableShort(k.name))
	}
	return nil
}

// overwrite says whether a value may take the place of a key that the target has. With Config.OnExisting fail, it may only where an earlier
// attempt or run may have written the key, and only if the target was empty when the migration began.
func (ld *loader) overwrite() overwrite {
	m := ld.l.m
	ours := m.cfg.OnExisting == ExistingFail && m.state.TargetWasEmpty
	return overwrite{first: ld.renew || m.cfg.OnExisting == ExistingReplace || ld.l.st.Again || ld.replace && ours, later: ours}
}

// unload deletes from the target the keys of a snapshot that was cut off, as far as the snapshot goes.
func (ld *loader) unload(ctx context.Context, r *rdb.Reader) error {
	w := ld.l.newWriter()
	defer w.close()
	var keys []keyspace.Key // with databases of the target
	for over := false; !over; {
		e, err := r.Next()
		over = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !over {
			return err
		}
		if !over && e.Kind == rdb.KindKey {
			k := ld.l.scope.Arriving(e.DB, string(e.Key))
			if db, ok := ld.l.scope.Map(e.DB); ok && ld.l.scope.Carries(k) {
				keys = append(keys, keyspace.Key{DB: db, Name: k.Name})
			}
		}
		if len(keys) < loadBatchKeys && !over {
			continue
		}
		if err := w.remove(ctx, keys); err != nil {
			return err
		}
		keys = keys[:0]
	}
	return nil
}
