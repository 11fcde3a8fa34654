package migrator

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// unit is what one checkpoint speaks of: a slot of a cluster, a lane of a standalone server.
type unit int

// transaction is what is applied together with the checkpoint of its units, all or nothing.
type transaction struct {
	slot  uint16
	units []unit
	end   int64 // offset that the checkpoints name afterwards
	calls []call
	fence map[keyspace.Key]int64 // keys copied as of a later offset: their commands up to it are already in

	forget []string // fence fields that have had their time

	written []writtenUnit // checkpoints that must be there already

	sent    time.Time
	failed  []failure // calls that the target refused
	watched error     // why the WATCH before it was refused
	doubt   bool      // the connection broke before the reply: the target knows whether it is applied
}

// writtenUnit is a checkpoint that a transaction writes over one that the target had acknowledged.
type writtenUnit struct {
	unit   unit
	pos    int   // of the command in the transaction as it was sent, MULTI being 0
	fields int64 // how many fields it writes
}

func (x *transaction) size() int {
	n := 0
	for i := range x.calls {
		for _, a := range x.calls[i].args {
			n += len(a)
		}
	}
	return n
}

// refused finds out why EXEC ran nothing: the queued command that the server did not take, or the server's state.
func (x *transaction) refused(res []answer, exec error) (again, err error) {
	reasons := map[int]error{len(res) - 1: exec}
	if code := abortCode(exec); code == "OOM" {
		return nil, errTargetFull
	} else if passing(code) {
		return exec, nil
	}
	for i, r := range res[:len(res)-1] {
		if e := r.err; e != nil {
			reasons[i] = e
		}
	}
	for i, e := range reasons {
		code := endpoint.Code(e)
		switch {
		case code == "OOM":
			return nil, errTargetFull
		case passing(code):
			return e, nil
		case code == "NOAUTH", code == "WRONGPASS", code == "NOPERM":
			return nil, e
		case i < len(res)-1 && !x.isCall(i) && passing(endpoint.Code(x.watched)):
			return x.watched, nil
		case i < len(res)-1 && !x.isCall(i), i == len(res)-1 && code != "EXECABORT" && code != "CROSSSLOT":
			return nil, fmt.Errorf("transaction refused: %w", e)
		}
	}
	// calls that cannot run here: the rest goes in without them
	rest := x.calls[:0:0]
	for _, c := range x.calls {
		if e := reasons[c.pos]; e != nil || len(reasons) == 1 {
			x.failed = append(x.failed, failure{c, cmp.Or(e, exec)})
			continue
		}
		rest = append(rest, c)
	}
	x.calls = rest
	return exec, nil
}

// abortCode returns the code within "EXECABORT Transaction discarded because of: <error>", by which EXEC says since 6.2
// that the server's state forbids what was queued while it still allowed it; "" for every other reply.
func abortCode(err error) string {
	if endpoint.Code(err) != "EXECABORT" {
		return ""
	}
	_, cause, _ := strings.Cut(err.Error(), "because of: ")
	code, _, _ := strings.Cut(strings.TrimPrefix(cause, "-"), " ")
	return code
}

func (x *transaction) isCall(pos int) bool {
	for _, c := range x.calls {
		if c.pos == pos {
			return true
		}
	}
	return false
}
