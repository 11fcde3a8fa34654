package migrator

import (
	"surecut/internal/command"
	"surecut/internal/keyspace"
)

// mostLacking bounds the number of keys in dispatcher.lacks.
const mostLacking = 100_000

// rewritten returns what the target is sent for a command: relative expiries are made absolute, by the time of receipt and the source's
// clock, and commands that an older target does not know are sent in other forms. relative says that an expiry was made absolute.
func (d *dispatcher) rewritten(c *sourceCommand, spec *command.Spec, received int64) (calls [][][]byte, relative bool, outcome command.Outcome) {
	dialect := d.l.m.target.dialect
	d.forms = append(d.forms[:0], c.args)
	calls = d.forms
	if spec.Expires {
		if d.l.expiries.Holding() {
			dialect = d.l.m.target.held
		}
		cmds, changed := spec.AbsoluteExpiry(d.dated[:0], c.args, d.l.clock.At(received), dialect)
		if d.dated = cmds; changed {
			calls, relative = cmds, true
		}
	}
	var out [][][]byte
	for i, args := range calls {
		cmds, outcome := dialect.Rewrite(nil, args)
		switch {
		case outcome == command.Copied, outcome == command.Lacking:
			return nil, relative, outcome
		case outcome == command.Changed && out == nil:
			out = append(make([][][]byte, 0, len(calls)+len(cmds)), calls[:i]...)
			out = append(out, cmds...)
		case outcome == command.Changed:
			out = append(out, cmds...)
		case out != nil:
			out = append(out, args)
		}
	}
	if out != nil {
		return out, relative, command.Changed
	}
	return calls, relative, command.Same
}

// planWhole passes a command on with all its keys, in a form that the target knows.
func (d *dispatcher) planWhole(c *sourceCommand, spec *command.Spec, received int64) (plan, error) {
	calls, relative, outcome := d.rewritten(c, spec, received)
	switch {
	case outcome == command.Copied:
		return d.planCopy(c, d.written(c, spec)), nil
	case outcome == command.Lacking:
		d.lacking(c, spec)
		return plan{}, nil
	case len(calls) == 0: // the command would change nothing on the target
		d.l.ledger.Applied.Add(1)
		return plan{}, nil
	}
	d.planned = d.whole(append(d.planned[:0], d.ask(c, spec)...), c, spec, calls, relative)
	return plan{pieces: d.planned}, nil
}

// lacking reports a command that writes a type which the target does not have. Each key is reported once.
func (d *dispatcher) lacking(c *sourceCommand, spec *command.Spec) {
	d.l.ledger.Reported.Add(1)
	for _, i := range d.keys {
		k := keyspace.Key{DB: c.db, Name: string(c.args[i])}
		if !d.l.scope.Carries(k) || d.lacks[k] || len(d.lacks) >= mostLacking {
			continue
		}
		d.lacks[k] = true
		why := "the target has not what this writes: " + command.Lacks(c.args)
		if spec.Name == "PUBLISH" && !d.l.m.target.can.messages {
			why = "the proxy passes no messages on"
		}
		d.l.ledger.Note(k.DB, k.Name, spec.Name, why)
	}
}
