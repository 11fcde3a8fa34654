package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// Bounds of what the loader sends at once, and of what it holds.
const (
	loadBatchBytes = 256 << 10
	loadBatchKeys  = 512
	loadHeldBytes  = 32 << 20
)

// loader writes a snapshot to the target.
type loader struct {
	l       *link
	replace bool // an earlier run may have written some of the keys
	hold    bool
	renew   bool // the target's keys are known to be out of date
	r       entries
	show    func(*rdb.Entry) // what is read; nil: nobody looks
	held    *semaphore.Weighted
	work    chan *batch
	spare   chan *batch       // written, to be filled again
	open    map[string]*batch // by node, being filled
	aside   *writer           // for big values and functions
}

// batch is a number of values for one node.
type batch struct {
	addr    string
	keys    []loadKey
	payload []byte // of all keys
	weight  int64
}

type loadKey struct {
	db         int
	name       string
	kind       byte
	from, to   int // in payload
	expireAt   int64
	idle, freq int64
	attempts   int
	restored   bool // the value is there, its exact expiry is not yet: before 5.0 that takes a command of its own
}

// load reads the snapshot to its end and returns when the target has answered for every key.
func (ld *loader) load(ctx context.Context, from entries) error {
	ld.r = from
	ld.held = semaphore.NewWeighted(loadHeldBytes + 2*ld.l.m.cfg.BigValue)
	ld.work = make(chan *batch, 64)
	ld.spare = make(chan *batch, 8)
	ld.open = map[string]*batch{}
	ld.aside = ld.l.m.target.newWriter()
	defer ld.aside.close()
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
	return ld.l.expiries.list.Save()
}

func (ld *loader) read(ctx context.Context) error {
	for {
		e, err := ld.r.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			ld.l.ledger.snapshotBytes.Store(ld.r.Consumed())
			if ld.l.file != nil { // its commands, if any, begin here
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
			ld.l.log.Info("data that a module keeps outside of keys does not travel", "module", printable(string(e.Name)))
		}
		if err != nil {
			return err
		}
		if ld.show != nil && (e.Kind == rdb.KindAux || e.Kind == rdb.KindKey && ld.l.scope.carries(keyspace.Key{DB: e.DB, Name: string(e.Key)})) {
			ld.show(e)
		}
		ld.l.ledger.snapshotBytes.Store(ld.r.Consumed())
	}
}

// aux takes the two facts that matter: the database of the stream, and cached scripts (until 6.2).
func (ld *loader) aux(ctx context.Context, name, value string) error {
	switch name {
	case "repl-stream-db": // of a file, no stream follows that goes on with it
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
			return nil // the target's cache of scripts, to which a proxy gives no way
		}
		return ld.everywhere(ctx, "a cached script", "SCRIPT", "LOAD", value)
	}
	return nil
}

func (ld *loader) function(ctx context.Context, code string) error {
	if !ld.l.m.target.dialect.Knows("FUNCTION") {
		ld.l.ledger.note(0, "", "FUNCTION LOAD", "a function library was not loaded: the target has no functions (they came with 7.0)")
		return nil
	}
	return ld.everywhere(ctx, "a function library", "FUNCTION", "LOAD", "REPLACE", code)
}

func (ld *loader) everywhere(ctx context.Context, what string, args ...string) error {
	err := ld.l.m.target.everywhere(ctx, args)
	var refused *refusedError
	if errors.As(err, &refused) && endpoint.Code(refused.reply) != "NOPERM" {
		ld.l.ledger.note(0, "", args[0]+" LOAD", what+" was not loaded: "+refused.Error())
		return nil
	}
	return err
}

