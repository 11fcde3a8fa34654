package target

import (
	"context"
	"errors"
	"fmt"

	"surecut/internal/endpoint"
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
	Link         string           // the link's name
	Acknowledged func(Unit) int64 // returns the furthest checkpoint of a unit that the target has acknowledged
	Instances    *Instances       // which servers the target consists of; nil: everything is sent with a checkpoint
}

// takeFor waits until the rate limits allow transactions to be sent.
func (t *Target) takeFor(ctx context.Context, txs []*Transaction) error {
	size, ops := 0, 0
	for _, x := range txs {
		size += x.size()
		ops += len(x.Calls)
	}
	return t.take(ctx, size, ops)
}

// RefusedError is an error reply by which the target refuses a command for good, or the reason why a command was not sent.
type RefusedError struct {
	Addr  string
	Reply error
}

func (e *RefusedError) Error() string { return "target " + e.Addr + ": " + e.Reply.Error() }
func (e *RefusedError) Unwrap() error { return e.Reply }

// ErrExists says that a value was not written since the target has its key already.
var ErrExists = errors.New("the key exists already")

// judge sorts the failure of writing one value of a snapshot. again: it may be tried once more; err: the load ends; refused: only this
// value is refused.
func judge(addr string, k *Value, failed error) (refused *RefusedError, again, err error) {
	if failed == nil {
		return nil, nil, nil
	}
	switch code := endpoint.Code(failed); {
	case errors.Is(failed, ErrExists), errors.Is(failed, errKeyTooLong):
	case code == "", endpoint.Passing(code):
		return nil, failed, nil
	case code == "OOM":
		return nil, nil, fmt.Errorf("target %s: %w", addr, ErrTargetFull)
	case code == "BUSYKEY":
		failed = ErrExists
	case code == "NOPERM", code == "NOAUTH", k.restored:
		return nil, nil, fmt.Errorf("target %s: RESTORE %s: %w", addr, keyspace.PrintableShort(k.Name), failed)
	}
	return &RefusedError{addr, failed}, nil, nil
}

// judgeRebuilt sorts the failure of building a value by commands. It returns a RefusedError if only this value is refused; any other error
// ends the load.
func judgeRebuilt(where, addr string, failed error) error {
	switch code := endpoint.Code(failed); {
	case failed == nil, errors.Is(failed, keyspace.ErrGone):
		return failed
	case code == "OOM":
		return fmt.Errorf("%s: %w", where, ErrTargetFull)
	case code == "NOPERM", code == "NOAUTH":
		return fmt.Errorf("%s: %w", where, failed)
	case endpoint.Passing(code), endpoint.Unreached(failed): // nothing is wrong with the value
	case code != "", errors.Is(failed, ErrExists), isUnsupported(failed):
		return &RefusedError{addr, failed}
	}
	return fmt.Errorf("%s: %w; run the same command again to resume", where, failed)
}
