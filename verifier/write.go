package verifier

import (
	"context"
	"strconv"

	"surecut/internal/keyspace"
)

// keyWriter writes keys of the target over one connection. Only Repair has one.
type keyWriter struct{ *conn }

// delete removes a key.
func (w keyWriter) delete(ctx context.Context, name string) error {
	_, err := w.one(ctx, "DEL", name)
	return err
}

// expire sets when a key expires, in Unix ms, and takes its expiry away where it is 0.
func (w keyWriter) expire(ctx context.Context, name string, at int64) error {
	command := []string{"PEXPIREAT", name, strconv.FormatInt(at, 10)}
	if at == 0 {
		command = []string{"PERSIST", name}
	}
	_, err := w.one(ctx, command...)
	return err
}

// restore replaces whatever a key holds by the value.
func (w keyWriter) restore(ctx context.Context, name, payload string, expireAt int64) error {
	if w.node.facts.Number >= 50000 {
		_, err := w.one(ctx, "RESTORE", name, strconv.FormatInt(expireAt, 10), payload, "REPLACE", "ABSTTL")
		return err
	}
	return w.restoreAside(ctx, name, payload, expireAt)
}

// restoreAside restores a key on a server that lacks ABSTTL (since 5.0) or REPLACE (since 3.0). It restores under another name of
// the same slot, which is then renamed to the key's name, so that a payload that is refused destroys nothing.
func (w keyWriter) restoreAside(ctx context.Context, name, payload string, expireAt int64) error {
	aside := keyspace.Prefix + ":repair:{" + keyspace.SlotTag(keyspace.Slot(name)) + "}:" + name
	steps := [][]string{{"DEL", aside}, {"RESTORE", aside, "0", payload}}
	if expireAt != 0 {
		steps = append(steps, []string{"PEXPIREAT", aside, strconv.FormatInt(expireAt, 10)})
	}
	for _, args := range append(steps, []string{"RENAME", aside, name}) {
		if _, err := w.one(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