// key puts one key of the snapshot on its way.
func (ld *loader) key(ctx context.Context, e *rdb.Entry) error {
	l := ld.l
	l.ledger.snapshotKeys.Add(1)
	k := l.scope.arriving(e.DB, string(e.Key))
	if !l.scope.carries(k) {
		l.ledger.snapshotFiltered.Add(1)
		return nil
	}
	db, ok := l.scope.Map(e.DB)
	if !ok {
		l.ledger.reportKey(k, fmt.Sprintf("the target has no database %d; map it with Filter.DBMap or Filter.DBPrefix", e.DB))
		return nil
	}
	if err := l.scope.collision(k); err != nil {
		return err
	}
	postpones := l.file != nil && l.file.AOF
	if e.ExpireAt > 0 && e.ExpireAt <= l.st.StartedMs && !postpones {
		l.ledger.snapshotExpired.Add(1)
		return nil
	}
	lk := loadKey{db: db, name: k.Name, kind: e.Type, expireAt: e.ExpireAt, idle: e.Idle, freq: e.Freq}
	// Of a key that stays as the target has it, the source's expiry is nobody's business; which do is known by the reply only.
	keeps := l.m.cfg.OnExisting == ExistingKeep
	if ld.hold && !keeps && e.ExpireAt > 0 && e.ExpireAt < l.clock.now()+l.m.cfg.HoldExpiry.Milliseconds() {
		if err := l.expiries.hold(k); err != nil {
			return err
		}
		lk.expireAt = 0
	}
	if postpones {
		l.notePassed(e, k)
	}
	if postpones && e.ExpireAt > 0 {
		if err := l.expiries.hold(k); err != nil {
			return err
		}
		lk.expireAt = postponed(e.ExpireAt)
	}
	if lk.expireAt > 0 {
		l.m.expiring.note(db, k.Name, lk.expireAt)
	}
	if e.Big {
		return ld.big(ctx, lk)
	}
	n, ok := l.m.target.primaryOf(l.m.target.slot(k.Name))
	if !ok {
		return fmt.Errorf("target: no node holds slot %d", l.m.target.slot(k.Name))
	}
	b := ld.open[n.Addr]
	if b == nil {
		b = ld.newBatch(n.Addr)
		ld.open[n.Addr] = b
	}
	lk.from = len(b.payload)
	payload, err := l.m.target.payloads.appendValue(b.payload, e.Type, e.Raw, l.m.cfg.BigValue)
	switch {
	case errors.Is(err, rdb.ErrTooLarge):
		return ld.rebuild(ctx, ld.aside, lk, func(v keyspace.Visitor) error { return rdb.WalkValue(e.Type, e.Raw, v) })
	case notRestorable(err):
		l.ledger.reportKey(k, err.Error())
		return nil
	case err != nil:
		return fmt.Errorf("snapshot: key %s of database %d: %w", printable(k.Name), k.DB, err)
	}
	b.payload = payload
	lk.to = len(b.payload)
	b.keys = append(b.keys, lk)
	if len(b.payload) >= loadBatchBytes || len(b.keys) >= loadBatchKeys {
		return ld.flush(ctx, b)
	}
	return nil
}

func (ld *loader) newBatch(addr string) *batch {
	select {
	case b := <-ld.spare:
		*b = batch{addr: addr, keys: b.keys[:0], payload: b.payload[:0]}
		return b
	default:
		return &batch{addr: addr}
	}
}

func (ld *loader) flush(ctx context.Context, b *batch) error {
	delete(ld.open, b.addr)
	b.weight = min(int64(cap(b.payload)), loadHeldBytes)
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
	w := ld.l.m.target.newWriter()
	defer w.close()
	for b := range ld.work {
		if err := ld.restore(ctx, w, b); err != nil {
			return err
		}
		ld.held.Release(b.weight)
		select {
		case ld.spare <- b:
		default:
		}
	}
	return nil
}

