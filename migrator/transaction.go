package migrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// unit is what one checkpoint speaks of: a slot of a cluster, a lane of a standalone server.
type unit int

// call is one command for the target. Args are binary and belong to the call.
type call struct {
	db    int
	args  []string
	key   keyspace.Key  // the key, or one of them, that is copied from the source if the call fails; as the target names it
	other *keyspace.Key // a key in another database that is copied as well; may be nil
	renew int64         // the reply 0 means until then (Unix ms) that the target lacks what the source had: the expiry that the call gives; 0: it may mean anything

	reads   bool     // what it does depends on what its keys hold
	more    []string // keys beside the first that it reads
	there   []string // through a proxy: keys without which it is not run
	asks    bool     // through a proxy: it is never run, and only asks for these keys
	expires int64    // Unix ms at which its key expires afterwards; 0: never, or as before
	learns  bool     // PTTL of a key that took over an expiry: the reply is remembered
	claims  bool     // an empty reply means that the target dropped a pending entry which the source keeps

	commands int64 // commands of the source that are settled with it
	later    bool  // where it fails, its key is copied only when the link has caught up
	message  bool  // PUBLISH: nothing can be copied in its place
	unnamed  bool  // it may touch keys that it does not name: nothing can be copied in their place

	pos   int // its place in the transaction as it was sent, MULTI being 0
	asked int // so many EXISTS stand before it: of keys that may have expired
}

// keys names the keys of a call as the source does: all of them may differ where it was refused. None: nobody knows them.
func (c *call) keys() []keyspace.Key {
	if c.other != nil {
		return []keyspace.Key{c.key, *c.other}
	}
	args := make([][]byte, len(c.args))
	for i, a := range c.args {
		args[i] = []byte(a)
	}
	var indexes []int
	if spec, known := command.Lookup(args); known && spec.Class != command.Keyless {
		if found, err := spec.Keys(args, nil); err == nil {
			indexes = found
		}
	}
	switch {
	case len(indexes) == 0 && c.unnamed:
		return nil
	case len(indexes) == 0:
		return []keyspace.Key{c.key}
	}
	keys := make([]keyspace.Key, len(indexes))
	for i, k := range indexes {
		keys[i] = keyspace.Key{DB: c.key.DB, Name: c.args[k]}
	}
	return keys
}

