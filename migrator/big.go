package migrator

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// big writes a value that is too large to be held, as it streams from the snapshot.
func (ld *loader) big(ctx context.Context, k loadKey) error {
	if k.kind == rdb.TypeModule {
		return ld.bigModule(ctx, k)
	}
	return ld.rebuild(ctx, ld.aside, k, ld.r.Walk)
}

// bigModule writes a value of a module. No command builds it, so that it alone is held whole whatever its size, up to copyLimit.
func (ld *loader) bigModule(ctx context.Context, k loadKey) error {
	whole := moduleValue{}
	if err := ld.r.Walk(&whole); err != nil {
		if errors.Is(err, rdb.ErrTooLarge) {
			ld.l.ledger.reportKey(keyspace.Key{DB: k.db, Name: k.name}, fmt.Sprintf("a value of a module of more than %d MiB: one command cannot carry it, and several cannot build it", copyLimit>>20))
			return nil
		}
		return fmt.Errorf("snapshot: key %s of database %d: %w", printable(k.name), k.db, err)
	}
	payload, err := ld.l.m.target.payloads.appendValue(nil, k.kind, whole.raw, copyLimit)
	if notRestorable(err) {
		ld.l.ledger.reportKey(keyspace.Key{DB: k.db, Name: k.name}, err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("snapshot: key %s of database %d: %w", printable(k.name), k.db, err)
	}
	addr, err := ld.aside.node(ld.l.m.target.slot(k.name))
	if err != nil {
		return err
	}
	k.from, k.to = 0, len(payload)
	return ld.restore(ctx, ld.aside, &batch{addr: addr, keys: []loadKey{k}, payload: payload})
}

// moduleValue gathers the bytes of a value of a module.
type moduleValue struct {
	keyspace.Collector
	raw []byte
}

// ModulePayload takes the next piece.
func (m *moduleValue) ModulePayload(p []byte) error {
	if len(m.raw)+len(p) > copyLimit {
		return rdb.ErrTooLarge
	}
	m.raw = append(m.raw, p...)
	return nil
}

// rebuild writes a value by commands in bounded chunks: under a temporary key of the same slot, which then takes
// the key's name, so that nobody sees half a value.
func (ld *loader) rebuild(ctx context.Context, w *writer, k loadKey, walk func(keyspace.Visitor) error) error {
	if w.t.via != nil {
		return ld.rebuildVia(ctx, w, k, walk)
	}
	slot := w.t.slot(k.name)
	addr, err := w.node(slot)
	if err != nil {
		return err
	}
	c, err := w.conn(ctx, addr)
	if err != nil {
		return err
	}
	out := &chunks{ctx: ctx, w: w, c: c}
	temp := tempKey(ld.l.name, k.name)
	if !w.t.cluster && c.db != k.db {
		c.db = k.db
		if err := out.add("SELECT", strconv.Itoa(k.db)); err != nil {
			return err
		}
	}
	b := newRebuild([]byte(temp), w.t.dialect, func(args ...[]byte) error {
		copied := make([]string, len(args))
		for i, a := range args {
			copied[i] = string(a)
		}
		return out.add(copied...)
	})
	if err = out.add("DEL", temp); err == nil {
		if err = walk(b); err == nil {
			if err = b.Finish(k.expireAt); err == nil {
				err = out.flush()
			}
		}
	}
	if errors.Is(err, errGone) { // from a source that is scanned
		if err := c.dc.Do(ctx, arbitrary(c.dc, "DEL", temp)).Error(); err != nil {
			return fmt.Errorf("target %s: delete %s: %w", c.addr, temp, err)
		}
		ld.l.ledger.snapshotExpired.Add(1)
		return nil
	}
	if err == nil {
		var built int64
		if built, err = c.dc.Do(ctx, arbitrary(c.dc, "EXISTS", temp)).AsInt64(); err == nil && built == 0 {
			ld.l.ledger.snapshotExpired.Add(1) // the key, or every field of it, has expired meanwhile
			return nil
		}
	}
	if err == nil {
		err = ld.rename(ctx, c, temp, k)
	}
	for _, lost := range b.Lost {
		ld.l.ledger.note(k.db, k.name, "", lost)
	}
	return ld.settleRebuild(ctx, c, temp, k, err)
}

func (ld *loader) rename(ctx context.Context, c *conn, temp string, k loadKey) error {
	if ld.replaces(false) {
		return c.dc.Do(ctx, arbitrary(c.dc, "RENAME", temp, k.name)).Error()
	}
	n, err := c.dc.Do(ctx, arbitrary(c.dc, "RENAMENX", temp, k.name)).AsInt64()
	if err == nil && n == 0 {
		return errExists
	}
	return err
}

var errExists = errors.New("the key exists already")

// settleRebuild counts how a rebuilt key ended. What the target has no type for is a problem of that key;
// everything else ends the load.
func (ld *loader) settleRebuild(ctx context.Context, c *conn, temp string, k loadKey, err error) error {
	if err == nil {
		ld.l.ledger.snapshotApplied.Add(1)
		return nil
	}
	code := endpoint.Code(err)
	where := fmt.Sprintf("target %s: write key %s by commands", c.addr, printable(k.name))
	switch {
	case code == "OOM":
		return fmt.Errorf("%s: %w", where, errTargetFull)
	case code == "NOPERM", code == "NOAUTH", passing(code):
		return fmt.Errorf("%s: %w", where, err)
	case code != "", errors.Is(err, errExists), isUnsupported(err):
	default:
		return fmt.Errorf("%s: %w; run the same command again to resume", where, err)
	}
	if derr := c.dc.Do(ctx, arbitrary(c.dc, "DEL", temp)).Error(); derr != nil {
		return fmt.Errorf("target %s: delete %s: %w", c.addr, temp, derr)
	}
	switch {
	case !errors.Is(err, errExists):
		ld.l.ledger.reportKey(keyspace.Key{DB: k.db, Name: k.name}, err.Error())
	case ld.l.m.cfg.OnExisting == ExistingKeep:
		ld.l.ledger.snapshotKept.Add(1)
	default:
		return fmt.Errorf("%s: it exists already: empty the target, or say Config.OnExisting replace or keep", where)
	}
	return nil
}

// chunks pipelines commands of one connection in bounded portions; the first refusal ends it.
type chunks struct {
	ctx   context.Context
	w     *writer
	c     *conn
	cmds  []rueidis.Completed
	bytes int
}

func (o *chunks) add(args ...string) error {
	for _, a := range args {
		o.bytes += len(a)
	}
	o.cmds = append(o.cmds, arbitrary(o.c.dc, args...))
	if o.bytes >= 1<<20 || len(o.cmds) >= 1000 {
		return o.flush()
	}
	return nil
}

func (o *chunks) flush() error {
	if len(o.cmds) == 0 {
		return nil
	}
	if err := errors.Join(wait(o.ctx, o.w.t.bytes, o.bytes), wait(o.ctx, o.w.t.ops, len(o.cmds))); err != nil {
		return err
	}
	res := o.c.dc.DoMulti(o.ctx, o.cmds...)
	o.cmds, o.bytes = o.cmds[:0], 0
	for _, r := range res {
		if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
	}
	return nil
}