// restore writes one batch; keys whose slot has moved, or whose connection broke, are tried again.
func (ld *loader) restore(ctx context.Context, w *writer, b *batch) error {
	if err := errors.Join(wait(ctx, w.t.bytes, len(b.payload)), wait(ctx, w.t.ops, len(b.keys))); err != nil {
		return err
	}
	left := b.keys
	if len(left) == 0 { // none of its values could be given to the target
		return nil
	}
	return w.t.retry(ctx, func() (again, err error) {
		byNode := map[string][]loadKey{b.addr: left}
		if left[0].attempts > 0 { // slots may have moved
			clear(byNode)
			for _, k := range left {
				addr, err := w.node(w.t.slot(k.name))
				if err != nil {
					return err, nil
				}
				byNode[addr] = append(byNode[addr], k)
			}
		}
		left = nil
		for addr, keys := range byNode {
			undone, why, err := ld.restoreOn(ctx, w, addr, b, keys)
			if err != nil {
				return nil, err
			}
			if left = append(left, undone...); why != nil {
				again = fmt.Errorf("target %s: %w", addr, why)
			}
		}
		return again, nil
	})
}

func (ld *loader) restoreOn(ctx context.Context, w *writer, addr string, b *batch, keys []loadKey) (left []loadKey, again, err error) {
	for i := range keys {
		keys[i].attempts++
	}
	if w.t.via != nil {
		return ld.restoreVia(ctx, w, addr, b, keys)
	}
	p, err := w.pipe(ctx, addr)
	if err != nil {
		return keys, err, ctx.Err()
	}
	at := make([]int, len(keys))
	var args []string
	for i, k := range keys {
		if !w.t.cluster && k.db != p.db {
			p.add("SELECT", strconv.Itoa(k.db))
			p.db = k.db
			w.t.wroteTo(k.db)
		}
		if k.restored {
			at[i] = p.add("PEXPIREAT", k.name, strconv.FormatInt(k.expireAt, 10))
			continue
		}
		if ld.replaces(k.attempts > 1) && !w.t.dialect.Has(command.Replace) {
			p.add("DEL", k.name)
		}
		args = ld.restoreArgs(args[:0], k, view(b.payload[k.from:k.to]))
		at[i] = p.add(args...)
	}
	res := p.exchange()
	var dated []loadKey
	for i, k := range keys {
		reply := res[at[i]].err
		if at[i] > 0 && reply == nil {
			if e := res[at[i]-1].err; e != nil && (i == 0 || at[i-1] != at[i]-1) {
				return nil, nil, fmt.Errorf("target %s: database %d: %w", addr, k.db, e)
			}
		}
		if reply == nil && !k.restored && k.expireAt > 0 && !w.t.dialect.Has(command.AbsTTL) {
			k.restored = true // a key that stays as the target had it must not get the expiry
			dated = append(dated, k)
			continue
		}
		retry, err := ld.settle(ctx, w, addr, b, k, reply)
		if err != nil {
			return nil, nil, err
		}
		if retry != nil {
			left, again = append(left, k), retry
		}
	}
	if again != nil {
		w.drop(addr)
		return append(left, dated...), again, ctx.Err()
	}
	if len(dated) > 0 {
		return ld.restoreOn(ctx, w, addr, b, dated)
	}
	return left, again, ctx.Err()
}

// settle decides on one reply of RESTORE, or of the PEXPIREAT that followed it.
func (ld *loader) settle(ctx context.Context, w *writer, addr string, b *batch, k loadKey, reply error) (again, err error) {
	l := ld.l
	if reply == nil {
		l.ledger.snapshotApplied.Add(1)
		return nil, nil
	}
	switch code := endpoint.Code(reply); {
	case code == "":
		return reply, nil
	case passing(code):
		return reply, nil
	case code == "OOM":
		return nil, fmt.Errorf("target %s: %w", addr, errTargetFull)
	case code == "BUSYKEY" && l.m.cfg.OnExisting == ExistingKeep:
		l.ledger.snapshotKept.Add(1)
		return nil, nil
	case code == "BUSYKEY":
		return nil, fmt.Errorf("target %s: key %s of database %d exists already: empty the target, or say Config.OnExisting replace or keep", addr, printable(k.name), k.db)
	case code == "NOPERM", code == "NOAUTH", k.restored:
		return nil, fmt.Errorf("target %s: RESTORE %s: %w", addr, printable(k.name), reply)
	}
	// a payload that this server does not take: the value is built by commands
	payload := b.payload[k.from:k.to]
	if err := ld.rebuild(ctx, w, k, func(v keyspace.Visitor) error {
		return rdb.WalkValue(payload[0], payload[1:len(payload)-10], v)
	}); err != nil {
		return nil, err
	}
	return nil, nil
}

