package migrator

import (
	"context"
	"errors"
	"fmt"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// writer does all that a link does to the keys of the target. It has connections of its own, and is not safe for concurrent use. There are
// two kinds: direct writes to the nodes themselves, and proxied through a proxy. newTarget chooses the kind. What the methods promise is
// said where they are used.
type writer interface {
	commit(ctx context.Context, txs []*transaction) error
	restore(ctx context.Context, b *batch, settle func(k *loadKey, refused *refusedError) error) error
	rebuild(ctx context.Context, k loadKey, over overwrite, walk func(keyspace.Visitor) error) (lost []string, err error)
	remove(ctx context.Context, keys []keyspace.Key) error
	close()
}

// writing is what a writer knows of the link that it writes for.
type writing struct {
	link         string           // the link's name
	acknowledged func(unit) int64 // returns the furthest checkpoint of a unit that the target has acknowledged
	instances    *instances       // which servers the target consists of; nil: everything is sent with a checkpoint
}

// takeFor waits until the rate limits allow transactions to be sent.
func (t *target) takeFor(ctx context.Context, txs []*transaction) error {
	size, ops := 0, 0
	for _, x := range txs {
		size += x.size()
		ops += len(x.calls)
	}
	return t.take(ctx, size, ops)
}

// refusedError is an error reply by which the target refuses a command for good, or the reason why a command was not sent.
type refusedError struct {
	addr  string
	reply error
}

func (e *refusedError) Error() string { return "target " + e.addr + ": " + e.reply.Error() }
func (e *refusedError) Unwrap() error { return e.reply }

// errExists says that a value was not written since the target has its key already.
var errExists = errors.New("the key exists already")

// judge sorts the failure of writing one value of a snapshot. again: it may be tried once more; err: the load ends; refused: only this
// value is refused.
func judge(addr string, k *loadKey, failed error) (refused *refusedError, again, err error) {
	if failed == nil {
		return nil, nil, nil
	}
	switch code := endpoint.Code(failed); {
	case errors.Is(failed, errExists), errors.Is(failed, errKeyTooLong):
	case code == "", endpoint.Passing(code):
		return nil, failed, nil
	case code == "OOM":
		return nil, nil, fmt.Errorf("target %s: %w", addr, errTargetFull)
	case code == "BUSYKEY":
		failed = errExists
	case code == "NOPERM", code == "NOAUTH", k.restored:
		return nil, nil, fmt.Errorf("target %s: RESTORE %s: %w", addr, keyspace.PrintableShort(k.name), failed)
	}
	return &refusedError{addr, failed}, nil, nil
}

// judgeRebuilt sorts the failure of building a value by commands. It returns a refusedError if only this value is refused; any other error
// ends the load.
func judgeRebuilt(where, addr string, failed error) error {
	switch code := endpoint.Code(failed); {
	case failed == nil, errors.Is(failed, keyspace.ErrGone):
		return failed
	case code == "OOM":
		return fmt.Errorf("%s: %w", where, errTargetFull)
	case code == "NOPERM", code == "NOAUTH":
		return fmt.Errorf("%s: %w", where, failed)
	case endpoint.Passing(code), endpoint.Unreached(failed): // nothing is wrong with the value
	case code != "", errors.Is(failed, errExists), isUnsupported(failed):
		return &refusedError{addr, failed}
	}
	return fmt.Errorf("%s: %w; run the same command again to resume", where, failed)
}
