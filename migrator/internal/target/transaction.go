package target

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// Unit is what one checkpoint covers: the number of a slot of a cluster, or of a lane of a standalone server.
type Unit int

// Transaction holds calls that are applied together with the checkpoints of their units, all or nothing (but see proxied).
type Transaction struct {
	Slot  uint16
	Units []Unit
	End   int64 // offset that the checkpoints hold afterwards
	Calls []Call
	Fence map[keyspace.Key]int64 // offsets as of which the transaction copies keys; nil: it copies none

	Forget []string // fence fields to delete, since the stream has passed their offsets

	Absolute bool // all calls may be applied again from an earlier point, and need not be applied together
	Bare     bool // the calls were last sent as single commands, without a checkpoint

	written []writtenUnit // checkpoints that must exist on the target already
	selects []int         // indexes of the SELECT commands in the transaction as it was sent, MULTI being 0

	sent    time.Time
	Failed  []Failure // calls that the target refused, or whose keys are to be copied for another reason
	watched error     // the error reply to the WATCH before the transaction, if any
	lost    int       // how often in a row a connection broke at the transaction
	doubt   bool      // the connection broke before the reply, so that only the target knows whether the transaction was applied
}

// writtenUnit is a checkpoint that a transaction writes over one that the target has acknowledged before.
type writtenUnit struct {
	unit   Unit
	pos    int   // index of the command in the transaction as it was sent, MULTI being 0
	fields int64 // how many fields the command writes
}

// Expand replaces each series by a call for each of its commands.
func (x *Transaction) Expand() {
	if !x.hasSeries() {
		return
	}
	calls := make([]Call, 0, x.commands())
	for i := range x.Calls {
		if c := &x.Calls[i]; c.Series != nil {
			calls = c.Series.calls(calls, c)
		} else {
			calls = append(calls, *c)
		}
	}
	x.Calls = calls
}

func (x *Transaction) hasSeries() bool {
	for i := range x.Calls {
		if x.Calls[i].Series != nil {
			return true
		}
	}
	return false
}

// noteExpiries notes the expiries that the calls set. A later call of the same transaction may read a key that has expired before it arrives.
func (x *Transaction) noteExpiries(e *Expiring) {
	for i := range x.Calls {
		if c := &x.Calls[i]; c.Expires > 0 {
			e.Note(c.DB, c.Args[1], c.Expires)
		}
	}
}

// commands returns how many commands the calls are.
func (x *Transaction) commands() int {
	n := 0
	for i := range x.Calls {
		n += x.Calls[i].size()
	}
	return n
}

// fail adds a call to failed, unless an earlier attempt has done so.
func (x *Transaction) fail(c *Call, why error) {
	if !c.failed {
		c.failed = true
		x.Failed = append(x.Failed, Failure{*c, why})
	}
}

// withdraw moves a call to Failed, since the server could not read it.
func (x *Transaction) withdraw(i int, why error) {
	x.fail(&x.Calls[i], why)
	x.Calls = slices.Concat(x.Calls[:i], x.Calls[i+1:])
}

// failUnseen adds to failed the calls whose lost replies might have shown that the target lacks keys. Those to plain commands could not.
func (x *Transaction) failUnseen() {
	for i := range x.Calls {
		if c := &x.Calls[i]; c.Renew != 0 || c.asked > 0 {
			x.fail(c, errUnseen)
		}
	}
}

// late says whether the replies have come so late that keys may have expired of which that was not expected when the calls were sent.
func (x *Transaction) late() bool { return time.Since(x.sent).Milliseconds() > expiryAhead/2 }

func (x *Transaction) size() int {
	n := int64(0)
	for i := range x.Calls {
		n += x.Calls[i].bytes()
	}
	return int(n)
}

// refused finds out why EXEC ran nothing. again says that the transaction is to be sent once more: the server's state may pass, or the
// calls that the server did not queue have been moved from calls to failed.
func (x *Transaction) refused(res []answer, exec error) (again, err error) {
	if consequenceOf(x.watched, toGoOn).again() { // this explains all replies that come after it
		return x.watched, nil
	}
	x.Expand()
	reasons := map[int]error{len(res) - 1: exec}
	for i, r := range res[:len(res)-1] {
		if r.err != nil {
			reasons[i] = r.err
		}
	}
	greatest, why := noError, error(nil)
	for i := range res {
		p, code := toGoOn, endpoint.Code(reasons[i]) // without its frame nothing of a transaction may be applied
		if x.isCall(i) || i == len(res)-1 && (code == "EXECABORT" || code == "CROSSSLOT") {
			p = toFollow // by these codes EXEC says that calls were refused
		}
		if is := consequenceOf(reasons[i], p); is > greatest {
			greatest, why = is, reasons[i]
		}
	}
	switch {
	case greatest.again():
		return why, nil
	case greatest == endsRun:
		return nil, fmt.Errorf("transaction refused: %w", endOf(why))
	}
	// The server refused calls themselves: the others are sent again without them.
	rest := x.Calls[:0:0]
	for _, c := range x.Calls {
		if e := reasons[c.pos]; e != nil || len(reasons) == 1 {
			x.Failed = append(x.Failed, Failure{c, cmp.Or(e, exec)})
			continue
		}
		rest = append(rest, c)
	}
	x.Calls = rest
	return exec, nil
}

func (x *Transaction) isCall(pos int) bool { return x.callAt(pos) >= 0 }

// callAt returns the index of the call at a position of the transaction as it was sent; -1: that is none.
func (x *Transaction) callAt(pos int) int {
	return slices.IndexFunc(x.Calls, func(c Call) bool { return c.pos == pos })
}