// replaces says whether a key of the target gives way: where an earlier attempt may have written it, only if no key of
// the target can be anybody else's.
func (ld *loader) replaces(again bool) bool {
	m := ld.l.m
	return ld.renew || m.cfg.OnExisting == ExistingReplace || ld.l.st.Again || (ld.replace || again) && m.cfg.OnExisting == ExistingFail && m.state.TargetWasEmpty
}

func (ld *loader) restoreArgs(args []string, k loadKey, payload string) []string {
	dialect := ld.l.m.target.dialect
	args = append(args, "RESTORE", k.name, "0", payload)
	if ld.replaces(k.attempts > 1) && dialect.Has(command.Replace) {
		args = append(args, "REPLACE")
	}
	if !dialect.Has(command.AbsTTL) {
		if k.expireAt > 0 { // until the exact one follows
			args[2] = strconv.FormatInt(max(k.expireAt-time.Now().UnixMilli(), 1), 10)
		}
		return args
	}
	if k.expireAt > 0 {
		args[2] = strconv.FormatInt(k.expireAt, 10)
		args = append(args, "ABSTTL")
	}
	switch {
	case k.freq >= 0:
		args = append(args, "FREQ", strconv.FormatInt(k.freq, 10))
	case k.idle > 0:
		args = append(args, "IDLETIME", strconv.FormatInt(k.idle, 10))
	}
	return args
}

// unload deletes the keys of a snapshot that was cut off, up to where it ends.
func (ld *loader) unload(ctx context.Context, r *rdb.Reader) error {
	w := ld.l.m.target.newWriter()
	defer w.close()
	var keys []keyspace.Key // as the target has them
	for over := false; !over; {
		e, err := r.Next()
		over = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !over {
			return err
		}
		if !over && e.Kind == rdb.KindKey {
			k := ld.l.scope.arriving(e.DB, string(e.Key))
			if db, ok := ld.l.scope.Map(e.DB); ok && ld.l.scope.carries(k) {
				keys = append(keys, keyspace.Key{DB: db, Name: k.Name})
			}
		}
		if len(keys) < loadBatchKeys && !over {
			continue
		}
		if err := ld.remove(ctx, w, keys); err != nil {
			return err
		}
		keys = keys[:0]
	}
	return nil
}

// remove deletes keys, which are different ones, and what was built for them.
func (ld *loader) remove(ctx context.Context, w *writer, keys []keyspace.Key) error {
	if w.t.via != nil {
		wave := make([]*call, len(keys))
		for i, k := range keys {
			wave[i] = &call{db: k.DB, args: []string{"DEL", k.Name}, key: k}
		}
		for _, a := range w.sendWave(ctx, wave) {
			if a.err != nil {
				return fmt.Errorf("target %s: %w", w.t.via.at(), a.err)
			}
		}
		return ctx.Err()
	}
	byNode := map[string][]keyspace.Key{}
	for _, k := range keys {
		addr, err := w.node(w.t.slot(k.Name))
		if err != nil {
			return err
		}
		byNode[addr] = append(byNode[addr], k)
	}
	for addr, keys := range byNode {
		c, err := w.conn(ctx, addr)
		if err != nil {
			return err
		}
		w.out = w.out[:0]
		for _, k := range keys {
			if !w.t.cluster && k.DB != c.db {
				w.out = append(w.out, arbitrary(c.dc, "SELECT", strconv.Itoa(k.DB)))
				c.db = k.DB
			}
			w.out = append(w.out, arbitrary(c.dc, "DEL", k.Name, tempKey(ld.l.name, k.Name)))
		}
		for _, r := range c.dc.DoMulti(ctx, w.out...) {
			if err := r.Error(); err != nil {
				return fmt.Errorf("target %s: %w", addr, err)
			}
		}
	}
	return nil
}
