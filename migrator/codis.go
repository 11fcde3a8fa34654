package migrator

import (
	"errors"
	"fmt"
	"strings"

	"surecut/internal/keyspace"
)

// errSlotsMoved says that a source's slots changed servers: two links then speak of the same keys, in no order.
var errSlotsMoved = errors.New("slots of the Codis source are on the move: wait for that to end (codis-admin --slots-status), empty the target or say Config.OnExisting replace, and start again with a new Config.StateDir")

// ofCodis says whether a command is one that only codis-servers know.
func (l *link) ofCodis(c *sourceCommand) bool {
	const prefix = "SLOTS"
	name := c.args[0]
	return len(l.source.d.Proxies()) > 0 && len(name) > len(prefix) && strings.EqualFold(view(name[:len(prefix)]), prefix)
}

// planCodis carries what clients wrote by SLOTSRESTORE, by copying the keys. Everything else of its kind moves slots; so
// does a SLOTSRESTORE of a key that belongs to another server.
func (d *dispatcher) planCodis(c *sourceCommand) (plan, error) {
	if name := strings.ToUpper(c.name()); name != "SLOTSRESTORE" || len(c.args)%3 != 1 {
		return plan{}, fmt.Errorf("%w (%s)", errSlotsMoved, name)
	}
	var keys []keyspace.Key
	for i := 1; i < len(c.args); i += 3 {
		name := string(c.args[i])
		if !d.l.scope.owns(name) {
			return plan{}, fmt.Errorf("%w (key %s came)", errSlotsMoved, printable(name))
		}
		k := d.l.scope.arriving(c.db, name)
		if err := d.l.scope.collision(k); err != nil {
			return plan{}, err
		}
		if d.l.scope.carries(k) && d.wanted(c, k.Name, d.l.m.target.slot(k.Name)) {
			keys = append(keys, k)
		}
	}
	return d.planCopy(c, keys), nil
}
