package stream

import (
	"slices"

	"surecut/internal/command"
	"surecut/internal/keyspace"
)

// mostLacking bounds the number of keys in planner.lacks.
const mostLacking = 100_000

// rewritten returns what the target is sent for a command: relative expiries are made absolute, by the time of receipt and the source's
// clock, and commands that an older target does not know are sent in other forms. relative says that an expiry was made absolute.
func (p *planner) rewritten(c *sourceCommand, spec *command.Spec, received int64) (calls [][][]byte, relative bool, outcome command.Outcome) {
	dialect := p.Target.Dialect
	p.forms = append(p.forms[:0], c.args)
	calls = p.forms
	if spec.Expires {
		if p.Expiries.Holding() {
			dialect = p.Target.Held
		}
		cmds, changed := spec.AbsoluteExpiry(p.dated[:0], c.args, p.Clock.At(received), dialect)
		if p.dated = cmds; changed {
			calls, relative = cmds, true
		}
	}
	var out [][][]byte
	for i, args := range calls {
		cmds, outcome := dialect.RewriteCall(formOf(c, spec, args), nil, args)
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

// formOf returns what is known of a command in the form args, which is the source's own, as spec describes it, or one for the target.
func formOf(c *sourceCommand, spec *command.Spec, args [][]byte) *command.Spec {
	if &args[0] == &c.args[0] {
		return spec
	}
	if form, known := command.Lookup(args); known {
		return form
	}
	return &command.Spec{}
}

// planWhole passes a command on with all its keys, which have the judgement j, in a form that the target knows.
func (p *planner) planWhole(c *sourceCommand, spec *command.Spec, j judgement, received int64) (plan, error) {
	calls, relative, outcome := p.rewritten(c, spec, received)
	switch {
	case outcome == command.Copied:
		return p.planCopy(c, p.written(c, spec)), nil
	case outcome == command.Lacking:
		p.lacking(c, spec)
		return plan{}, nil
	case len(calls) == 0: // the command would change nothing on the target
		p.Ledger.Applied.Add(1)
		return plan{}, nil
	}
	calls = p.shortened(calls)
	p.planned = p.whole(append(p.planned[:0], p.holds.ask(c, spec, p.keys)...), c, spec, calls, relative, j)
	return plan{pieces: p.planned}, nil
}

// shortened returns calls with those cut that have more arguments than the target takes. They stay in one transaction. What cannot be cut is
// refused by the writer, and its keys are copied.
func (p *planner) shortened(calls [][][]byte) [][][]byte {
	most := p.Target.Most().Words
	if most == 0 || !slices.ContainsFunc(calls, func(args [][]byte) bool { return len(args) > most }) {
		return calls
	}
	var out [][][]byte
	for _, args := range calls {
		if pieces := command.Pieces(args, most); len(args) > most && pieces != nil {
			out = append(out, pieces...)
		} else {
			out = append(out, args)
		}
	}
	return out
}

// lacking reports a command that writes a type which the target does not have. Each key is reported once.
func (p *planner) lacking(c *sourceCommand, spec *command.Spec) {
	p.Ledger.Reported.Add(1)
	for _, i := range p.keys {
		k := keyspace.Key{DB: c.db, Name: string(c.args[i])}
		if !p.Scope.Carries(k) || p.lacks[k] || len(p.lacks) >= mostLacking {
			continue
		}
		p.lacks[k] = true
		why := "the target lacks what this command writes: " + command.Lacks(c.args)
		if spec.Name == "PUBLISH" && !p.Target.Can.Messages {
			why = "the proxy does not forward published messages"
		}
		p.Ledger.Note(k.DB, k.Name, spec.Name, why)
	}
}
