package stream

import (
	"errors"
	"fmt"
	"strings"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/slab"
)

// ErrSlotsMoved says that slots of a Codis source moved between servers. Two links then carry commands for the same keys, in no known
// order.
var ErrSlotsMoved = errors.New("slots of the Codis source are being moved between its servers: wait until that has ended (codis-admin --slots-status), empty the target or set Config.OnExisting replace, and start again with a new Config.StateDir")

// ofCodis says whether a command, which command.Lookup does not know, is one of the SLOTS... commands of codis-server.
func (p *planner) ofCodis(c *sourceCommand) bool {
	const prefix = "SLOTS"
	name := c.args[0]
	return p.Codis && len(name) > len(prefix) && strings.EqualFold(slab.View(name[:len(prefix)]), prefix)
}

// planCodis settles a SLOTSRESTORE, by which a client wrote keys, by copying them. It fails for all other SLOTS... commands, and for a
// SLOTSRESTORE of a key that belongs to another server: those move slots.
func (p *planner) planCodis(c *sourceCommand) (plan, error) {
	if name := strings.ToUpper(c.name()); name != "SLOTSRESTORE" || len(c.args)%3 != 1 {
		return plan{}, fmt.Errorf("%w (the stream contains %s)", ErrSlotsMoved, name)
	}
	var keys []keyspace.Key
	for i := 1; i < len(c.args); i += 3 {
		name := string(c.args[i])
		if !p.Scope.Owns(name) {
			return plan{}, fmt.Errorf("%w (the stream contains key %s, which belongs to another server)", ErrSlotsMoved, keyspace.PrintableShort(name))
		}
		k := p.Scope.Arriving(c.db, name)
		if err := p.Scope.Collision(k); err != nil {
			return plan{}, err
		}
		if p.Scope.Carries(k) && p.ahead.wanted(c, k.Name, p.Target.Slot(k.Name)) {
			keys = append(keys, k)
		}
	}
	return p.planCopy(c, keys), nil
}
