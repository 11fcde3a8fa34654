package load

import (
	"context"
	"errors"
	"fmt"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/migrator/internal/target"
)

// big writes a value that is too large to be held in memory, as it is read from the snapshot.
func (ld *Loader) big(ctx context.Context, k target.Value) error {
	if k.Kind == rdb.TypeModule {
		return ld.bigModule(ctx, k)
	}
	return ld.rebuild(ctx, ld.single, k, ld.r.Walk)
}

// bigModule writes a value of a module, which no commands can build. It is held in memory whole, up to CopyLimit.
func (ld *Loader) bigModule(ctx context.Context, k target.Value) error {
	whole := moduleValue{}
	if err := ld.r.Walk(&whole); err != nil {
		if errors.Is(err, rdb.ErrTooLarge) {
			ld.Ledger.ReportKey(keyspace.Key{DB: k.DB, Name: k.Name}, fmt.Sprintf("the value belongs to a module and is larger than %d MiB: it is too large for one command, and several commands cannot build it", target.CopyLimit>>20))
			return nil
		}
		return fmt.Errorf("snapshot: key %s of database %d: %w", keyspace.PrintableShort(k.Name), k.DB, err)
	}
	payload, err := ld.Target.Payloads.AppendValue(nil, k.Kind, whole.raw, target.CopyLimit)
	if target.NotRestorable(err) {
		ld.Ledger.ReportKey(keyspace.Key{DB: k.DB, Name: k.Name}, err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("snapshot: key %s of database %d: %w", keyspace.PrintableShort(k.Name), k.DB, err)
	}
	addr, err := ld.Target.AddrOf(k.Name)
	if err != nil {
		return err
	}
	k.From, k.To = 0, len(payload)
	return ld.restore(ctx, ld.single, &target.Batch{Addr: addr, Keys: []target.Value{k}, Payload: payload, Over: ld.Over})
}

// moduleValue gathers the bytes of a value of a module.
type moduleValue struct {
	keyspace.Collector
	raw []byte
}

// ModulePayload appends the next piece of the value.
func (m *moduleValue) ModulePayload(p []byte) error {
	if len(m.raw)+len(p) > target.CopyLimit {
		return rdb.ErrTooLarge
	}
	m.raw = append(m.raw, p...)
	return nil
}
