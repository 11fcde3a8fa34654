package migrator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/retry"
)

// A target that is written through a proxy has no MULTI, so that no checkpoint is written together with the data. The link's
// record is written behind them, and what may have been applied beyond it is not applied again: its keys are copied from the
// source. That concerns what was on its way when a connection was lost, and after a restart all between the record and
// the reach, an offset on disk that is moved ahead before anything beyond it is sent.
//
// Proxies may send the commands of one connection to a server over several. So no key occurs twice in what is sent without
// an answer: commands go in waves.

// viaProxy is how a target is written through a proxy.
type viaProxy struct {
	kind endpoint.Kind
	addr atomic.Pointer[string] // of the proxy that answered last

	passed, refused atomic.Int64 // lengths of keys, in bytes: that long they passed, and from that length on they did not (0: not known)
}

func (v *viaProxy) at() string { return *v.addr.Load() }

// choose takes a proxy that answers.
func (v *viaProxy) choose(ctx context.Context, d *endpoint.Deployment) error {
	addr, err := d.Proxy(ctx)
	if err == nil {
		v.addr.Store(&addr)
	}
	return err
}

const (
	// proxyGrace is how long a proxy may still pass on what it was sent on a connection that was lost.
	proxyGrace = time.Second
	// reachStep is how far the reach is moved ahead, in bytes of the stream.
	reachStep = 1 << 20
)

// approach prepares the writing through a proxy. Which values the servers behind it take is told by what they DUMP, of keys that
// expire within a minute.
func (t *target) approach(ctx context.Context, cfg Config) error {
	if source := cfg.Sides.Source.Spec(); source.Kind == endpoint.AOF {
		return fmt.Errorf("%s: an AOF cannot be written through a proxy, since its keys cannot be copied where that leaves doubts; make an RDB of it first", source)
	}
	t.via, t.can = &viaProxy{kind: t.d.Kind()}, abilities{}
	if err := t.via.choose(ctx, t.d); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if err := t.probeDump(ctx); err != nil {
		return fmt.Errorf("target %s: %w", t.via.at(), err)
	}
	t.dialect = command.DialectOf(t.number, 0)
	if t.via.kind == endpoint.Codis {
		t.dialect = t.dialect.ThroughCodis()
	} else {
		t.dialect = t.dialect.ThroughTwemproxy()
	}
	return t.learnSource(ctx, cfg.Sides.Source)
}

// dumpSince gives the first Redis version of an RDB version.
var dumpSince = []struct{ rdb, number int }{{13, 80400}, {12, 70400}, {11, 70200}, {10, 70000}, {9, 50000}, {8, 40000}, {7, 30200}, {6, 20800}}

func (t *target) probeDump(ctx context.Context) error {
	c, err := t.d.Client(ctx, t.via.at(), 0)
	if err != nil {
		return err
	}
	for i := range probes {
		name := keyProbe + t.id + ":" + strconv.Itoa(i)
		if err := c.Do(ctx, arbitrary(c, "SETEX", name, "60", "x")).Error(); err != nil {
			return fmt.Errorf("SETEX: %w", err)
		}
		payload, err := c.Do(ctx, arbitrary(c, t.via.reading("DUMP", name)...)).AsBytes()
		if err != nil || len(payload) < 10 {
			return fmt.Errorf("DUMP gave %d bytes: %w", len(payload), err)
		}
		if err := c.Do(ctx, arbitrary(c, "DEL", name)).Error(); err != nil {
			return fmt.Errorf("DEL: %w", err)
		}
		if version := int(binary.LittleEndian.Uint16(payload[len(payload)-10:])); t.payloads.version == 0 || version < t.payloads.version {
			t.payloads.version = version
		}
	}
	i := slices.IndexFunc(dumpSince, func(s struct{ rdb, number int }) bool { return s.rdb <= t.payloads.version })
	if i < 0 {
		return fmt.Errorf("its servers write RDB version %d, and 6 is the oldest that is supported", t.payloads.version)
	}
	t.number = dumpSince[i].number
	return nil
}

// selects says whether connections have to SELECT the database of a key.
func (t *target) selects() bool {
	return !t.cluster || t.via != nil && !t.dbs.Only
}

// errKeyTooLong is the failure of a call that a nutcracker does not pass: it closes the connection over it.
var errKeyTooLong = errors.New("the name of the key is too long for the proxy (nutcracker takes names that fit into one of its buffers, option --mbuf-size)")

