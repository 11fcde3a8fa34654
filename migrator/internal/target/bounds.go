package target

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"surecut/internal/endpoint"
)

// Bounds are what every node of a target takes at most; 0: not known. A server closes the connection at a command beyond them, with a
// protocol error or without a word, so that the command must not be sent: a lost connection would be taken for an outage, and the command
// would be sent again for ever.
type Bounds struct {
	Argument int64  // bytes of one argument
	Limit    string // the setting that Argument comes from
	Text     int64  // bytes of a string, however it is written
	Queued   int64  // bytes of the arguments of all commands between MULTI and EXEC
	Words    int    // arguments of one command, its name included
}

const (
	bulkSetting  = "proto-max-bulk-len"
	querySetting = "client-query-buffer-limit"

	// mostWords is how many arguments a command may have before 7.0.
	mostWords = 1 << 20
	// leastBound is the least number of bytes to which both settings can be set. Nothing smaller is refused for its size.
	leastBound = 1 << 20
	// frameBytes are kept free for what surecut adds to a transaction.
	frameBytes = 64 << 10
)

// TooLargeError says that a command was not sent, or not taken, since it is larger than a server takes. Waiting does not help.
type TooLargeError struct {
	What  string // "an argument of the command", "the value"
	Size  int64
	Most  int64  // 0: not known
	Unit  string // "bytes" or "arguments"
	Limit string // the setting that says so, or what else does
}

func (e *TooLargeError) Error() string {
	if e.Most == 0 {
		return fmt.Sprintf("%s has %d %s, and the target does not take it (%s); raise the limit on the target and migrate the key again", e.What, e.Size, e.Unit, e.Limit)
	}
	return fmt.Sprintf("%s has %d %s, and the target takes at most %d (%s); raise the limit on the target and migrate the key again", e.What, e.Size, e.Unit, e.Most, e.Limit)
}

// refuses returns a TooLargeError if a command is larger than the target takes.
func (b Bounds) refuses(args ...string) error {
	if b.Words > 0 && len(args) > b.Words {
		return &TooLargeError{"the command", int64(len(args)), int64(b.Words), "arguments", "a limit of its version, until 7.0"}
	}
	if n := longest(args); b.Argument > 0 && n > b.Argument {
		return b.tooLong("an argument of the command", n)
	}
	return nil
}

func (b Bounds) tooLong(what string, size int64) error {
	return &TooLargeError{what, size, b.Argument, "bytes", b.Limit}
}

// Refuses returns a TooLargeError if the target does not take the payload of a value in one argument.
func (b Bounds) Refuses(payload int) error {
	if b.Argument > 0 && int64(payload) > b.Argument {
		return b.tooLong("its payload", int64(payload))
	}
	return nil
}

// RefusesCopy says whether the target does not take a payload in a transaction that writes it beside a checkpoint.
func (b Bounds) RefusesCopy(payload int) bool {
	return b.Refuses(payload) != nil || b.Queued > 0 && int64(payload) > b.Queued-2*frameBytes
}

// longest returns the length of the longest argument.
func longest(args []string) (n int64) {
	for _, a := range args {
		n = max(n, int64(len(a)))
	}
	return n
}

