package target

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/retry"
)

// openDirect prepares for writing to each node of the target directly. A proxy that stands for a whole cluster (Spec().Proxy) counts as one
// node: it passes transactions on, but may change the server behind a connection.
func (t *Target) openDirect(ctx context.Context, source *endpoint.Deployment) error {
	shown := t.d.Spec().Proxy == ""
	t.goBy(nodeByNode{t})
	t.Can = Abilities{Transactions: true, Processes: shown, Placement: shown, Nodes: true, Messages: true}
	t.Can.Ends = shown && (t.d.Kind() == endpoint.Standalone || t.d.Kind() == endpoint.Sentinel || t.d.Kind() == endpoint.Cluster)
	return t.learn(ctx, source)
}

// nodeByNode is the way to a target whose nodes are written directly.
type nodeByNode struct{ t *Target }

func (n nodeByNode) PrimaryOf(slot uint16) (endpoint.Node, bool) { return n.t.d.PrimaryOf(slot) }
func (n nodeByNode) Refresh(ctx context.Context) error           { return n.t.d.Refresh(ctx) }
func (nodeByNode) Reading(args ...string) []string               { return args }

func (n nodeByNode) NewWriter(of Writing) Writer { return newDirect(n.t, of) }

// direct writes to each node of the target by itself. It sends calls in transactions that also write the checkpoints of their units, so
// that each is applied exactly once. Calls that may be applied again go bare: without a transaction, and without a checkpoint.
type direct struct {
	*connections
	Writing
	lost map[string][]*conn // by address: dropped connections, of whose end the server may not know yet
	seen map[Unit]*conn     // connection on which the target was last seen to hold the checkpoint of a unit
	args []string           // reused
}

var _ Writer = (*direct)(nil)

func newDirect(t *Target, of Writing) *direct {
	home := 0
	if t.Cluster {
		home = t.OwnDB()
	}
	w := &direct{Writing: of, lost: map[string][]*conn{}, seen: map[Unit]*conn{}}
	w.connections = &connections{t: t, home: home, greet: w.introduce, open: map[string]*conn{}}
	return w
}

// introduce names a new connection, so that a later run can find and end it, and silences the connections that were dropped before. It
// returns ErrReplaced if the server may lack commands that were sent without a checkpoint.
func (w *direct) introduce(ctx context.Context, c *conn) error {
	res := c.dc.DoMulti(ctx, arbitrary(c.dc, "CLIENT", "SETNAME", w.t.Claim.connectionName()), arbitrary(c.dc, "CLIENT", "ID"),
		arbitrary(c.dc, "INFO", "server"), arbitrary(c.dc, "INFO", "replication"))
	if err := firstLoss(res); err != nil {
		return err
	}
	if id, err := res[1].ToInt64(); err == nil {
		c.id = strconv.FormatInt(id, 10)
	}
	server, _ := res[2].ToString() // an error reply leaves the instance unknown
	replication, _ := res[3].ToString()
	c.server = instanceOf(server, replication)
	if w.t.Can.Ends {
		if err := res[0].Error(); err != nil {
			return unnamed(err)
		}
		if err := w.Checkpoints.instances.check(c.addr, c.server); err != nil {
			return err
		}
		c.ends = c.id != "" && c.dc.Do(ctx, arbitrary(c.dc, "CLIENT", "KILL", "ID", nobody)).Error() == nil
	}
	return w.silence(ctx, c)
}

// silence makes sure that the server runs no more commands from connections that were dropped: their bytes may still wait in its buffers.
// Behind a proxy connections cannot be ended, so silence waits for as long as such bytes may be on their way.
func (w *direct) silence(ctx context.Context, c *conn) error {
	if !w.t.Can.Processes && len(w.lost[c.addr]) > 0 {
		if err := retry.Pause(ctx, proxyGrace); err != nil {
			return err
		}
	}
	if err := w.t.left.end(ctx, c.dc, w.lost[c.addr], c.process()); err != nil {
		return err
	}
	delete(w.lost, c.addr)
	return nil
}

// drop closes a connection for good. The next connection to the node silences it.
func (w *direct) drop(addr string) {
	if c := w.open[addr]; c != nil {
		w.lost[addr] = append(w.lost[addr], c)
	}
	w.connections.drop(addr)
}

// Close closes all connections. Checkpoints.Resume silences them.
func (w *direct) Close() {
	for addr := range w.open {
		w.drop(addr)
	}
	w.t.left.add(w.lost)
	clear(w.lost)
}

