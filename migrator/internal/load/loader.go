package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/scope"
	"surecut/migrator/internal/slab"
	"surecut/migrator/internal/target"
)

// Bounds of what the loader sends at once, and of what it holds in memory.
const (
	loadBatchBytes = 256 << 10
	loadBatchKeys  = 512
	loadNameBytes  = 16 << 10 // names that share an allocation; so much is kept in memory with a name that is reported
	loadHeldBytes  = 16 << 20 // and two values of Config.BigValue
	loadWaiting    = 16       // batches that wait for a connection; what comes later waits in the file
)

// Writer writes values of a snapshot to the target, and deletes them. No key occurs twice in one call.
type Writer interface {
	// Restore writes a batch, and calls settle once for each key: with nil when the target has its value, or with the error by which the
	// target refused it. An error of restore itself, or of settle, ends the load.
	Restore(ctx context.Context, b *target.Batch, settle func(k *target.Value, refused *target.RefusedError) error) error

	// Rebuild writes a value by commands, in bounded memory, while walk hands it over. lost describes the parts of the value that no command
	// can build. The error is keyspace.ErrGone if the source's value has gone or expired meanwhile, keyspace.ErrEmpty if it has no elements, and a RefusedError if the target does not take
	// the value.
	Rebuild(ctx context.Context, k target.Value, over target.Overwrite, walk func(keyspace.Visitor) error) (lost []string, err error)

	// Remove deletes keys, and temporary keys that were left by rebuilding them. It does not try again.
	Remove(ctx context.Context, keys []keyspace.Key) error

	Close()
}

// Entries is what the loader reads: an RDB, or the keys of a server that is scanned.
type Entries interface {
	Next() (*rdb.Entry, error)
	Walk(keyspace.Visitor) error
	Consumed() int64
}

// Config is what a loader needs of its link.
type Config struct {
	Target    *target.Target
	Scope     *scope.Scope
	Ledger    *ledger.Ledger
	Expiries  *ledger.Expiries
	NewWriter func() Writer // each worker has a writer of its own
	Now       func() int64  // returns the source's time in Unix ms
	Log       *slog.Logger

	Lanes      int              // number of workers
	BigValue   int64            // bytes above which a value is written in chunks
	Hold       bool             // keys that expire soon are written without their expiry
	HoldExpiry time.Duration    // how soon that is
	StartedMs  int64            // when the snapshot was asked for, Unix ms: keys that had expired by then are left out
	Followed   bool             // commands are applied after the snapshot
	AOF        bool             // the commands of an AOF follow, which may renew an expiry that has passed by now
	Keep       bool             // a key that the target has already stays as it is
	Over       target.Overwrite // whether other keys give way to the snapshot's

	// Script is called with each cached script of the snapshot, and StreamDB with the database that is selected where the stream begins. nil:
	// nobody wants to know.
	Script   func(text string) error
	StreamDB func(db int)

	// Libraries is called with the code of all function libraries of the snapshot, before its first key is written. It is not called where
	// the snapshot holds nothing at all, which may be that of a source which came up without its data. nil: they are left out.
	Libraries func(ctx context.Context, codes []string) error

	Show func(*rdb.Entry) // is shown the entries that are read; nil: nobody wants to see them
}

// Loader writes a snapshot to the target.
type Loader struct {
	*Config
	r      Entries
	held   *semaphore.Weighted      // bytes of batches that are in memory
	most   int64                    // the capacity of held
	work   chan *target.Batch       // batches to be written
	spare  chan *target.Batch       // batches that were written and can be filled again
	open   map[string]*target.Batch // by node: batches that are being filled
	last   *target.Batch            // the one that the last key was added to; nil once it is flushed
	names  slab.Of[byte]            // of keys
	single Writer                   // writes values that are too large for a batch

	libraries []string // function libraries that were read
	told      bool     // Libraries was called with them
}

// New returns a loader for one snapshot.
func New(cfg *Config) *Loader {
	most := loadHeldBytes + 2*cfg.BigValue
	return &Loader{Config: cfg, held: semaphore.NewWeighted(most), most: most, work: make(chan *target.Batch, loadWaiting), spare: make(chan *target.Batch, 8),
		open: map[string]*target.Batch{}}
}

