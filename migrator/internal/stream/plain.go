package stream

import (
	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/internal/resp"
	"surecut/migrator/internal/slab"
	"surecut/migrator/internal/target"
)

// Most commands of a stream are plain: SET, INCR, HSET or RPUSH of one key, which the target gets as the source sent them, and of whose
// reply nothing matters but whether it is an error. They are worth a way of their own, on which a command is its bytes and a few numbers.
// Neither its arguments nor a call outlive the decision.

// passage is how a plain command goes to the target.
type passage struct {
	slot     uint16
	db       int // of the target
	from, to int // place of the key in the bytes of the command
	reads    bool
	absolute bool
	expires  int64 // Unix ms at which the key expires after the command; 0: never, or as before
}

// mayBePlain says whether calls of a command may be plain. The commands that are not need to have their reply looked at, their expiry held,
// another call beside them, or another form.
func mayBePlain(s *command.Spec) bool {
	switch {
	case !s.Write, s.Class != command.Ordinary && s.Class != command.Split, s.Expires && s.Name != "SET":
		return false
	case target.RenewOf(s.Name) != 0, carriesExpiry(s.Name), changesExpiry(s.Name), expiresFields(s.Name), needsNoExists(s.Name):
		return false
	}
	return s.Name != "MOVE" && s.Name != "SORT" && s.Name != "XCLAIM" && s.Name != "RESTORE-ASKING"
}

// plain says whether a command that is not part of a MULTI is plain, and how it goes to the target. Wherever plan would do anything else
// than to pass it on whole, it is not. A cluster has a checkpoint for each slot, so that plain commands would not come in series there, and a
// proxy gets calls one by one.
func (p *planner) plain(c *sourceCommand) (to passage, ok bool) {
	if c.encoded == nil || len(c.encoded) > mostPlainCommand || c.end <= p.doubtEnd || p.Target.Cluster || !p.Target.Can.Transactions || !p.ahead.nothing() {
		return to, false
	}
	spec, known := command.Lookup(c.args)
	if !known || !p.mayBePlain[spec] {
		return to, false
	}
	if spec.Expires && len(c.args) > 3 {
		if to.expires, ok = p.fixedExpiry(c, spec); !ok {
			return to, false
		}
	}
	keys, err := spec.Keys(c.args, p.keys[:0])
	p.keys = keys
	if err != nil || len(keys) != 1 {
		return to, false
	}
	name := slab.View(c.args[keys[0]])
	if to.db, ok = p.Scope.Map(c.db); !ok || !p.Scope.Carries(keyspace.Key{DB: c.db, Name: name}) {
		return to, false
	}
	_, form := p.Target.Dialect.RewriteCall(spec, nil, c.args)
	if form != command.Same || p.holds.distrusts() || !p.Scope.Takes(keyspace.Key{DB: c.db, Name: name}, c.end) {
		return to, false
	}
	to.slot, to.absolute = p.Target.Slot(name), spec.Absolute(c.args)
	if to.reads, _ = p.reads(c, spec); !p.Target.Expiring.Plain(to.db, name, to.reads) {
		return to, false
	}
	to.from = resp.CountSize(len(c.args)) + resp.CountSize(len(name))
	for _, a := range c.args[:keys[0]] {
		to.from += resp.CountSize(len(a)) + len(a) + 2
	}
	to.to = to.from + len(name)
	return to, true
}

// fixedExpiry returns the expiry that a command sets; 0: none. ok says that the expiry stays as it is: it is absolute, and is not held.
func (p *planner) fixedExpiry(c *sourceCommand, spec *command.Spec) (at int64, ok bool) {
	if p.Expiries.Holding() {
		return 0, false
	}
	cmds, changed := spec.AbsoluteExpiry(p.dated[:0], c.args, 0, p.Target.Dialect)
	if p.dated = cmds; changed {
		return 0, false
	}
	_, at, _ = spec.ExpireAt(c.args)
	return at, true
}

// keep copies the arguments of a command, so that they may outlive its stretch.
func (p *planner) keep(c *sourceCommand) {
	size := 0
	for _, a := range c.args {
		size += len(a)
	}
	bytes := p.bytes.Take(size, slabBytes)
	for i, a := range c.args {
		n := copy(bytes, a)
		c.args[i], bytes = bytes[:n:n], bytes[n:]
	}
}

// Bounds of the series in which plain commands come to a lane. A series is applied as a whole.
const (
	mostPlain      = 256
	mostPlainBytes = 64 << 10

	// mostPlainCommand bounds the bytes of a plain command. No target refuses one of this size for its length, or for its number of arguments.
	mostPlainCommand = 512 << 10
)

// sendPlain adds a plain command to the series that its lane gets next.
func (r *router) sendPlain(g *group, to passage) {
	n, c := r.lane(to.slot), &g.commands[0]
	it := r.openSeries(n, to.db, c.db)
	if it == nil {
		it = r.blank()
		it.start, it.startDB, it.received, it.slot, it.absolute = g.start, g.startDB, g.received, to.slot, true
		if it.series == nil {
			it.series = &target.Series{}
		}
		it.calls = append(it.calls, target.Call{DB: to.db, Key: keyspace.Key{DB: c.db}, Series: it.series})
		r.queue(n, it)
	}
	it.series.Add(c.encoded, to.from, to.to, to.reads)
	if to.expires > 0 {
		r.target.Expiring.Note(to.db, slab.View(c.encoded[to.from:to.to]), to.expires)
	}
	it.end = c.end
	it.commands++
	it.bytes += len(c.encoded) + 32
	it.absolute = it.absolute && to.absolute
}

// openSeries returns the last item for a lane if it is a series that takes one more command of a database; nil: it is not.
func (r *router) openSeries(n *lane, db, sourceDB int) *item {
	ready := r.ready[n.id]
	if len(ready) == 0 {
		return nil
	}
	it := ready[len(ready)-1]
	if len(it.calls) != 1 || it.calls[0].Series == nil || it.series.Len() >= mostPlain || it.series.Size() >= mostPlainBytes {
		return nil
	}
	if c := &it.calls[0]; c.DB != db || c.Key.DB != sourceDB {
		return nil
	}
	return it
}