// Commit applies transactions, each exactly once.
func (w *direct) Commit(ctx context.Context, txs []*Transaction) error {
	if err := w.t.takeFor(ctx, txs); err != nil {
		return err
	}
	for _, x := range txs {
		x.withhold(w.t.Most())
	}
	pending := txs
	return w.t.Retry(ctx, func() (again, err error) {
		pending, again, err = w.attempt(ctx, pending)
		return again, err
	})
}

// attempt sends all transactions once, node by node, and returns those that were not applied, or not known to be.
func (w *direct) attempt(ctx context.Context, txs []*Transaction) (left []*Transaction, again, err error) {
	byNode := map[string][]*Transaction{}
	var order []string
	for _, x := range txs {
		addr, err := w.t.node(x.Slot)
		if err != nil {
			return txs, err, nil
		}
		if byNode[addr] == nil {
			order = append(order, addr)
		}
		byNode[addr] = append(byNode[addr], x)
	}
	for _, addr := range order {
		for _, group := range apart(byNode[addr]) {
			undone, why, err := w.attemptNode(ctx, addr, group)
			if err != nil {
				return nil, nil, err
			}
			if left = append(left, undone...); why != nil {
				again = why
			}
		}
	}
	return left, again, nil
}

// attemptNode sends the transactions of one node in one pipeline. No two of them share a unit, so that their order does not matter if some
// must be sent again.
func (w *direct) attemptNode(ctx context.Context, addr string, txs []*Transaction) (left []*Transaction, again, err error) {
	c, err := w.conn(ctx, addr)
	if err != nil {
		again, err = AgainOrEnd("", err)
		return txs, again, err
	}
	if txs, err = w.dropApplied(ctx, c, txs); err != nil {
		w.drop(addr)
		again, err = AgainOrEnd(addr, err)
		return txs, again, err
	}
	if err := w.reach(ctx, c, w.highest(txs)); err != nil {
		again, err = AgainOrEnd("", err)
		return txs, again, err
	}
	p, err := w.pipe(ctx, addr)
	if err != nil {
		again, err = AgainOrEnd("", err)
		return txs, again, err
	}
	w.suspectSize(ctx, addr, txs)
	ends := make([]int, len(txs))
	for i, x := range txs {
		x.noteExpiries(w.t.Expiring) // before it is decided which of its keys are asked for
		if x.Bare = w.mayGoBare(c, p, x); x.Bare {
			w.encodeBare(p, x)
		} else {
			w.encode(p, x)
		}
		ends[i] = p.sent
	}
	if err := w.t.Claim.Hold(ctx); err != nil { // waiting for the target may have taken longer than the claim lasts
		p.unsend()
		again, err = AgainOrEnd("", err)
		return txs, again, err
	}
	res := p.exchange()
	lost, start := false, 0
	for i, x := range txs {
		if !w.t.Can.Processes {
			x.watched = res[start].err
			start++
		}
		settle := w.settle
		if x.Bare {
			settle = w.settleBare
		}
		why, err := settle(x, res[start:ends[i]])
		start = ends[i]
		if err != nil {
			return nil, nil, fmt.Errorf("target %s: %w", addr, err)
		}
		if why == nil {
			for _, u := range x.Units {
				w.seen[u] = c
			}
			continue
		}
		if x.doubt && !lost { // those that follow in the pipeline are lost with it
			x.lost++
		}
		lost = lost || x.doubt || consequenceOf(why, toFollow) == sendElsewhere
		left, again, p.db = append(left, x), fmt.Errorf("target %s: %w", addr, why), -1
	}
	if lost {
		w.drop(addr)
	}
	return left, again, ctx.Err()
}

// dropApplied returns the transactions that are still to be applied. It asks the target for the checkpoints of those that a broken
// connection left in doubt. It also checks, once for each unit on each connection, that the target still holds the checkpoint that it has
// acknowledged, and returns ErrRegressed if not.
func (w *direct) dropApplied(ctx context.Context, c *conn, txs []*Transaction) ([]*Transaction, error) {
	var asked []Unit
	for _, x := range txs {
		if x.doubt && x.Bare { // it is sent again, and the replies may then be others than those that were lost
			x.doubt = false
			x.failUnseen()
		}
		for _, u := range x.Units {
			if x.doubt || w.seen[u] != c && w.Acknowledged(u) != 0 {
				asked = append(asked, u)
			}
		}
	}
	offsets, err := w.Checkpoints.offsets(ctx, c, asked)
	if err != nil {
		return txs, err
	}
	var open []*Transaction
	for _, x := range txs {
		applied := false
		for _, u := range x.Units {
			offset, told := offsets[u]
			if !told {
				continue
			}
			acknowledged := w.Acknowledged(u)
			if offset < acknowledged {
				return nil, fmt.Errorf("checkpoint %d stands at offset %d, not %d: %w", u, offset, acknowledged, ErrRegressed)
			}
			w.seen[u] = c
			// If the checkpoint had reached x.End before, it does not tell whether x was applied. Such an x copies keys, or releases
			// held ones, and may be sent twice.
			applied = applied || x.doubt && x.End > acknowledged && offset >= x.End
		}
		if x.doubt = false; !applied {
			open = append(open, x)
			continue
		}
		x.failUnseen()
	}
	return open, nil
}

