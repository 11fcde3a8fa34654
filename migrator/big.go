package migrator

import (
	"context"
	"errors"
	"fmt"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// big writes a value that is too large to be held in memory, as it is read from the snapshot.
func (ld *loader) big(ctx context.Context, k loadKey) error {
	if k.kind == rdb.TypeModule {
		return ld.bigModule(ctx, k)
	}
	return ld.rebuild(ctx, ld.single, k, ld.r.Walk)
}

// bigModule writes a value of a module, which no commands can build. It is held in memory whole, up to copyLimit.
func (ld *loader) bigModule(ctx context.Context, k loadKey) error {
	whole := moduleValue{}
	if err := ld.r.Walk(&whole); err != nil {
		if errors.Is(err, rdb.ErrTooLarge) {
			ld.Ledger.ReportKey(keyspace.Key{DB: k.db, Name: k.name}, fmt.Sprintf("a value of a module of more than %d MiB: one command cannot carry it, and several cannot build it", copyLimit>>20))
			return nil
		}
		return fmt.Errorf("snapshot: key %s of database %d: %w", keyspace.PrintableShort(k.name), k.db, err)
	}
	payload, err := ld.Target.payloads.appendValue(nil, k.kind, whole.raw, copyLimit)
	if notRestorable(err) {
		ld.Ledger.ReportKey(keyspace.Key{DB: k.db, Name: k.name}, err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("snapshot: key %s of database %d: %w", keyspace.PrintableShort(k.name), k.db, err)
	}
	addr, err := ld.Target.addrOf(k.name)
	if err != nil {
		return err
	}
	k.from, k.to = 0, len(payload)
	return ld.restore(ctx, ld.single, &batch{addr: addr, keys: []loadKey{k}, payload: payload, over: ld.Over})
}

// moduleValue gathers the bytes of a value of a module.
type moduleValue struct {
	keyspace.Collector
	raw []byte
}

// ModulePayload appends the next piece of the value.
func (m *moduleValue) ModulePayload(p []byte) error {
	if len(m.raw)+len(p) > copyLimit {
		return rdb.ErrTooLarge
	}
	m.raw = append(m.raw, p...)
	return nil
}