// Load reads the snapshot to its end and returns when the target has answered for every key.
func (ld *Loader) Load(ctx context.Context, from Entries) error {
	ld.r, ld.single = from, ld.NewWriter()
	defer ld.single.Close()
	g, ctx := errgroup.WithContext(ctx)
	for range ld.Lanes {
		g.Go(func() error { return ld.worker(ctx) })
	}
	g.Go(func() error {
		defer close(ld.work)
		return ld.read(ctx)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return ld.Expiries.Save()
}

func (ld *Loader) read(ctx context.Context) error {
	for {
		e, err := ld.r.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			ld.Ledger.SnapshotBytes.Store(ld.r.Consumed())
			if len(ld.libraries) > 0 {
				if err := ld.tellLibraries(ctx); err != nil {
					return err
				}
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
			ld.libraries = append(ld.libraries, string(e.Value))
		case rdb.KindAux:
			err = ld.aux(ctx, string(e.Name), string(e.Value))
		case rdb.KindModuleAux:
			ld.Log.Info("data that a module keeps outside of keys is not migrated", "module", keyspace.PrintableShort(string(e.Name)))
		}
		if err != nil {
			return err
		}
		if ld.Show != nil && (e.Kind == rdb.KindAux || e.Kind == rdb.KindKey && ld.Scope.Carries(keyspace.Key{DB: e.DB, Name: string(e.Key)})) {
			ld.Show(e)
		}
		ld.Ledger.SnapshotBytes.Store(ld.r.Consumed())
	}
}

// aux takes two facts out of a snapshot: the database that is selected in the stream, and cached scripts (which an RDB holds until 6.2).
func (ld *Loader) aux(ctx context.Context, name, value string) error {
	switch name {
	case "repl-stream-db":
		if db, err := strconv.Atoi(value); err == nil && db >= 0 && ld.StreamDB != nil {
			ld.StreamDB(db)
		}
	case "lua":
		if ld.Script != nil {
			if err := ld.Script(value); err != nil {
				return err
			}
		}
		if !ld.Target.Can.Nodes {
			return nil // a proxy gives no access to the script caches of its servers
		}
		err := ld.Target.Everywhere(ctx, []string{"SCRIPT", "LOAD", value})
		var refused *target.RefusedError
		if errors.As(err, &refused) {
			ld.Ledger.Note(0, "", "SCRIPT LOAD", "a cached script was not loaded: "+refused.Error())
			return nil
		}
		return err
	}
	return nil
}

// tellLibraries hands over the function libraries, once. An RDB has them before its keys.
func (ld *Loader) tellLibraries(ctx context.Context) error {
	if ld.told {
		return nil
	}
	ld.told = true
	if ld.Libraries == nil {
		if len(ld.libraries) > 0 {
			ld.Log.Info("function libraries are left out, since only certain keys are selected", "libraries", len(ld.libraries))
		}
		return nil
	}
	return ld.Libraries(ctx, ld.libraries)
}

// key writes one key of the snapshot, or adds it to a batch, or counts why it is left out.
func (ld *Loader) key(ctx context.Context, e *rdb.Entry) (err error) {
	ld.Ledger.SnapshotKeys.Add(1)
	if err := ld.tellLibraries(ctx); err != nil {
		return err
	}
	k := ld.Scope.Arriving(e.DB, ld.nameOf(e))
	if !ld.Scope.Carries(k) {
		ld.Ledger.SnapshotFiltered.Add(1)
		return nil
	}
	if ld.Scope.Moving != nil {
		if loads, err := ld.Scope.Moving.Loads(ld.Scope.SourceSlot(k)); err != nil || !loads { // its owner's link will read the key
			ld.Ledger.SnapshotFiltered.Add(1)
			return err
		}
	}
	if slot, is := ld.Scope.Stray(k); is {
		ld.Ledger.ReportKey(k, fmt.Sprintf("the node holds this key, but does not own its slot %d, so that no client of the cluster finds it there; it was left out, and what the owner of the slot has is copied", slot))
		return nil
	}
	db, ok := ld.Scope.Map(e.DB)
	if !ok {
		ld.Ledger.ReportKey(k, fmt.Sprintf("the target has no database %d; map it with Filter.DBMap or Filter.DBPrefix", e.DB))
		return nil
	}
	if err := ld.Scope.Collision(k); err != nil {
		return err
	}
	if e.ExpireAt > 0 && e.ExpireAt <= ld.StartedMs && !ld.AOF {
		ld.Ledger.SnapshotExpired.Add(1)
		return nil
	}
	lk := target.Value{DB: db, Name: k.Name, Kind: e.Type, ExpireAt: e.ExpireAt, Idle: e.Idle, Freq: e.Freq}
	if lk.ExpireAt, err = ld.expiry(e, k); err != nil {
		return err
	}
	if lk.ExpireAt > 0 && ld.Followed { // a full copy applies no commands, which alone ask for expiries
		ld.Target.Expiring.Note(db, k.Name, lk.ExpireAt)
	}
	if e.Big {
		return ld.big(ctx, lk)
	}
	return ld.add(ctx, e, k, lk)
}

// nameOf returns a copy of a key's name. Many names share an allocation.
func (ld *Loader) nameOf(e *rdb.Entry) string {
	name := ld.names.Take(len(e.Key), loadNameBytes)
	copy(name, e.Key)
	return slab.View(name)
}

// expiry returns the expiry that a key of the snapshot gets for now. An expiry that the stream may renew before it passes is held: the key
// gets none, or a postponed one from an AOF, and is put on the list of held keys. With Config.OnExisting keep only an AOF's keys are held:
// a key that the target keeps as it was must not get the source's expiry at the end, and only the reply to RESTORE says whether it does.
func (ld *Loader) expiry(e *rdb.Entry, k keyspace.Key) (expireAt int64, err error) {
	if ld.AOF {
		ld.notePassed(e, k)
	}
	switch {
	case e.ExpireAt <= 0:
		return e.ExpireAt, nil
	case ld.AOF:
		return target.Postponed(e.ExpireAt), ld.Expiries.Hold(k)
	case ld.Hold && !ld.Keep && e.ExpireAt < ld.Now()+ld.HoldExpiry.Milliseconds():
		return 0, ld.Expiries.Hold(k)
	}
	return e.ExpireAt, nil
}

// add puts a value into the open batch of its node. k is the key as scope names it, lk the key of the target.
func (ld *Loader) add(ctx context.Context, e *rdb.Entry, k keyspace.Key, lk target.Value) error {
	b, err := ld.batchFor(k.Name)
	if err != nil {
		return err
	}
	lk.From = len(b.Payload)
	payload, err := ld.Target.Payloads.AppendValue(b.Payload, e.Type, e.Raw, ld.BigValue)
	if err == nil && e.Type != rdb.TypeModule && ld.Target.Most().Refuses(len(payload)-lk.From) != nil {
		err = rdb.ErrTooLarge
	}
	switch {
	case err == nil:
	case errors.Is(err, rdb.ErrTooLarge):
		return ld.rebuild(ctx, ld.single, lk, func(v keyspace.Visitor) error { return rdb.WalkValue(e.Type, e.Raw, v) })
	case target.NotRestorable(err):
		ld.Ledger.ReportKey(k, err.Error())
		return nil
	default:
		return fmt.Errorf("snapshot: key %s of database %d: %w", keyspace.PrintableShort(k.Name), k.DB, err)
	}
	b.Payload = payload
	lk.To = len(b.Payload)
	b.Keys = append(b.Keys, lk)
	if len(b.Payload) >= loadBatchBytes || len(b.Keys) >= loadBatchKeys {
		return ld.flush(ctx, b)
	}
	return nil
}

// batchFor returns the open batch of a key's node.
func (ld *Loader) batchFor(name string) (*target.Batch, error) {
	t := ld.Target
	if ld.last != nil && !t.Cluster { // all keys have the same node
		return ld.last, nil
	}
	addr, err := t.AddrOf(name)
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

func (ld *Loader) newBatch(addr string) *target.Batch {
	select {
	case b := <-ld.spare:
		*b = target.Batch{Addr: addr, Keys: b.Keys[:0], Payload: b.Payload[:0], Over: ld.Over}
		return b
	default:
		return &target.Batch{Addr: addr, Over: ld.Over}
	}
}

func (ld *Loader) flush(ctx context.Context, b *target.Batch) error {
	delete(ld.open, b.Addr)
	ld.last = nil
	b.Weight = min(int64(cap(b.Payload)), ld.most)
	if err := ld.held.Acquire(ctx, b.Weight); err != nil {
		return context.Cause(ctx)
	}
	select {
	case ld.work <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (ld *Loader) flushAll(ctx context.Context) error {
	for _, b := range ld.open {
		if err := ld.flush(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (ld *Loader) worker(ctx context.Context) error {
	w := ld.NewWriter()
	defer w.Close()
	for b := range ld.work {
		if err := ld.restore(ctx, w, b); err != nil {
			return err
		}
		ld.held.Release(b.Weight)
		if cap(b.Payload) > 4*loadBatchBytes { // a large value is not to be kept in memory for the small ones that follow
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
func (ld *Loader) restore(ctx context.Context, w Writer, b *target.Batch) error {
	if len(b.Keys) == 0 { // the target could take none of its values
		return nil
	}
	applied := int64(0)
	defer func() { ld.Ledger.SnapshotApplied.Add(applied) }()
	return w.Restore(ctx, b, func(k *target.Value, refused *target.RefusedError) error {
		switch {
		case refused == nil:
			applied++
			return nil
		case k.Kind == rdb.TypeModule && errors.As(refused, new(*target.TooLargeError)):
			ld.Ledger.ReportKey(keyspace.Key{DB: k.DB, Name: k.Name}, refused.Reply.Error()+"; the value belongs to a module, so that several commands cannot build it")
			return nil
		case !errors.Is(refused, target.ErrExists): // the server does not take this payload, so the value is built by commands
			payload := b.Value(k)
			return ld.rebuild(ctx, w, *k, func(v keyspace.Visitor) error {
				return rdb.WalkValue(payload[0], payload[1:len(payload)-10], v)
			})
		case ld.Keep:
			ld.Ledger.SnapshotKept.Add(1)
			return nil
		}
		return fmt.Errorf("target %s: key %s of database %d already exists: empty the target, or set Config.OnExisting replace or keep", refused.Addr, keyspace.PrintableShort(k.Name), k.DB)
	})
}

// rebuild writes one value by commands, and counts the outcome.
func (ld *Loader) rebuild(ctx context.Context, w Writer, k target.Value, walk func(keyspace.Visitor) error) error {
	lost, err := w.Rebuild(ctx, k, ld.Over, walk)
	gone := errors.Is(err, keyspace.ErrGone)
	for i := 0; i < len(lost) && !gone; i++ {
		ld.Ledger.Note(k.DB, k.Name, "", lost[i])
	}
	var refused *target.RefusedError
	switch {
	case err == nil:
		ld.Ledger.SnapshotApplied.Add(1)
	case errors.Is(err, keyspace.ErrEmpty):
		ld.Ledger.SnapshotEmpty.Add(1)
	case gone: // the value has expired, or a source that is scanned has it no longer
		ld.Ledger.SnapshotExpired.Add(1)
	case !errors.As(err, &refused):
		return err
	case !errors.Is(err, target.ErrExists): // the target cannot hold such a value
		ld.Ledger.ReportKey(keyspace.Key{DB: k.DB, Name: k.Name}, refused.Reply.Error())
	case ld.Keep:
		ld.Ledger.SnapshotKept.Add(1)
	default:
		return fmt.Errorf("target %s: key %s already exists: empty the target, or set Config.OnExisting replace or keep", refused.Addr, keyspace.PrintableShort(k.Name))
	}
	return nil
}

// Unload deletes from the target the keys of a snapshot that was cut off, as far as the snapshot goes.
func (ld *Loader) Unload(ctx context.Context, r *rdb.Reader) error {
	w := ld.NewWriter()
	defer w.Close()
	var keys []keyspace.Key // with databases of the target
	for over := false; !over; {
		e, err := r.Next()
		over = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !over {
			return err
		}
		if !over && e.Kind == rdb.KindKey {
			k := ld.Scope.Arriving(e.DB, string(e.Key))
			db, ok := ld.Scope.Map(e.DB)
			if ok && ld.Scope.Carries(k) && ld.Scope.Here(k) {
				keys = append(keys, keyspace.Key{DB: db, Name: k.Name})
			}
		}
		if len(keys) < loadBatchKeys && !over {
			continue
		}
		if err := w.Remove(ctx, keys); err != nil {
			return err
		}
		keys = keys[:0]
	}
	return nil
}

// notePassed reports a hash of the RDB that an AOF begins with, if expiries of its fields have passed: the target deletes the fields at once, so that
// a later command of the file cannot renew them.
func (ld *Loader) notePassed(e *rdb.Entry, k keyspace.Key) {
	if !rdb.FieldsExpire(e.Type) {
		return
	}
	fields := &passedFields{Hasher: keyspace.NewHasher(), now: ld.Now()}
	if !e.Big && rdb.WalkValue(e.Type, e.Raw, fields) == nil && fields.passed == 0 {
		return
	}
	ld.Ledger.Note(k.DB, k.Name, "", "fields of this hash have already expired, or it is too large to find out; if a later command of the file renews their expiry, they are missing on the target")
}

// passedFields counts fields whose expiry has passed.
type passedFields struct {
	*keyspace.Hasher
	now    int64
	passed int
}

// HashField counts the field if its expiry has passed.
func (p *passedFields) HashField(_, _ []byte, expireAt int64) error {
	if expireAt > 0 && expireAt <= p.now {
		p.passed++
	}
	return nil
}