// highest returns the highest number of the databases that transactions write to.
func (w *direct) highest(txs []*Transaction) int {
	db := w.t.OwnDB()
	for _, x := range txs {
		for i := range x.Calls {
			db = max(db, x.Calls[i].DB)
		}
	}
	return db
}

// encode queues the commands of one transaction, with SELECT where the database changes.
func (w *direct) encode(p *pipe, x *Transaction) {
	if !w.t.Can.Processes {
		p.add("WATCH", w.Checkpoints.key(x.Units[0]))
	}
	first := p.sent
	x.selects = x.selects[:0]
	selectDB := func(db int) {
		if p.db != db {
			x.selects = append(x.selects, p.add("SELECT", strconv.Itoa(db))-first)
			p.db = db
			w.t.Witnesses.wroteTo(db)
		}
	}
	p.add("MULTI")
	if !w.t.Cluster {
		selectDB(w.t.OwnDB())
	}
	x.written = x.written[:0]
	if w.asksInSeries(x) {
		x.Expand()
	}
	for _, u := range x.Units {
		at := p.sent - first
		fields := w.addCheckpoint(p, x, u)
		if w.Acknowledged(u) > 0 {
			x.written = append(x.written, writtenUnit{u, at, fields})
		}
	}
	if len(x.Forget) > 0 {
		p.add(append([]string{"HDEL", w.Checkpoints.key(x.Units[0])}, x.Forget...)...)
		w.t.calls.count("hdel", 1)
		w.t.calls.count("hset", len(x.Units))
	}
	for i := range x.Calls {
		if !w.t.Cluster {
			selectDB(x.Calls[i].DB)
		}
		c := &x.Calls[i]
		c.asked = 0
		if c.Series != nil {
			c.pos = p.sent - first
			p.addSeries(c.Series)
			continue
		}
		for _, name := range c.gone(w.t.Expiring) {
			p.add("EXISTS", name)
			c.asked++
		}
		w.t.Expiring.learn(c)
		c.pos = p.sent - first
		p.add(c.Args...)
	}
	p.add("EXEC")
	x.sent = time.Now()
}

// asksInSeries says whether a question for a key, or a note of it, has its place before a command within a series.
func (w *direct) asksInSeries(x *Transaction) bool {
	if w.t.Expiring.unknown.Load() {
		return true
	}
	for i := range x.Calls {
		if c := &x.Calls[i]; c.Series != nil && len(c.gone(w.t.Expiring)) > 0 {
			return true
		}
	}
	return false
}

// mayGoBare says whether a transaction may be sent without a checkpoint, as single commands: all of its calls may be applied again, the
// node holds a record of the link, and what a connection that breaks leaves there can be kept from arriving late. A call that depends on a
// key which may have expired must not go bare, since the key may be gone when the call is applied again. Nor may a call for another
// database than the selected one: if SELECT were refused, it would be run in the wrong one.
func (w *direct) mayGoBare(c *conn, p *pipe, x *Transaction) bool {
	if !x.Absolute || len(x.Fence)+len(x.Forget) > 0 || !c.ends || p.id == "" {
		return false
	}
	for i := range x.Calls {
		if !w.t.Cluster && x.Calls[i].DB != p.db || len(x.Calls[i].gone(w.t.Expiring)) > 0 {
			return false
		}
	}
	return w.Checkpoints.instances.goBare(c.addr, c.server)
}

// encodeBare queues the calls of a transaction as single commands.
func (w *direct) encodeBare(p *pipe, x *Transaction) {
	if w.t.Expiring.unknown.Load() {
		x.Expand()
	}
	for i := range x.Calls {
		c := &x.Calls[i]
		c.asked = 0
		if c.Series != nil {
			p.addSeries(c.Series)
			continue
		}
		w.t.Expiring.learn(c)
		p.add(c.Args...)
	}
	x.sent = time.Now()
}

