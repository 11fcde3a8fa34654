package stream

import (
	"slices"
	"strconv"
	"strings"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/slab"
	"surecut/migrator/internal/slots"
)

// moves settles a command for keys of slots that move on the source: nobody applies it, and its keys are noted, to be read again. It also
// settles a command that is in the copies of its keys already, because their slot was read again. docs/moving-slots.md has the rule.
func (p *planner) moves(c *sourceCommand) (settled bool, err error) {
	if p.Scope.Moving == nil {
		return false, nil
	}
	if transfer, err := p.transfersSlots(c); transfer || err != nil {
		return transfer, err
	}
	spec, known := command.Lookup(c.args)
	if known && spec.Class == command.Keyless {
		return false, nil
	}
	if !known {
		if p.renamed(c) != nil { // plan comes back with the name that it had
			return false, nil
		}
		if spec = p.described(c); spec == nil {
			return p.unnamed(c), nil
		}
	}
	keys := p.keysNamed(c, spec)
	if len(keys) == 0 {
		return p.unnamed(c), nil
	}
	first := keyspace.Key{DB: c.db, Name: slab.View(c.args[keys[0]])}
	if spec.Name == "RESTORE-ASKING" && p.Scope.Takes(first, c.end) { // it brings a key, and may be the only trace of a slot that went and came back
		if err := p.beginMove(c); err != nil {
			return false, err
		}
	}
	notes, skips, err := p.judgeSlots(c)
	if err != nil || notes+skips == 0 {
		return false, err
	}
	if notes+skips < len(keys) { // a command over several slots, of which not all move: the others are read again as well
		if err := p.beginMove(c); err != nil {
			return false, err
		}
		if notes, _, err = p.judgeSlots(c); err != nil {
			return false, err
		}
	}
	if notes > 0 && spec.Class == command.Script {
		if err := p.noteScript(c, spec); err != nil {
			return false, err
		}
	}
	if notes > 0 {
		p.Ledger.Repaired.Add(1)
	} else {
		p.Ledger.Applied.Add(1)
	}
	return true, nil
}

// noteScript keeps the text of a script that is not run, and reports it if it may write keys that it does not declare.
func (p *planner) noteScript(c *sourceCommand, spec *command.Spec) error {
	c, err := p.byText(c, spec)
	if err != nil {
		return err
	}
	p.noteUndeclared(c)
	return nil
}

// unnamed reports a command that does not name its keys, while slots move: they may be keys of those slots.
func (p *planner) unnamed(c *sourceCommand) (settled bool) {
	if p.Scope.Moving.Table.Settled() {
		return false
	}
	p.Ledger.ReportCommand(c.db, "", c.name(), "slots of the source move, and the command does not name its keys, so that they cannot be read again")
	return true
}

// keysNamed returns the indexes of the keys that a command names, which are those of the planner from then on; none: it has a form that surecut
// does not know.
func (p *planner) keysNamed(c *sourceCommand, spec *command.Spec) []int {
	keys, err := spec.Keys(c.args, p.keys[:0])
	if err != nil {
		keys = keys[:0]
	}
	p.keys = keys
	return keys
}

// judgeSlots counts those keys of a command that are noted, and those whose copies contain the command.
func (p *planner) judgeSlots(c *sourceCommand) (notes, skips int, err error) {
	for _, i := range p.keys {
		k := keyspace.Key{DB: c.db, Name: slab.View(c.args[i])}
		v, err := p.Scope.Moving.Judge(k, p.Scope.SourceSlot(k), c.end)
		switch {
		case err != nil:
			return 0, 0, err
		case v == slots.Note:
			notes++
		case v == slots.Skip:
			skips++
		}
	}
	return notes, skips, nil
}

// beginMove notes that the slots of a command's keys move.
func (p *planner) beginMove(c *sourceCommand) error {
	var of []uint16
	for _, i := range p.keys {
		of = append(of, p.Scope.SourceSlot(keyspace.Key{DB: c.db, Name: slab.View(c.args[i])}))
	}
	return p.Scope.Moving.Table.Begin(of, false)
}

// transfersSlots notes the move that a command shows by which a cluster moves slots as a whole: TRIMSLOTS (Redis 8.4) and CLUSTER SYNCSLOTS
// (Valkey 9.0). It moves the slots that the command names, or all of the link's where it names none.
func (p *planner) transfersSlots(c *sourceCommand) (is bool, err error) {
	switch name := slab.View(c.args[0]); {
	case strings.EqualFold(name, "TRIMSLOTS"), strings.EqualFold(name, "CLUSTER"):
	default:
		return false, nil
	}
	p.Ledger.Filtered.Add(1)
	moving := slotsNamed(c.args)
	if len(moving) == 0 {
		for s := range p.Scope.Moving.Table.Owned(p.Scope.Moving.Index).All() {
			moving = append(moving, s)
		}
	}
	moving = slices.DeleteFunc(moving, func(s uint16) bool { return p.Scope.Moving.Table.Contains(p.Scope.Moving.Index, s, c.end) })
	return true, p.Scope.Moving.Table.Begin(moving, true)
}

// slotsNamed returns the slots of the ranges with which a command ends, as "TRIMSLOTS RANGES 1 0 100".
func slotsNamed(args [][]byte) (named []uint16) {
	for len(args) >= 2 {
		first, err1 := strconv.ParseUint(string(args[len(args)-2]), 10, 16)
		last, err2 := strconv.ParseUint(string(args[len(args)-1]), 10, 16)
		if err1 != nil || err2 != nil || first > last || last >= keyspace.Slots {
			break
		}
		for s := first; s <= last; s++ {
			named = append(named, uint16(s))
		}
		args = args[:len(args)-2]
	}
	return named
}
