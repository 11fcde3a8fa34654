package migrator

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
func (t *target) openDirect(ctx context.Context, source *endpoint.Deployment) error {
	shown := t.d.Spec().Proxy == ""
	t.way, t.can = nodeByNode{t}, abilities{transactions: true, processes: shown, placement: shown, nodes: true, messages: true}
	t.can.ends = shown && (t.d.Kind() == endpoint.Standalone || t.d.Kind() == endpoint.Sentinel || t.d.Kind() == endpoint.Cluster)
	for i, addr := range t.primaries() {
		s, err := t.d.Server(ctx, addr)
		if err != nil {
			return fmt.Errorf("target %s: %w", addr, err)
		}
		if i == 0 || s.Number < t.number {
			t.number = s.Number
		}
		if t.can.ends {
			client, err := t.d.Client(ctx, addr, 0)
			if err != nil {
				return fmt.Errorf("target %s: %w", addr, err)
			}
			t.can.ends = endsConnections(ctx, client)
		}
		if t.cluster || t.dbs.Only {
			continue
		}
		if t.dbs.Count, err = t.countDatabases(ctx, addr, s); err != nil {
			return fmt.Errorf("target %s: how many databases it has: %w", addr, err)
		}
	}
	err := t.learn(ctx, source)
	if err == nil {
		t.payloads, err = newPayloads(ctx, t, source)
	}
	return err
}

// nodeByNode is the way to a target whose nodes are written directly.
type nodeByNode struct{ t *target }

func (n nodeByNode) primaryOf(slot uint16) (endpoint.Node, bool) { return n.t.d.PrimaryOf(slot) }
func (n nodeByNode) refresh(ctx context.Context) error           { return n.t.d.Refresh(ctx) }
func (nodeByNode) reading(args ...string) []string               { return args }

func (n nodeByNode) newWriter(of writing) writer { return newDirect(n.t, of) }

// direct writes to each node of the target by itself. It sends calls in transactions that also write the checkpoints of their units, so
// that each is applied exactly once. Calls that may be applied again go bare: without a transaction, and without a checkpoint.
type direct struct {
	*connections
	writing
	lost map[string][]*conn // by address: dropped connections, of whose end the server may not know yet
	seen map[unit]*conn     // connection on which the target was last seen to hold the checkpoint of a unit
	args []string           // reused
}

var _ writer = (*direct)(nil)

func newDirect(t *target, of writing) *direct {
	home := 0
	if t.cluster {
		home = t.ownDB()
	}
	w := &direct{writing: of, lost: map[string][]*conn{}, seen: map[unit]*conn{}}
	w.connections = &connections{t: t, home: home, greet: w.introduce, open: map[string]*conn{}}
	return w
}

