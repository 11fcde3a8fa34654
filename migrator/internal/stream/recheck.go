package stream

import (
	"fmt"
	"strings"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/slab"
	"surecut/migrator/internal/target"
)

// While nobody applies the stream, the target goes on to expire keys that the source may have changed, read or renewed in time. A command
// of the stream that changes such a key then makes a new one on the target: INCR counts from 0, and the expiry is gone. So, from when a
// source is reached again until the link has caught up, the first change of each key is preceded by EXISTS, which tells whether the target
// has the key, and PERSIST, which keeps it from expiring. Keys that the target lacks, and keys that commands made of other keys, are noted
// and copied from the source at the end.

// mostTouched bounds the number of touched keys that are remembered, with 8 bytes each. Beyond it the target is asked for keys again.
const mostTouched = 1 << 20

// distrusts says whether the target may have let keys expire that the source still had when it ran the commands that come now.
func (h *holds) distrusts() bool {
	return h.Expiries.Distrusts() && !h.File
}

// touch adds a key to a set, and says whether it was not in it.
func touch(set map[uint64]struct{}, k keyspace.Key) bool {
	h := k.Hash()
	if _, known := set[h]; known {
		return false
	}
	if len(set) >= mostTouched {
		clear(set)
	}
	set[h] = struct{}{}
	return true
}

// overwrites says whether the result of a command does not depend on what its key held before.
func overwrites(c *sourceCommand, spec *command.Spec) bool {
	switch spec.Name {
	case "SET":
		for _, a := range c.args[3:] {
			if strings.EqualFold(slab.View(a), "KEEPTTL") {
				return false
			}
		}
		return true
	case "SETEX", "PSETEX", "GETSET", "GETDEL", "RESTORE", "RESTORE-ASKING":
		return true
	}
	return spec.Class == command.Split
}

// expiresFields says whether a command concerns the expiry of hash fields. That cannot be held.
func expiresFields(name string) bool {
	switch name {
	case "HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT", "HPERSIST", "HGETEX", "HSETEX":
		return true
	}
	return false
}

// suspect notes keys to be copied later: those that a command makes of other keys, hashes whose field expiries it changes, and those that
// an earlier run changed without having seen the replies.
func (h *holds) suspect(c *sourceCommand, spec *command.Spec, keys []int) error {
	several := spec.Class == command.Script || spec.Class == command.Ordinary && len(keys) > 1
	fields := expiresFields(spec.Name)
	if !several && !fields && h.ahead.resumedEnd == 0 || !h.Expiries.Holds() || h.File {
		return nil
	}
	several = several && h.distrusts()
	for _, i := range changed(spec, keys) {
		k := keyspace.Key{DB: c.db, Name: slab.View(c.args[i])}
		if several || fields || h.ahead.unwitnessed(h.Target.Slot(k.Name), c.end) {
			if err := h.recheck(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// recheck notes a key to be copied once the link has caught up.
func (h *holds) recheck(k keyspace.Key) error {
	if _, ok := h.Scope.Map(k.DB); !ok || !h.Scope.Carries(k) || !touch(h.suspects, k) {
		return nil
	}
	if err := h.Doubts.later.Add(k); err != nil {
		return fmt.Errorf("write the list of keys to be copied: %w", err)
	}
	return nil
}

// asks says whether a command, if it is the first that changes its key, is preceded by the calls that ask returns. They hold the key.
func (h *holds) asks(c *sourceCommand, spec *command.Spec, keys []int) bool {
	return len(keys) == 1 && h.distrusts() && !overwrites(c, spec)
}

// ask returns the calls that precede a command which is the first to change its key while the target is distrusted.
func (h *holds) ask(c *sourceCommand, spec *command.Spec, keys []int) []piece {
	if len(keys) != 1 || !h.distrusts() {
		return nil
	}
	k := keyspace.Key{DB: c.db, Name: slab.View(c.args[keys[0]])}
	if !touch(h.touched, k) || overwrites(c, spec) {
		return nil
	}
	h.noteHeld(c, k.Name)
	db, _ := h.Scope.Map(c.db)
	slot := h.Target.Slot(k.Name)
	return []piece{
		{slot: slot, end: c.end, call: target.Call{DB: db, Key: k, Args: []string{"EXISTS", k.Name}, Renew: target.Always, Later: true}},
		{slot: slot, end: c.end, call: target.Call{DB: db, Key: k, Args: []string{"PERSIST", k.Name}}},
	}
}