// shortName is a length of names that every nutcracker passes: its smallest buffers have 512 bytes.
const shortName = 400

// refuses says whether the proxy takes no command on a call's keys. How long they may be is its option, so it is tried out.
func (t *target) refuses(ctx context.Context, c *call) bool {
	longer := func(text string) bool { return len(text) > shortName }
	if t.via.kind != endpoint.Twemproxy || !slices.ContainsFunc(c.args, longer) {
		return false
	}
	return slices.ContainsFunc(c.keys(), func(k keyspace.Key) bool { return longer(k.Name) && !t.passes(ctx, int64(len(k.Name))) })
}

// passes says whether the proxy takes names of that many bytes. In doubt it does: what is sent says more.
func (t *target) passes(ctx context.Context, n int64) bool {
	if refused := t.via.refused.Load(); n <= t.via.passed.Load() || refused > 0 && n >= refused {
		return n <= t.via.passed.Load()
	}
	exists := func(n int64) bool {
		client, err := t.d.Client(ctx, t.via.at(), 0)
		if err != nil {
			return false
		}
		dc, release := client.Dedicate()
		defer release()
		return dc.Do(ctx, arbitrary(dc, "EXISTS", strings.Repeat("k", int(n)))).NonRedisError() == nil
	}
	switch {
	case exists(n):
		t.via.passed.Store(max(n, t.via.passed.Load()))
	case exists(1):
		t.via.refused.Store(n)
		return false
	}
	return true
}

// form gives a command as the proxy takes it: Codis has SLOTSRESTORE in place of RESTORE, of the same arguments; it overwrites.
func (v *viaProxy) form(c *call) []string {
	switch {
	case c.asks:
		return slices.Concat([]string{"EVAL", ifThere, strconv.Itoa(len(c.there))}, c.there)
	case len(c.there) > 0:
		return slices.Concat([]string{"EVAL", ifThere, strconv.Itoa(len(c.there))}, c.there, c.args)
	case v.kind == endpoint.Codis && c.args[0] == "RESTORE" && len(c.args) == 4:
		return append([]string{"SLOTSRESTORE"}, c.args[1:]...)
	case c.args[0] == "EXISTS", c.args[0] == "PTTL":
		return v.reading(c.args...)
	}
	return c.args
}

// reading returns a command that reads one key in the form in which it is sent to the target.
func (t *target) reading(args ...string) []string {
	if t.via == nil {
		return args
	}
	return t.via.reading(args...)
}

// reading returns a command that reads one key as the proxy takes it. Codis sends reads to replicas where it may, and these lag; a
// script it sends to the primary.
func (v *viaProxy) reading(args ...string) []string {
	if v.kind != endpoint.Codis {
		return args
	}
	return append([]string{"EVAL", "return redis.call(unpack(ARGV))", "1", args[1]}, args...)
}