// introduce names a new connection, so that a later run can find and end it, and silences the connections that were dropped before. It
// returns errReplaced if the server may lack commands that were sent without a checkpoint.
func (w *direct) introduce(ctx context.Context, c *conn) error {
	res := c.dc.DoMulti(ctx, arbitrary(c.dc, "CLIENT", "SETNAME", clientName(w.t.id)), arbitrary(c.dc, "CLIENT", "ID"),
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
	if w.t.can.ends {
		if err := w.instances.check(c.addr, c.server); err != nil {
			return err
		}
		c.ends = c.id != "" && c.dc.Do(ctx, arbitrary(c.dc, "CLIENT", "KILL", "ID", nobody)).Error() == nil
	}
	return w.silence(ctx, c)
}

// silence makes sure that the server runs no more commands from connections that were dropped: their bytes may still wait in its buffers.
// Behind a proxy connections cannot be ended, so silence waits for as long as such bytes may be on their way.
func (w *direct) silence(ctx context.Context, c *conn) error {
	if !w.t.can.processes && len(w.lost[c.addr]) > 0 {
		if err := retry.Pause(ctx, proxyGrace); err != nil {
			return err
		}
	}
	if err := w.t.end(ctx, c.dc, w.lost[c.addr], c.process()); err != nil {
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

// close closes all connections. target.endLeft silences them.
func (w *direct) close() {
	for addr := range w.open {
		w.drop(addr)
	}
	w.t.left.add(w.lost)
	clear(w.lost)
}

// commit applies transactions, each exactly once.
func (w *direct) commit(ctx context.Context, txs []*transaction) error {
	if err := w.t.takeFor(ctx, txs); err != nil {
		return err
	}
	pending := txs
	return w.t.retry(ctx, func() (again, err error) {
		pending, again, err = w.attempt(ctx, pending)
		return again, err
	})
}

// attempt sends all transactions once, node by node, and returns those that were not applied, or not known to be.
func (w *direct) attempt(ctx context.Context, txs []*transaction) (left []*transaction, again, err error) {
	byNode := map[string][]*transaction{}
	var order []string
	for _, x := range txs {
		addr, err := w.t.node(x.slot)
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

// attemptNode sends the transactions of one node in one pipeline. No two of them share a unit, so that their order does not matter if some
// must be sent again.
func (w *direct) attemptNode(ctx context.Context, addr string, txs []*transaction) (left []*transaction, again, err error) {
	c, err := w.conn(ctx, addr)
	if errors.Is(err, errRegressed) {
		return nil, nil, err
	} else if err != nil {
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
		if x.bare = w.mayGoBare(c, p, x); x.bare {
			w.encodeBare(p, x)
		} else {
			w.encode(p, x)
		}
		ends[i] = p.sent
	}
	if err := w.t.claim.hold(ctx); err != nil { // waiting for the target may have taken longer than the claim lasts
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
		settle := w.settle
		if x.bare {
			settle = w.settleBare
		}
		why, err := settle(x, res[start:ends[i]])
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
		left, again, lost, p.db = append(left, x), why, lost || x.doubt || turned(endpoint.Code(why)), -1
	}
	if lost {
		w.drop(addr)
	}
	return left, again, ctx.Err()
}

// dropApplied returns the transactions that are still to be applied. It asks the target for the checkpoints of those that a broken
// connection left in doubt. It also checks, once for each unit on each connection, that the target still holds the checkpoint that it has
// acknowledged, and returns errRegressed if not.
func (w *direct) dropApplied(ctx context.Context, c *conn, txs []*transaction) ([]*transaction, error) {
	var open []*transaction
	for i, x := range txs {
		if x.doubt && x.bare { // it is sent again, and the replies may then be others than those that were lost
			x.doubt = false
			x.failUnseen()
		}
		applied := false
		for _, u := range x.units {
			acknowledged := w.acknowledged(u)
			if !x.doubt && (w.seen[u] == c || acknowledged == 0) {
				continue
			}
			offset, err := w.t.checkpointOffset(ctx, c, w.link, u)
			if err != nil {
				return append(open, txs[i:]...), err
			}
			if offset < acknowledged {
				return nil, fmt.Errorf("checkpoint %d stands at offset %d, not %d: %w", u, offset, acknowledged, errRegressed)
			}
			w.seen[u] = c
			// If the checkpoint had reached x.end before, it does not tell whether x was applied. Such an x copies keys, or releases
			// held ones, and may be sent twice.
			applied = applied || x.doubt && x.end > acknowledged && offset >= x.end
		}
		if x.doubt = false; !applied {
			open = append(open, x)
			continue
		}
		x.failUnseen()
	}
	return open, nil
}

// encode queues the commands of one transaction, with SELECT where the database changes.
func (w *direct) encode(p *pipe, x *transaction) {
	selectDB := func(db int) {
		if p.db != db {
			p.add("SELECT", strconv.Itoa(db))
			p.db = db
			w.t.wroteTo(db)
		}
	}
	if !w.t.can.processes {
		p.add("WATCH", w.t.checkpointKey(w.link, x.units[0]))
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
		if w.acknowledged(u) > 0 {
			x.written = append(x.written, writtenUnit{u, at, fields})
		}
	}
	if len(x.forget) > 0 {
		p.add(append([]string{"HDEL", w.t.checkpointKey(w.link, x.units[0])}, x.forget...)...)
	}
	for i := range x.calls {
		if !w.t.cluster {
			selectDB(x.calls[i].db)
		}
		c := &x.calls[i]
		c.asked = 0
		for _, name := range c.gone(w.t.expiring) {
			p.add("EXISTS", name)
			c.asked++
		}
		w.t.expiring.learn(c)
		c.pos = p.sent - first
		p.add(c.args...)
	}
	p.add("EXEC")
	x.sent = time.Now()
}

// mayGoBare says whether a transaction may be sent without a checkpoint, as single commands: all of its calls may be applied again, the
// node holds a record of the link, and what a connection that breaks leaves there can be kept from arriving late. A call that depends on a
// key which may have expired must not go bare, since the key may be gone when the call is applied again. Nor may a call for another
// database than the selected one: if SELECT were refused, it would be run in the wrong one.
func (w *direct) mayGoBare(c *conn, p *pipe, x *transaction) bool {
	if !x.absolute || len(x.fence)+len(x.forget) > 0 || !c.ends || p.id == "" {
		return false
	}
	for i := range x.calls {
		if !w.t.cluster && x.calls[i].db != p.db || len(x.calls[i].gone(w.t.expiring)) > 0 {
			return false
		}
	}
	return w.instances.goBare(c.addr, c.server)
}

// encodeBare queues the calls of a transaction as single commands.
func (w *direct) encodeBare(p *pipe, x *transaction) {
	for i := range x.calls {
		c := &x.calls[i]
		c.asked = 0
		w.t.expiring.learn(c)
		p.add(c.args...)
	}
	x.sent = time.Now()
}

// settleBare reads the replies to calls that were sent as single commands. again says why all of them are to be sent once more: some were
// not run, or the connection broke, and then settleBare sets x.doubt.
func (w *direct) settleBare(x *transaction, res []answer) (again, err error) {
	late := x.late()
	for i := range x.calls {
		c, m := &x.calls[i], &res[i]
		switch code := endpoint.Code(m.err); {
		case m.kind == answerNone:
			x.doubt = true
			return m.err, nil
		case code == "OOM":
			return nil, errTargetFull
		case code == "NOAUTH", code == "WRONGPASS", code == "NOPERM":
			return nil, m.err
		case endpoint.Passing(code):
			again = m.err
		case late && len(c.gone(w.t.expiring)) > 0:
			x.fail(c, errExpired)
		default:
			if why := c.disagrees(m, w.t.expiring); why != nil {
				x.fail(c, why)
			}
		}
	}
	return again, nil
}

// turned says whether an error with this code may come from a server that is no primary any more, and may become one again with other data.
func turned(code string) bool {
	switch code {
	case "MOVED", "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN":
		return true
	}
	return false
}

// addCheckpoint queues the commands that write the checkpoint of a unit, and returns how many fields the first of them writes. The reply
// to that one says how many of the fields are new: if all are, the checkpoint did not exist. HSET takes several fields since 4.0; older
// targets get HSET with one field, and HMSET with the others.
func (w *direct) addCheckpoint(p *pipe, x *transaction, u unit) (fields int64) {
	key := w.t.checkpointKey(w.link, u)
	args := append(w.args[:0], "HSET", key, fieldOffset, strconv.FormatInt(x.end, 10))
	if w.t.number < 40000 {
		p.add(args...)
		args = append(args[:0], "HMSET", key)
	}
	args = append(args, fieldBefore, strconv.FormatInt(w.acknowledged(u), 10))
	for k, offset := range x.fence {
		if w.t.unitOf(w.t.slot(k.Name)) == u { // pruneFences has the fence deleted at the same unit
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

// settle reads the replies of one transaction. again says why the transaction is to be sent once more. Where the connection broke before
// all replies had come, settle sets x.doubt.
func (w *direct) settle(x *transaction, res []answer) (again, err error) {
	for i := range res {
		if res[i].kind == answerNone {
			x.doubt = true
			return res[i].err, nil
		}
	}
	exec := res[len(res)-1]
	switch {
	case exec.kind == answerNil && !w.t.can.processes: // the watched checkpoint has changed, or the proxy has changed the server
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
	late := x.late()
	for i := range x.calls {
		c := &x.calls[i]
		why := errExpired
		if !foundGone(replies[c.pos-1-c.asked:c.pos-1]) && (!late || len(c.gone(w.t.expiring)) == 0) {
			why = c.disagrees(&replies[c.pos-1], w.t.expiring)
		}
		if why != nil {
			x.fail(c, why)
		}
	}
	return nil, nil
}
