package migrator

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/retry"
)

// proxied writes through a proxy. There is no MULTI, so that no checkpoint is written together with the data. The link's record is written
// behind them, and what may have been applied beyond it is not applied again: its keys are copied from the source. That concerns what was on
// its way when a connection was lost, and after a restart all between the record and the reach (see reach.go).
//
// Proxies may send the commands of one connection to a server over several. So no key occurs twice in what is sent without an answer: commands
// go in waves.
type proxied struct {
	*connections
	p *proxy
}

var _ writer = (*proxied)(nil)

// commit sends the calls of transactions. Copies may be repeated, and are until they are in. Of other calls those that are
// refused, or that nobody answered for, are in failed.
func (w *proxied) commit(ctx context.Context, txs []*transaction) error {
	if err := w.t.takeFor(ctx, txs); err != nil {
		return err
	}
	var once, again []*call
	of := map[*call]*transaction{}
	begun := time.Now()
	for _, x := range txs {
		for i := range x.calls {
			c := &x.calls[i]
			of[c] = x
			ask := w.guard(c)
			switch {
			case x.fence != nil:
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
		var hindered *call
		for i, a := range w.sendWave(ctx, wave) {
			c := wave[i]
			if err := a.final(w.p.at()); err != nil {
				return err
			}
			if a.hindered() {
				hindered = c
			}
			if why := w.answered(c, a, begun); why != nil {
				of[c].failed = append(of[c].failed, failure{*c, why})
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

// ifThere is the script that runs a command where its keys are there: a key that has expired on the target would be made anew,
// and through a proxy nothing but a script does both in one instant. Without a command it only asks.
const (
	ifThere = `for i = 1, #KEYS do if redis.call('EXISTS', KEYS[i]) == 0 then return {ok = '` + replyGone + `'} end end
if #ARGV == 0 then return 1 end
return redis.pcall(unpack(ARGV))`
	replyGone = keyspace.Prefix + ":gone"
	// mostUnpacked bounds the words of a command that Lua takes.
	mostUnpacked = 4000
)

// guard prepares a call that depends on keys which may have expired on the target: it is run only where they are there. What a
// script cannot run is preceded by a call that asks. What the call does to expiries is remembered.
func (w *proxied) guard(c *call) (ask *call) {
	e := w.t.expiring
	gone := c.gone(e)
	if c.expires > 0 {
		e.note(c.db, c.args[1], c.expires)
	}
	e.learn(c)
	switch script := strings.HasPrefix(strings.ToUpper(c.args[0]), "EVAL"); {
	case len(gone) == 0:
	case !script && len(c.args) <= mostUnpacked:
		c.needs = gone
	default:
		return &call{db: c.db, args: c.args, key: c.key, needs: gone, asks: true}
	}
	return nil
}

// repeat sends copies until every one is answered for. A copy whose value the target refuses is in failed.
func (w *proxied) repeat(ctx context.Context, calls []*call, of map[*call]*transaction) error {
	if len(calls) == 0 {
		return nil
	}
	return w.t.retry(ctx, func() (again, err error) {
		for _, x := range of {
			if x.fence != nil {
				x.failed = nil
			}
		}
		for _, wave := range waves(calls) {
			for i, a := range w.sendWave(ctx, wave) {
				switch err := a.final(w.p.at()); {
				case err != nil:
					return nil, err
				case a.hindered():
					return fmt.Errorf("target %s: %w", w.p.at(), a.err), ctx.Err()
				case a.err != nil:
					of[wave[i]].failed = append(of[wave[i]].failed, failure{*wave[i], a.err})
				}
			}
		}
		return nil, ctx.Err()
	})
}

// sendWave sends calls without waiting in between, and returns an answer for each. After a lost connection it waits until what
// was sent on it must have arrived.
func (w *proxied) sendWave(ctx context.Context, wave []*call) []answer {
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
	at, selected := make([]int, len(wave)), make([]int, len(wave)) // of its reply, and of that of a SELECT before it; -1: not sent
	for i, x := range wave {
		at[i], selected[i] = -1, -1
		if w.p.refuses(ctx, x) {
			answers[i].err = errKeyTooLong
			continue
		}
		if !w.t.dbs.Only && x.db != c.db {
			selected[i] = len(w.out)
			w.out = append(w.out, arbitrary(c.dc, "SELECT", strconv.Itoa(x.db)))
			c.db = x.db
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
			answers[i] = answerOf(all[before]) // without its database the call was another key's
			c.db = -1
		}
		lost = lost || all[at[i]].NonRedisError() != nil
	}
	if lost {
		w.drop(addr)
		_ = retry.Pause(ctx, proxyGrace) // the answers are told in any case
	}
	return answers
}

// recover returns when the server of a call answers again.
func (w *proxied) recover(ctx context.Context, hindered *call) error {
	return w.t.retry(ctx, func() (again, err error) {
		ask := &call{db: hindered.db, args: []string{"EXISTS", hindered.key.Name}, key: hindered.key}
		if a := w.sendWave(ctx, []*call{ask})[0]; a.hindered() {
			again = fmt.Errorf("target %s: %w", w.p.at(), a.err)
		}
		return again, ctx.Err()
	})
}

// answered returns what an answer says against the key of a call being as it is on the source. What has expired since the calls were begun
// with was not asked for.
func (w *proxied) answered(c *call, a answer, begun time.Time) error {
	switch {
	case a.err != nil:
		return a.err
	case len(c.needs) > 0 && a.text == replyGone, time.Since(begun).Milliseconds() > expiryAhead/2 && len(c.gone(w.t.expiring)) > 0:
		return errExpired
	}
	return c.disagrees(&a, w.t.expiring)
}

// waves puts calls into the order in which they may be sent: those of one wave share no key, and a call comes in a later wave
// than every call before it that it shares a key with.
func waves(calls []*call) [][]*call {
	var out [][]*call
	last := map[keyspace.Key]int{} // the wave behind that in which a key occurs
	for _, c := range calls {
		keys := c.keys()
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