// transaction is what is applied together with the checkpoint of its units, all or nothing.
type transaction struct {
	link  *link
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

// failure is a call that the target refused, with its reply.
type failure struct {
	call  call
	reply error
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

// commit applies transactions, each exactly once, in their order as far as they share a unit.
// It returns when the target has answered for all of them; refused calls are in failed.
func (w *writer) commit(ctx context.Context, txs []*transaction) error {
	size, ops := 0, 0
	for _, x := range txs {
		size += x.size()
		ops += len(x.calls)
	}
	if err := errors.Join(wait(ctx, w.t.bytes, size), wait(ctx, w.t.ops, ops)); err != nil {
		return err
	}
	if w.t.via != nil {
		return w.commitVia(ctx, txs)
	}
	pending := txs
	return w.t.retry(ctx, func() (again, err error) {
		pending, again, err = w.attempt(ctx, pending)
		return again, err
	})
}

// attempt sends all transactions once, node by node, and gives those that were not applied.
func (w *writer) attempt(ctx context.Context, txs []*transaction) (left []*transaction, again, err error) {
	byNode := map[string][]*transaction{}
	var order []string
	for _, x := range txs {
		addr, err := w.node(x.slot)
		if err != nil {
			return txs, err, nil
		}
		if byNode[addr] == nil {
			order = append(order, addr)
		}
		byNode[addr] = append(byNode[addr], x)
	}
	for _, addr := range order {
		undone, why, err := w.attemptNode(ctx, addr, byNode[addr])
		if err != nil {
			return nil, nil, fmt.Errorf("target %s: %w", addr, err)
		}
		if left = append(left, undone...); why != nil {
			again = fmt.Errorf("target %s: %w", addr, why)
		}
	}
	return left, again, nil
}

// attemptNode sends the transactions of one node in one pipeline. They share no unit, so that one which must
// be tried again is overtaken by nothing that it precedes.
func (w *writer) attemptNode(ctx context.Context, addr string, txs []*transaction) (left []*transaction, again, err error) {
	c, err := w.conn(ctx, addr)
	if err != nil {
		return txs, err, ctx.Err()
	}
	if txs, err = w.dropApplied(ctx, c, txs); errors.Is(err, errRegressed) {
		return nil, nil, err
	} else if err != nil {
		w.drop(addr)
		return txs, err, ctx.Err()
	}
	p, err := w.pipe(ctx, addr)
	if err != nil {
		return txs, err, ctx.Err()
	}
	ends := make([]int, len(txs))
	for i, x := range txs {
		w.encode(p, x)
		ends[i] = p.sent
	}
	if err := w.t.claim.hold(ctx); err != nil { // the target may have been waited for meanwhile
		p.forget()
		return txs, err, ctx.Err()
	}
	res := p.exchange()
	lost, start := false, 0
	for i, x := range txs {
		if !w.t.can.processes {
			x.watched = res[start].err
			start++
		}
		why, err := x.settle(res[start:ends[i]])
		start = ends[i]
		if err != nil {
			return nil, nil, err
		}
		if why == nil {
			for _, u := range x.units {
				w.seen[u] = c
			}
			continue
		}
		left, again, lost, p.db = append(left, x), why, lost || x.doubt, -1
	}
	if lost {
		w.drop(addr)
	}
	return left, again, ctx.Err()
}

// dropApplied asks the target which of the transactions that a broken connection left in doubt it had applied. Of
// every unit it asks once on each connection whether the target still holds what it has acknowledged.
func (w *writer) dropApplied(ctx context.Context, c *conn, txs []*transaction) ([]*transaction, error) {
	var open []*transaction
	for i, x := range txs {
		applied := false
		for _, u := range x.units {
			acknowledged := x.link.positions.acknowledged(u)
			if !x.doubt && (w.seen[u] == c || acknowledged == 0) {
				continue
			}
			offset, err := w.t.checkpointOffset(ctx, c, x.link.name, u)
			if err != nil {
				return append(open, txs[i:]...), err
			}
			if offset < acknowledged {
				return nil, fmt.Errorf("checkpoint %d stands at offset %d, not %d: %w", u, offset, acknowledged, errRegressed)
			}
			w.seen[u] = c
			// where the checkpoint had come as far before, it says nothing of x; but then x is a copy, or what the source said
			// of held keys, and may be sent twice
			applied = applied || x.doubt && x.end > acknowledged && offset >= x.end
		}
		if x.doubt = false; !applied {
			open = append(open, x)
			continue
		}
		for _, c := range x.calls { // nobody has seen what they said of keys that the target may lack
			if c.renew != 0 || c.asked > 0 {
				x.failed = append(x.failed, failure{c, errUnseen})
			}
		}
	}
	return open, nil
}

// encode appends the commands of one transaction, SELECTs where they are needed.
func (w *writer) encode(p *pipe, x *transaction) {
	selectDB := func(db int) {
		if p.db != db {
			p.add("SELECT", strconv.Itoa(db))
			p.db = db
			w.t.wroteTo(db)
		}
	}
	if !w.t.can.processes {
		p.add("WATCH", w.t.checkpointKey(x.link.name, x.units[0]))
	}
	first := p.sent
	p.add("MULTI")
	if !w.t.cluster {
		selectDB(w.t.ownDB())
	}
	x.written = x.written[:0]
	for _, u := range x.units {
		at := p.sent - first
		fields := w.addCheckpoint(p, x, u)
		if x.link.positions.acknowledged(u) > 0 {
			x.written = append(x.written, writtenUnit{u, at, fields})
		}
	}
	if len(x.forget) > 0 {
		p.add(append([]string{"HDEL", w.t.checkpointKey(x.link.name, x.units[0])}, x.forget...)...)
	}
	for i := range x.calls {
		if !w.t.cluster {
			selectDB(x.calls[i].db)
		}
		c := &x.calls[i]
		c.asked = 0
		for _, name := range c.gone(x.link.m.expiring) {
			p.add("EXISTS", name)
			c.asked++
		}
		if c.expires > 0 {
			x.link.m.expiring.note(c.db, c.args[1], c.expires)
		}
		x.link.m.expiring.learn(c)
		c.pos = p.sent - first
		p.add(c.args...)
	}
	p.add("EXEC")
	x.sent = time.Now()
}

// addCheckpoint queues the commands that write the checkpoint of a unit. The reply to the first one says how many of its fields are new: all
// of them, where the checkpoint was not there. HSET takes several fields since 4.0.
func (w *writer) addCheckpoint(p *pipe, x *transaction, u unit) (fields int64) {
	key := w.t.checkpointKey(x.link.name, u)
	args := append(w.args[:0], "HSET", key, fieldOffset, strconv.FormatInt(x.end, 10))
	if w.t.number < 40000 {
		p.add(args...)
		args = append(args[:0], "HMSET", key)
	}
	args = append(args, fieldBefore, strconv.FormatInt(x.link.positions.acknowledged(u), 10))
	for k, offset := range x.fence {
		if x.link.m.unitOf(w.t.slot(k.Name)) == u { // where it is forgotten as well
			args = append(args, fenceField(k), strconv.FormatInt(offset, 10))
		}
	}
	p.add(args...)
	w.args = args
	if w.t.number < 40000 {
		return 1
	}
	return int64(len(args)-2) / 2
}

// gone names the keys that a call reads and that may have expired on the target.
func (c *call) gone(e *expiring) (names []string) {
	if !c.reads {
		return nil
	}
	if e.mayBeGone(c.db, c.key.Name) {
		names = append(names, c.key.Name)
	}
	for _, name := range c.more {
		if e.mayBeGone(c.db, name) {
			names = append(names, name)
		}
	}
	return names
}

// settle reads the replies of one transaction. again says why it was not applied and may be sent once more;
// x.doubt is set where the connection broke and nobody knows.
func (x *transaction) settle(res []answer) (again, err error) {
	for i := range res {
		if res[i].kind == answerNone {
			x.doubt = true
			return res[i].err, nil
		}
	}
	exec := res[len(res)-1]
	switch {
	case exec.kind == answerNil && !x.link.m.target.can.processes: // what it watched has changed, or the proxy has changed servers
		return errors.New("a transaction was not run"), nil
	case exec.kind == answerNil:
		return x.refused(res, errors.New("EXEC ran nothing"))
	case exec.kind != answerList:
		return x.refused(res, exec.err)
	}
	replies := exec.list
	for _, u := range x.written {
		if m := replies[u.pos-1]; m.kind == answerInt && m.n == u.fields {
			return nil, fmt.Errorf("checkpoint %d is gone: %w", u.unit, errRegressed)
		}
	}
	late := time.Since(x.sent).Milliseconds() > expiryAhead/2 // what has expired meanwhile was not asked for
	for i := range x.calls {
		c := &x.calls[i]
		why := errExpired
		if !foundGone(replies[c.pos-1-c.asked:c.pos-1]) && (!late || len(c.gone(x.link.m.expiring)) == 0) {
			why = c.told(&replies[c.pos-1], x.link.m.expiring)
		}
		if why != nil {
			x.failed = append(x.failed, failure{*c, why})
		}
	}
	return nil, nil
}

// told returns what the reply to a call says against its key being as it was on the source. What it tells of expiries is remembered.
func (c *call) told(m *answer, e *expiring) error {
	now := time.Now().UnixMilli()
	switch {
	case m.kind == answerError:
		return m.err
	case c.learns && m.kind == answerInt && m.n > 0:
		e.note(c.db, c.key.Name, now+m.n)
	}
	if m.kind == answerInt && m.n == 0 && c.renew > now || m.kind == answerNil && c.renew == always || c.lacksField(m, now) || c.claims && m.kind == answerList && len(m.list) == 0 {
		return errKeyGone
	}
	return nil
}

// foundGone reads the replies of the EXISTS before a call.
func foundGone(replies []answer) bool {
	return slices.ContainsFunc(replies, func(m answer) bool { return m.kind == answerInt && m.n == 0 })
}

// lacksField says whether a call renewed or took away the expiry of a field that the target has not (any more).
func (c *call) lacksField(m *answer, now int64) bool {
	if m.kind != answerList || len(m.list) == 0 {
		return false
	}
	said := func(n int64) bool {
		return slices.ContainsFunc(m.list, func(m answer) bool { return m.kind == answerInt && m.n == n })
	}
	if strings.EqualFold(c.args[0], "HPERSIST") {
		return said(-2) || len(m.list) == 1 && said(-1) // -1: a new one
	}
	if len(c.args) < 3 || !strings.EqualFold(c.args[0], "HPEXPIREAT") {
		return false
	}
	at, err := strconv.ParseInt(c.args[2], 10, 64)
	return err == nil && at > now && said(-2)
}

// errKeyGone is the failure of a call that renews an expiry, or moves a key: the source had the key, the target has not.
var errKeyGone = errors.New("the command changed nothing on the target, though it did on the source")

// errUnseen is the failure of such a call whose reply was lost.
var errUnseen = errors.New("the connection broke before the reply")

// errExpired is the failure of a call that read a key which had an expiry and is not there.
var errExpired = errors.New("the key may have expired on the target before the command")

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