// restoreCalls gives the commands that put a value in place of whatever a key holds, each to be answered before the next is sent.
func (t *target) restoreCalls(name, payload string, expireAt int64) [][]string {
	calls := [][]string{{"RESTORE", name, "0", payload}}
	if t.via.kind != endpoint.Codis {
		calls = [][]string{{"DEL", name}, calls[0]}
	}
	if expireAt > 0 {
		calls = append(calls, []string{"PEXPIREAT", name, strconv.FormatInt(expireAt, 10)})
	}
	return calls
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

// commitVia sends the calls of transactions. Copies may be repeated, and are until they are in. Of other calls those that are
// refused, or that nobody answered for, are in failed.
func (w *writer) commitVia(ctx context.Context, txs []*transaction) error {
	var once, again []*call
	of := map[*call]*transaction{}
	begun := time.Now()
	for _, x := range txs {
		for i := range x.calls {
			c := &x.calls[i]
			of[c] = x
			ask := x.guard(c)
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
			if err := a.final(w.t.via.at()); err != nil {
				return err
			}
			if a.hindered() {
				hindered = c
			}
			if why := c.answered(a, of[c].link.m.expiring, begun); why != nil {
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
func (x *transaction) guard(c *call) (ask *call) {
	e := x.link.m.expiring
	gone := c.gone(e)
	if c.expires > 0 {
		e.note(c.db, c.args[1], c.expires)
	}
	e.learn(c)
	switch script := strings.HasPrefix(strings.ToUpper(c.args[0]), "EVAL"); {
	case len(gone) == 0:
	case !script && len(c.args) <= mostUnpacked:
		c.there = gone
	default:
		return &call{db: c.db, args: c.args, key: c.key, there: gone, asks: true}
	}
	return nil
}

// repeat sends copies until every one is answered for. A copy whose value the target refuses is in failed.
func (w *writer) repeat(ctx context.Context, calls []*call, of map[*call]*transaction) error {
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
				switch err := a.final(w.t.via.at()); {
				case err != nil:
					return nil, err
				case a.hindered():
					return fmt.Errorf("target %s: %w", w.t.via.at(), a.err), ctx.Err()
				case a.err != nil:
					of[wave[i]].failed = append(of[wave[i]].failed, failure{*wave[i], a.err})
				}
			}
		}
		return nil, ctx.Err()
	})
}

// viaReply is a reply, or why there is none.
type viaReply struct {
	reply answer
	err   error // nil for the nil reply
}

func viaReplyOf(r rueidis.RedisResult) viaReply {
	m := answerOf(r)
	return viaReply{m, m.err}
}

// count reads a reply that is a number.
func (a viaReply) count() (int64, error) {
	if a.err == nil && a.reply.kind != answerInt {
		return 0, errors.New("the reply is no number")
	}
	return a.reply.n, a.err
}

// hindered says that nobody knows whether the call was run, and that another one would fare no better for now.
func (a viaReply) hindered() bool {
	code := endpoint.Code(a.err)
	return a.err != nil && !errors.Is(a.err, errKeyTooLong) && (code == "" || endpoint.Unreached(a.err) || passing(code))
}

// final gives the error of a target that takes nothing any more.
func (a viaReply) final(addr string) error {
	switch endpoint.Code(a.err) {
	case "OOM":
		return fmt.Errorf("target %s: %w", addr, errTargetFull)
	case "NOAUTH", "NOPERM", "WRONGPASS":
		return fmt.Errorf("target %s: %w", addr, a.err)
	}
	return nil
}

// sendWave sends calls without waiting in between, and gives an answer for each. After a lost connection it waits until what
// was sent on it must have arrived.
func (w *writer) sendWave(ctx context.Context, wave []*call) []viaReply {
	addr := w.t.via.at()
	answers := make([]viaReply, len(wave))
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
		if w.t.refuses(ctx, x) {
			answers[i].err = errKeyTooLong
			continue
		}
		if w.t.selects() && x.db != c.db {
			selected[i] = len(w.out)
			w.out = append(w.out, arbitrary(c.dc, "SELECT", strconv.Itoa(x.db)))
			c.db = x.db
		}
		at[i] = len(w.out)
		w.out = append(w.out, arbitrary(c.dc, w.t.via.form(x)...))
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
		answers[i] = viaReplyOf(all[at[i]])
		if before := selected[i]; before >= 0 && all[before].Error() != nil {
			answers[i] = viaReplyOf(all[before]) // without its database the call was another key's
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
func (w *writer) recover(ctx context.Context, hindered *call) error {
	return w.t.retry(ctx, func() (again, err error) {
		ask := &call{db: hindered.db, args: []string{"EXISTS", hindered.key.Name}, key: hindered.key}
		if a := w.sendWave(ctx, []*call{ask})[0]; a.hindered() {
			again = fmt.Errorf("target %s: %w", w.t.via.at(), a.err)
		}
		return again, ctx.Err()
	})
}

// answered returns what an answer through a proxy says against the key of a call being as it was on the source. What has expired since
// the calls were begun with was not asked for.
func (c *call) answered(a viaReply, e *expiring, begun time.Time) error {
	switch {
	case a.err != nil:
		return a.err
	case len(c.there) > 0 && a.reply.text == replyGone, time.Since(begun).Milliseconds() > expiryAhead/2 && len(c.gone(e)) > 0:
		return errExpired
	}
	return c.told(&a.reply, e)
}

// restoreVia writes one batch of the snapshot, in waves.
func (ld *loader) restoreVia(ctx context.Context, w *writer, addr string, b *batch, keys []loadKey) (left []loadKey, again, err error) {
	calls := make([]*call, 0, len(keys))
	of := map[*call]int{}
	undone := make([]error, len(keys))
	add := func(i int, args ...string) {
		c := &call{db: keys[i].db, args: args, key: keyspace.Key{DB: keys[i].db, Name: keys[i].name}}
		of[c] = i
		calls = append(calls, c)
	}
	for i, k := range keys {
		if !ld.replaces(k.attempts > 1) {
			add(i, "EXISTS", k.name)
		}
	}
	if len(calls) > 0 {
		for i, a := range w.sendWave(ctx, calls) {
			if there, err := a.count(); err != nil {
				undone[of[calls[i]]] = err
			} else if there > 0 {
				undone[of[calls[i]]] = errExists
			}
		}
	}
	calls = nil
	for i, k := range keys {
		if undone[i] != nil {
			continue
		}
		for _, args := range w.t.restoreCalls(k.name, view(b.payload[k.from:k.to]), k.expireAt) {
			add(i, args...)
		}
	}
	for _, wave := range waves(calls) {
		wave = slices.DeleteFunc(wave, func(c *call) bool { return undone[of[c]] != nil })
		if len(wave) == 0 {
			continue
		}
		for i, a := range w.sendWave(ctx, wave) {
			undone[of[wave[i]]] = a.err
		}
	}
	for i, k := range keys {
		retry, err := ld.settleVia(ctx, w, addr, b, k, undone[i])
		if err != nil {
			return nil, nil, err
		}
		if retry != nil {
			left, again = append(left, k), retry
		}
	}
	return left, again, ctx.Err()
}

// settleVia decides on what came of one key of the snapshot.
func (ld *loader) settleVia(ctx context.Context, w *writer, addr string, b *batch, k loadKey, reply error) (again, err error) {
	switch {
	case errors.Is(reply, errExists) && ld.l.m.cfg.OnExisting == ExistingKeep:
		ld.l.ledger.snapshotKept.Add(1)
		return nil, nil
	case errors.Is(reply, errExists):
		return nil, fmt.Errorf("target %s: key %s of database %d exists already: empty the target, or say Config.OnExisting replace or keep", addr, printable(k.name), k.db)
	case endpoint.Unreached(reply):
		return reply, nil
	case errors.Is(reply, errKeyTooLong):
		ld.l.ledger.reportKey(keyspace.Key{DB: k.db, Name: k.name}, reply.Error())
		return nil, nil
	}
	return ld.settle(ctx, w, addr, b, k, reply)
}

// rebuildVia writes a value by commands that are answered one by one, under its own name: there is no RENAME through a proxy.
func (ld *loader) rebuildVia(ctx context.Context, w *writer, k loadKey, walk func(keyspace.Visitor) error) error {
	addr := w.t.via.at()
	where := fmt.Sprintf("target %s: write key %s by commands", addr, printable(k.name))
	send := func(args ...string) error {
		if err := errors.Join(wait(ctx, w.t.bytes, len(args[len(args)-1])), wait(ctx, w.t.ops, 1)); err != nil {
			return err
		}
		return w.sendWave(ctx, []*call{{db: k.db, args: args, key: keyspace.Key{DB: k.db, Name: k.name}}})[0].err
	}
	if w.t.refuses(ctx, &call{args: []string{"EXISTS", k.name}}) {
		ld.l.ledger.reportKey(keyspace.Key{DB: k.db, Name: k.name}, errKeyTooLong.Error())
		return nil
	}
	if !ld.replaces(k.attempts > 1) {
		there, err := w.sendWave(ctx, []*call{{db: k.db, args: []string{"EXISTS", k.name}}})[0].count()
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if there > 0 && ld.l.m.cfg.OnExisting == ExistingKeep {
			ld.l.ledger.snapshotKept.Add(1)
			return nil
		} else if there > 0 {
			return fmt.Errorf("%s: it exists already: empty the target, or say Config.OnExisting replace or keep", where)
		}
	}
	b := newRebuild([]byte(k.name), w.t.dialect, func(args ...[]byte) error {
		copied := make([]string, len(args))
		for i, a := range args {
			copied[i] = string(a)
		}
		return send(copied...)
	})
	err := send("DEL", k.name)
	if err == nil {
		if err = walk(b); err == nil {
			err = b.Finish(k.expireAt)
		}
	}
	for _, lost := range b.Lost {
		ld.l.ledger.note(k.db, k.name, "", lost)
	}
	if errors.Is(err, errGone) { // from a source that is scanned
		ld.l.ledger.snapshotExpired.Add(1)
		return send("DEL", k.name)
	}
	switch code := endpoint.Code(err); {
	case err == nil:
		ld.l.ledger.snapshotApplied.Add(1)
		return nil
	case code == "OOM":
		return fmt.Errorf("%s: %w", where, errTargetFull)
	case endpoint.Unreached(err), passing(code), code == "" && !isUnsupported(err):
		return fmt.Errorf("%s: %w; run the same command again to resume", where, err)
	}
	if derr := send("DEL", k.name); derr != nil {
		return fmt.Errorf("%s: delete what was written of it: %w", where, derr)
	}
	ld.l.ledger.reportKey(keyspace.Key{DB: k.db, Name: k.name}, err.Error())
	return nil
}

// reserve makes durable that what ends at an offset, or before it, may have been applied.
func (l *link) reserve(offset int64) error {
	if l.m.target.can.transactions {
		return nil
	}
	far := false
	l.m.update(func() {
		if far = offset > l.st.Reach; far {
			l.st.Reach = offset + reachStep
		}
	})
	if !far {
		return nil
	}
	return l.m.saveState()
}

// settleReach takes the reach back to what was applied: nothing is in doubt any more.
func (l *link) settleReach(d *dispatcher) error {
	at := l.positions.applied().offset
	for _, end := range d.fences {
		at = max(at, end)
	}
	l.m.update(func() { l.st.Reach = at })
	return l.m.saveState()
}

// mayHaveReached gives how far earlier runs may have applied commands: no further than the reach, nor than the source has come
// by now. The primary is asked as well: a replica that is read now may be behind the one that was.
func (l *link) mayHaveReached(ctx context.Context) int64 {
	at := l.spool.End()
	for _, node := range []func() string{l.shard.Node, l.shard.Primary} {
		s := *l.source
		s.node = node
		offset, err := s.position(ctx)
		if err != nil {
			return l.st.Reach
		}
		at = max(at, offset)
	}
	return min(at, l.st.Reach)
}

// doubtReach notes every key of what an earlier run may have applied beyond the checkpoint, to be copied before anything is
// applied. Of what is not in the spool any more, the dispatcher copies the keys as it comes.
func (l *link) doubtReach(ctx context.Context, cp *checkpoint) error {
	if l.m.target.can.transactions || l.st.Reach <= cp.offset || l.file != nil {
		return nil
	}
	end := min(l.st.Reach, l.spool.End())
	if err := l.source.awaitOffset(ctx, end); err != nil {
		return err
	}
	p, err := newParser(ctx, l.spool, &l.scope.Filter, cp.offset, cp.db)
	if err != nil {
		return err
	}
	defer p.close()
	keys := map[keyspace.Key]bool{}
	for p.offset < end {
		g, err := p.next()
		if err != nil {
			return fmt.Errorf("stream at offset %d: %w", p.offset, err)
		}
		for i := range g.commands {
			for _, k := range keysOf(&g.commands[i]) {
				if l.scope.carries(k) {
					keys[k] = true
				}
			}
		}
	}
	failed := make([]failure, 0, len(keys))
	for k := range keys {
		failed = append(failed, failure{call{key: k}, errInterrupted})
	}
	l.log.Info("keys that an earlier run may have written beyond its checkpoint are copied again", "keys", len(keys), "from", cp.offset, "to", end)
	return l.doubts.note(failed)
}

// keysOf names the keys that a command of the source names.
func keysOf(c *sourceCommand) []keyspace.Key {
	spec, known := command.Lookup(c.args)
	if !known || spec.Class == command.Keyless {
		return nil
	}
	indexes, err := spec.Keys(c.args, nil)
	if err != nil {
		return nil
	}
	var keys []keyspace.Key
	for _, i := range indexes {
		keys = append(keys, keyspace.Key{DB: c.db, Name: string(c.args[i])})
	}
	return keys
}

// awaitOffset returns when the node has reached an offset that a source has sent.
func (s *sourceReader) awaitOffset(ctx context.Context, offset int64) error {
	until := time.Now().Add(s.retryFor)
	for {
		at, err := s.position(ctx)
		switch {
		case err == nil && at >= offset:
			return nil
		case time.Now().After(until):
			return errors.Join(fmt.Errorf("source %s stands at offset %d, behind %d, which it has sent", s.node(), at, offset), err)
		}
		if err := retry.Pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// planDoubtful copies the keys of a command that an earlier run may have applied.
func (d *dispatcher) planDoubtful(c *sourceCommand) plan {
	var keys []keyspace.Key
	for _, k := range keysOf(c) {
		_, ok := d.l.scope.Map(k.DB)
		if ok && d.l.scope.carries(k) && d.fences[k] < c.end && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		d.l.ledger.repaired.Add(1)
		return plan{}
	}
	return d.planCopy(c, keys)
}
