package stream

import (
	"strings"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/slab"
)

// mostDescribed bounds how many names are remembered.
const mostDescribed = 10_000

// described returns what the source says of a command that surecut does not know by its name; nil: nothing is known. The names of keys that
// get a prefix are not changed in such a command.
func (p *planner) described(c *sourceCommand) *command.Spec {
	if p.Describe == nil || p.Scope.DBPrefix[c.db] != "" {
		return nil
	}
	name := strings.ToUpper(slab.View(c.args[0]))
	if spec, asked := p.descriptions[name]; asked {
		return spec
	}
	spec, err := p.Describe(strings.Clone(name))
	if err != nil {
		p.Log.Warn("the source does not describe a command that surecut does not know", "command", keyspace.PrintableShort(name), "error", err)
		return nil // it may answer next time
	}
	if len(p.descriptions) < mostDescribed {
		p.descriptions[strings.Clone(name)] = spec
	}
	return spec
}

// renamed returns a command by the name that it had before the source renamed it; nil: it was not renamed.
func (p *planner) renamed(c *sourceCommand) *sourceCommand {
	spec := p.described(c)
	if spec == nil {
		return nil
	}
	name, _, _ := strings.Cut(spec.Name, " ")
	by := *c
	by.args, by.encoded = append([][]byte{[]byte(name)}, c.args[1:]...), nil
	if _, known := command.Lookup(by.args); !known {
		return nil
	}
	return &by
}

// copyDescribed settles a command that surecut does not know by copying the keys that the source says it has. ok is false if that is not known.
func (p *planner) copyDescribed(c *sourceCommand) (to plan, ok bool) {
	spec := p.described(c)
	if spec == nil {
		return plan{}, false
	}
	if len(p.keysNamed(c, spec)) == 0 {
		return plan{}, false
	}
	return p.planCopy(c, p.written(c, spec)), true
}
