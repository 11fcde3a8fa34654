package migrator

import (
	"context"
	"errors"
	"fmt"

	"surecut/internal/endpoint"
)

// writer is all that a link does to the keys of the target. It keeps connections of its own and is not safe for concurrent use. direct
// writes to the nodes themselves, proxied through a proxy; which one a target gets is decided where it is opened.
type writer interface {
	committer
	restorer
}

// newWriter returns a writer for the link.
func (l *link) newWriter() writer { return l.m.target.newWriter(l.name, l.positions.acknowledged) }

// takeFor waits until transactions may be sent.
func (t *target) takeFor(ctx context.Context, txs []*transaction) error {
	size, ops := 0, 0
	for _, x := range txs {
		size += x.size()
		ops += len(x.calls)
	}
	return t.take(ctx, size, ops)
}

// refusedError is an error reply that will not go away, or the reason why there could not be another one.
type refusedError struct {
	addr  string
	reply error
}

func (e *refusedError) Error() string { return "target " + e.addr + ": " + e.reply.Error() }
func (e *refusedError) Unwrap() error { return e.reply }

// errExists refuses a value whose key the target has already.
var errExists = errors.New("the key exists already")

// overwrite says whether a value takes the place of what its key holds already.
type overwrite struct {
	first bool // always
	later bool // where an earlier attempt may have written it
}

// at returns the answer for an attempt, of which the first has the number 1.
func (o overwrite) at(attempt int) bool { return o.first || o.later && attempt > 1 }

// judge sorts the failure of one value of a snapshot: again may be tried once more, err ends the load, and refused is of this value alone.
func judge(addr string, k *loadKey, failed error) (refused *refusedError, again, err error) {
	switch code := endpoint.Code(failed); {
	case failed == nil:
		return nil, nil, nil
	case errors.Is(failed, errExists), errors.Is(failed, errKeyTooLong):
	case code == "", passing(code):
		return nil, failed, nil
	case code == "OOM":
		return nil, nil, fmt.Errorf("target %s: %w", addr, errTargetFull)
	case code == "BUSYKEY":
		failed = errExists
	case code == "NOPERM", code == "NOAUTH", k.restored:
		return nil, nil, fmt.Errorf("target %s: RESTORE %s: %w", addr, printable(k.name), failed)
	}
	return &refusedError{addr, failed}, nil, nil
}

// judgeRebuilt sorts the failure of a value that was built by commands: a refusedError is of this value alone, others end the load.
func judgeRebuilt(where, addr string, failed error) error {
	switch code := endpoint.Code(failed); {
	case failed == nil, errors.Is(failed, errGone):
		return failed
	case code == "OOM":
		return fmt.Errorf("%s: %w", where, errTargetFull)
	case code == "NOPERM", code == "NOAUTH":
		return fmt.Errorf("%s: %w", where, failed)
	case passing(code), endpoint.Unreached(failed): // nothing is wrong with the value
	case code != "", errors.Is(failed, errExists), isUnsupported(failed):
		return &refusedError{addr, failed}
	}
	return fmt.Errorf("%s: %w; run the same command again to resume", where, failed)
}