// lower returns the smaller of two bounds, of which 0 is none.
func lower[N int | int64](a, b N) N {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// boundsOf returns the bounds of a server by its version and its settings, which map a name to a number of bytes as far as they are known.
func boundsOf(number int, settings map[string]int64) (b Bounds) {
	if number < 70000 {
		b.Words = mostWords
	}
	b.Argument, b.Limit, b.Text = settings[bulkSetting], bulkSetting, settings[bulkSetting]
	query := settings[querySetting]
	if query == 0 {
		return b
	}
	if number >= 70200 { // older servers do not count what is queued
		b.Queued = query
	}
	if fits := query - 2; b.Argument == 0 || fits < b.Argument { // the line end behind the argument counts as well
		b.Argument, b.Limit = fits, querySetting
	}
	return b
}

// common returns the bounds of two servers together.
func (b Bounds) common(o Bounds) Bounds {
	if lower(b.Argument, o.Argument) != b.Argument {
		b.Argument, b.Limit = o.Argument, o.Limit
	}
	b.Text, b.Queued, b.Words = lower(b.Text, o.Text), lower(b.Queued, o.Queued), lower(b.Words, o.Words)
	return b
}

// learnBounds asks a node for its settings. A node that does not tell them has its bounds found out where it closes connections.
func (ns *nodes) learnBounds(ctx context.Context, addr string, number int) error {
	c, err := ns.d.Client(ctx, addr, 0)
	if err != nil {
		return err
	}
	settings := map[string]int64{}
	for _, name := range []string{bulkSetting, querySetting} {
		told, err := c.Do(ctx, arbitrary(c, "CONFIG", "GET", name)).AsStrMap()
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(told[name], 10, 64); err == nil {
			settings[name] = n
		}
	}
	ns.Bounds = ns.Bounds.common(boundsOf(number, settings))
	return ctx.Err()
}

// foundBounds are bounds that a target did not tell, but that its closing of connections has shown; 0: none.
type foundBounds struct{ argument, queued atomic.Int64 }

// Most returns what the target takes at most, as far as it is known by now.
func (ns *nodes) Most() Bounds {
	found := Bounds{Argument: ns.found.argument.Load(), Queued: ns.found.queued.Load(), Limit: "found by trying, since it closes the connection at more; look at its " + bulkSetting + " and " + querySetting + ", and at what is in front of it"}
	return ns.Bounds.common(found)
}

// findBound finds out whether a node closes the connection because of the size of what it was sent: its longest argument has longest bytes,
// and all arguments together have total. If so, Most tells it from then on. A node that does not answer at all has an outage.
func (ns *nodes) findBound(ctx context.Context, addr string, longest, total int64) (found bool) {
	switch {
	case longest >= leastBound && ns.closesAt(ctx, addr, longest, longest):
		ns.found.argument.Store(longest - 1)
	case total >= leastBound && ns.closesAt(ctx, addr, min(longest, leastBound/2), total):
		ns.found.queued.Store(leastBound) // the bound is anywhere from here to total, and what is left out is copied
	default:
		return false
	}
	ns.log.Warn("the target closes the connection at a command of this size, though it answers to small ones", "target", addr, "longest_argument", longest, "bytes", total)
	return true
}

// closesAt says whether a node closes each of several connections when it is sent total bytes in arguments of this size, in a transaction
// that is discarded. The connections have answered to other commands before.
func (ns *nodes) closesAt(ctx context.Context, addr string, size, total int64) bool {
	argument := string(make([]byte, size))
	for range 3 {
		p, _, err := openPipe(ctx, ns, addr)
		if err != nil {
			return false
		}
		p.add("MULTI")
		for left := total; left > 0; left -= max(size, 1) {
			p.add("ECHO", argument)
		}
		p.add("DISCARD")
		res := p.exchange()
		answered := res[len(res)-1].kind != answerNone
		if p.close(); answered {
			return false
		}
	}
	return ctx.Err() == nil
}

// isProtocolError says whether a server has replied that it cannot read a command, after which it closes the connection.
func isProtocolError(err error) bool {
	return endpoint.Code(err) == "ERR" && strings.Contains(err.Error(), "Protocol error")
}

// unreadable returns a TooLargeError if a server has replied that it cannot read a command. What that tells of the target's bounds is noted.
func (ns *nodes) unreadable(reply error, args ...string) error {
	if !isProtocolError(reply) {
		return nil
	}
	if strings.Contains(reply.Error(), "multibulk length") {
		return &TooLargeError{"the command", int64(len(args)), 0, "arguments", reply.Error()}
	}
	n := longest(args)
	if n > leastBound {
		ns.found.argument.Store(n - 1)
	}
	return &TooLargeError{"an argument of the command", n, 0, "bytes", reply.Error() + "; look at its " + bulkSetting}
}

// withhold moves to Failed the calls that are larger than the target takes, and the largest ones while all together are.
func (x *Transaction) withhold(b Bounds) {
	size := int64(x.size())
	if size < leastBound {
		return
	}
	rest := x.Calls[:0:0]
	for _, c := range x.Calls {
		if why := b.refuses(c.Args...); why != nil {
			size -= c.bytes()
			x.fail(&c, why)
			continue
		}
		rest = append(rest, c)
	}
	for b.Queued > 0 && size > b.Queued-frameBytes && len(rest) > 0 {
		at := 0
		for i := range rest {
			if rest[i].bytes() > rest[at].bytes() {
				at = i
			}
		}
		x.fail(&rest[at], &TooLargeError{"the transaction of the command", size, b.Queued, "bytes", querySetting})
		size -= rest[at].bytes()
		rest = slices.Delete(rest, at, at+1)
	}
	x.Calls = rest
}

// bytes returns the length of all arguments of a call.
func (c *Call) bytes() (n int64) {
	if c.Series != nil {
		n = int64(c.Series.Size())
	}
	for _, a := range c.Args {
		n += int64(len(a))
	}
	return n
}

// longest returns the length of the longest argument of all calls.
func (x *Transaction) longest() (n int64) {
	for i := range x.Calls {
		n = max(n, longest(x.Calls[i].Args))
	}
	return n
}
