package target

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/retry"
)

// proxied writes through a proxy, which passes no MULTI on, so that no checkpoint can be written together with the data. The link's record
// is written after the data. A command that may have been applied already is not sent again: its keys are copied from the source instead.
// That concerns commands that were on their way when a connection was lost and, after a restart, all commands between the record and the
// reach (see reach.go).
//
// A proxy may spread the commands of one connection over several connections to a server, which may then run them in another order. So
// calls are sent in waves, in which no key occurs twice, and the next wave waits for the answers to the one before.
type proxied struct {
	Writing
	*connections
	p *proxy
}

var _ Writer = (*proxied)(nil)

// Commit sends the calls of transactions. Calls that copy keys may be repeated, and are until all are answered. Other calls are sent once;
// those that were refused, or not answered, are then in Failed.
func (w *proxied) Commit(ctx context.Context, txs []*Transaction) error {
	if err := w.t.takeFor(ctx, txs); err != nil {
		return err
	}
	var once, again []*Call
	of := map[*Call]*Transaction{}
	begun := time.Now()
	for _, x := range txs {
		x.withhold(w.t.Most())
		x.Expand()
		for i := range x.Calls {
			c := &x.Calls[i]
			of[c] = x
			ask := w.guard(c)
			switch {
			case x.Fence != nil:
				again = append(again, c)
				continue
			case ask != nil:
				of[ask] = x
				once = append(once, ask)
			}
			once = append(once, c)
		}
	}
	for _, wave := range waves(once) {
		var hindered *Call
		for i, a := range w.sendWave(ctx, wave) {
			c := wave[i]
			switch is := consequenceOf(a.err, toFollow); {
			case is == endsRun:
				return fmt.Errorf("target %s: %w", w.p.at(), endOf(a.err))
			case is.again():
				hindered = c
			}
			if why := w.answered(c, a, begun); why != nil {
				of[c].Failed = append(of[c].Failed, Failure{*c, why})
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if hindered != nil {
			if err := w.recover(ctx, hindered); err != nil {
				return err
			}
		}
	}
	return w.repeat(ctx, again, of)
}

// ifThere is a script that runs the command in ARGV if all KEYS exist: otherwise the command would make a key anew that has expired on the
// target. Through a proxy only a script can check and run in one step. Without a command it only checks.
const (
	ifThere = `for i = 1, #KEYS do if redis.call('EXISTS', KEYS[i]) == 0 then return {ok = '` + replyGone + `'} end end
if #ARGV == 0 then return 1 end
return redis.pcall(unpack(ARGV))`
	replyGone = keyspace.Prefix + ":gone"
	// mostUnpacked bounds the words of a command that ifThere runs: Lua's unpack takes a limited number.
	mostUnpacked = 4000
)

// guard has a call that reads keys which may have expired on the target be run only if they exist (see ifThere). For a call that ifThere
// cannot run, guard returns one to send before it, which only asks for the keys. It also notes how the call changes expiries.
func (w *proxied) guard(c *Call) (ask *Call) {
	e := w.t.Expiring
	gone := c.gone(e)
	if c.Expires > 0 {
		e.Note(c.DB, c.Args[1], c.Expires)
	}
	e.learn(c)
	switch script := strings.HasPrefix(strings.ToUpper(c.Args[0]), "EVAL"); {
	case len(gone) == 0:
	case !script && len(c.Args) <= mostUnpacked:
		c.needs = gone
	default:
		return &Call{DB: c.DB, Args: c.Args, Key: c.Key, needs: gone, asks: true}
	}
	return nil
}

// repeat sends the calls that copy keys until all are answered. Those that the target refuses are then in Failed.
func (w *proxied) repeat(ctx context.Context, calls []*Call, of map[*Call]*Transaction) error {
	if len(calls) == 0 {
		return nil
	}
	return w.t.Retry(ctx, func() (again, err error) {
		for _, x := range of {
			if x.Fence != nil {
				x.Failed = nil
			}
		}
		for _, wave := range waves(calls) {
			for i, a := range w.sendWave(ctx, wave) {
				switch is := consequenceOf(a.err, toFollow); {
				case is == endsRun:
					return nil, fmt.Errorf("target %s: %w", w.p.at(), endOf(a.err))
				case is.again():
					return fmt.Errorf("target %s: %w", w.p.at(), a.err), ctx.Err()
				case is == concernsKey:
					of[wave[i]].Failed = append(of[wave[i]].Failed, Failure{*wave[i], a.err})
				}
			}
		}
		return nil, ctx.Err()
	})
}

// sendWave sends calls in one pipeline, and returns an answer for each. If the connection is lost, it waits for proxyGrace, after which the
// proxy passes nothing on any more that was sent on it.
func (w *proxied) sendWave(ctx context.Context, wave []*Call) []answer {
	addr := w.p.at()
	answers := make([]answer, len(wave))
	c, err := w.conn(ctx, addr)
	if err != nil {
		for i := range answers {
			answers[i].err = err
		}
		return answers
	}
	w.out = w.out[:0]
	at, selected := make([]int, len(wave)), make([]int, len(wave)) // index of each call's reply, and of the SELECT's before it; -1: not sent
	for i, x := range wave {
		at[i], selected[i] = -1, -1
		if w.p.refuses(ctx, x) {
			answers[i].err = errKeyTooLong
			continue
		}
		if !w.t.DBs.Only && x.DB != c.db {
			selected[i] = len(w.out)
			w.out = append(w.out, arbitrary(c.dc, "SELECT", strconv.Itoa(x.DB)))
			c.db = x.DB
		}
		at[i] = len(w.out)
		w.out = append(w.out, arbitrary(c.dc, w.p.form(x)...))
	}
	if len(w.out) == 0 {
		return answers
	}
	all := c.dc.DoMulti(ctx, w.out...)
	lost := false
	for i := range wave {
		if at[i] < 0 {
			continue
		}
		answers[i] = answerOf(all[at[i]])
		if before := selected[i]; before >= 0 && all[before].Error() != nil {
			answers[i] = answerOf(all[before]) // the call ran in another database, so that its own reply says nothing
			c.db = -1
		}
		lost = lost || all[at[i]].NonRedisError() != nil
	}
	if lost {
		w.drop(addr)
		_ = retry.Pause(ctx, proxyGrace) // the answers are returned even if ctx ends
	}
	return answers
}

// recover returns once the server that holds the key of a call answers again, or ErrReplaced if it may lack what it had acknowledged.
func (w *proxied) recover(ctx context.Context, hindered *Call) error {
	err := w.t.Retry(ctx, func() (again, err error) {
		ask := &Call{DB: hindered.DB, Args: []string{"EXISTS", hindered.Key.Name}, Key: hindered.Key}
		if a := w.sendWave(ctx, []*Call{ask})[0]; consequenceOf(a.err, toFollow).again() {
			again = fmt.Errorf("target %s: %w", w.p.at(), a.err)
		}
		return again, ctx.Err()
	})
	if err != nil {
		return err
	}
	return w.Checkpoints.verifyInstances(ctx)
}

// answered returns an error if an answer shows that the call may not have done on the target what it did on the source. If too much time
// has gone by since begun, when guard looked at expiries, keys may have expired that it did not ask for.
func (w *proxied) answered(c *Call, a answer, begun time.Time) error {
	switch {
	case a.err != nil:
		return a.err
	case len(c.needs) > 0 && a.text == replyGone, time.Since(begun).Milliseconds() > expiryAhead/2 && len(c.gone(w.t.Expiring)) > 0:
		return ErrExpired
	}
	return c.disagrees(&a, w.t.Expiring)
}

// waves groups calls into waves. No two calls of a wave share a key, and a call is in a later wave than every earlier call with which it
// shares one.
func waves(calls []*Call) [][]*Call {
	var out [][]*Call
	last := map[keyspace.Key]int{} // the first wave in which a key may occur again
	for _, c := range calls {
		keys := c.Keys()
		n := 0
		for _, k := range keys {
			n = max(n, last[k])
		}
		for _, k := range keys {
			last[k] = n + 1
		}
		if n == len(out) {
			out = append(out, nil)
		}
		out[n] = append(out[n], c)
	}
	return out
}
