package target

import (
	"context"
	"errors"
	"fmt"

	"surecut/internal/keyspace"
)

// Writer does all that a link does to the keys of the target. It has connections of its own, and is not safe for concurrent use. There are
// two kinds: direct writes to the nodes themselves, and proxied through a proxy. Open chooses the kind. What the methods promise
// stands where they are used: load.Writer, stream.Committer and stream.Writer.
type Writer interface {
	Commit(ctx context.Context, txs []*Transaction) error
	Restore(ctx context.Context, b *Batch, settle func(k *Value, refused *RefusedError) error) error
	Rebuild(ctx context.Context, k Value, over Overwrite, walk func(keyspace.Visitor) error) (lost []string, err error)
	Remove(ctx context.Context, keys []keyspace.Key) error
	Close()
}

// Writing is what a writer knows of the link that it writes for.
type Writing struct {
	Checkpoints  *Checkpoints     // of the link
	Acknowledged func(Unit) int64 // returns the furthest checkpoint of a unit that the target has acknowledged
}

// judge says what becomes of a value of a snapshot that was written. again: it is to be sent again; err: the load ends; refused: only this
// value is refused.
func judge(addr string, k *Value, failed error) (refused *RefusedError, again, err error) {
	verb, p := "RESTORE", toRestore
	if k.restored {
		verb, p = "PEXPIREAT", toGoOn
	}
	switch consequenceOf(failed, p) {
	case noError:
		return nil, nil, nil
	case concernsKey:
		return &RefusedError{addr, failed}, nil, nil
	case keyExists:
		return &RefusedError{addr, ErrExists}, nil, nil
	case endsRun:
		return nil, nil, fmt.Errorf("target %s: %s %s: %w", addr, verb, keyspace.PrintableShort(k.Name), endOf(failed))
	}
	return nil, failed, nil
}

// judgeBuilt says what becomes of a value that was built by commands. It returns a RefusedError if only this value is refused; any other
// error ends the load.
func judgeBuilt(where, addr string, failed error) error {
	if errors.Is(failed, keyspace.ErrGone) {
		return failed
	}
	switch consequenceOf(failed, toBuild) {
	case noError:
		return nil
	case concernsKey, keyExists:
		return &RefusedError{addr, failed}
	}
	return fmt.Errorf("%s: %w", where, endOf(failed))
}