// settleBare reads the replies to calls that were sent as single commands. again says why all of them are to be sent once more: some were
// not run, or the connection broke, and then settleBare sets x.doubt.
func (w *direct) settleBare(x *Transaction, res []answer) (again, err error) {
	late, greatest := x.late(), noError
	if late || hasError(res) {
		x.Expand()
	}
	at := 0
	for i := range x.Calls {
		c, m := &x.Calls[i], &res[at]
		if at += c.size(); c.Series != nil {
			continue
		}
		switch is := consequenceOf(m.err, toFollow); {
		case is == unanswered:
			x.doubt = true
			return m.err, nil
		case isProtocolError(m.err): // what follows was not read; what went before may be run again
			x.doubt = true
			x.withdraw(i, w.t.unreadable(m.err, c.Args...))
			return m.err, nil
		case is == endsRun:
			return nil, endOf(m.err)
		case is.again():
			if is > greatest {
				greatest, again = is, m.err
			}
		case late && len(c.gone(w.t.Expiring)) > 0:
			x.fail(c, ErrExpired)
		default:
			if why := c.disagrees(m, w.t.Expiring); why != nil {
				x.fail(c, why)
			}
		}
	}
	return again, nil
}

// addCheckpoint queues the commands that write the checkpoint of a unit, and returns how many fields the first of them writes. The reply
// to that one says how many of the fields are new: if all are, the checkpoint did not exist. HSET takes several fields since 4.0; older
// targets get HSET with one field, and HMSET with the others.
func (w *direct) addCheckpoint(p *pipe, x *Transaction, u Unit) (fields int64) {
	key := w.Checkpoints.key(u)
	args := append(w.args[:0], "HSET", key, fieldOffset, strconv.FormatInt(x.End, 10))
	if w.t.Number < 40000 {
		p.add(args...)
		args = append(args[:0], "HMSET", key)
	}
	args = append(args, fieldBefore, strconv.FormatInt(w.Acknowledged(u), 10))
	for k, offset := range x.Fence {
		if w.t.UnitOf(w.t.Slot(k.Name)) == u { // pruneFences has the fence deleted at the same unit
			args = append(args, FenceField(k), strconv.FormatInt(offset, 10))
		}
	}
	p.add(args...)
	w.args = args
	if w.t.Number < 40000 {
		return 1
	}
	return int64(len(args)-2) / 2
}

// settle reads the replies of one transaction. again says why the transaction is to be sent once more. Where the connection broke before
// all replies had come, settle sets x.doubt.
func (w *direct) settle(x *Transaction, res []answer) (again, err error) {
	for i := range res {
		unreadable := isProtocolError(res[i].err)
		if unreadable {
			x.Expand()
			if at := x.callAt(i); at >= 0 {
				x.withdraw(at, w.t.unreadable(res[i].err, x.Calls[at].Args...))
			}
		}
		if unreadable || res[i].kind == answerNone {
			x.doubt = true
			return res[i].err, nil
		}
	}
	exec := res[len(res)-1]
	switch {
	case exec.kind == answerNil && !w.t.Can.Processes: // the watched checkpoint has changed, or the proxy has changed the server
		return errors.New("a transaction was not run"), nil
	case exec.kind == answerNil:
		return x.refused(res, errRanNothing)
	case exec.kind != answerList && exec.err == nil:
		return nil, errors.New("the reply to EXEC is no list: something between surecut and the server changes replies")
	case exec.kind != answerList:
		return x.refused(res, exec.err)
	}
	replies := exec.list
	for _, pos := range x.selects {
		if err := replies[pos-1].err; err != nil { // reach has prevented that, unless something between surecut and the server changes servers
			return nil, fmt.Errorf("a database could not be selected, so that commands ran in another one: start again with a new Config.StateDir and an empty target (or Config.OnExisting replace): %w", err)
		}
	}
	for _, u := range x.written {
		if m := replies[u.pos-1]; m.kind == answerInt && m.n == u.fields {
			return nil, fmt.Errorf("checkpoint %d is gone: %w", u.unit, ErrRegressed)
		}
	}
	late := x.late()
	if late || hasError(replies) {
		x.Expand()
	}
	for i := range x.Calls {
		c := &x.Calls[i]
		if c.Series != nil {
			continue
		}
		why := ErrExpired
		if !foundGone(replies[c.pos-1-c.asked:c.pos-1]) && (!late || len(c.gone(w.t.Expiring)) == 0) {
			why = c.disagrees(&replies[c.pos-1], w.t.Expiring)
		}
		if why != nil {
			x.fail(c, why)
		}
	}
	return nil, nil
}
