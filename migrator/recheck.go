package migrator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"surecut/internal/command"
	"surecut/internal/keyspace"
)

// While nobody applies the stream, the target goes on to expire keys that the source may have changed, read or renewed in time. A command
// of the stream that changes such a key then makes a new one on the target: INCR counts from 0, and the expiry is gone. So, from when a
// source is reached again until the link has caught up, the first change of each key is preceded by EXISTS, which tells whether the target
// has the key, and PERSIST, which keeps it from expiring. Keys that the target lacks, and keys that commands made of other keys, are noted
// and copied from the source at the end.

// mostTouched bounds the number of touched keys that are remembered, with 8 bytes each. Beyond it the target is asked for keys again.
const mostTouched = 1 << 20

// distrusts says whether the target may have let keys expire that the source still had when it ran the commands that come now.
func (d *dispatcher) distrusts() bool {
	return d.l.expiries.Distrusts() && d.l.file == nil
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
			if strings.EqualFold(view(a), "KEEPTTL") {
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
func (d *dispatcher) suspect(c *sourceCommand, spec *command.Spec) error {
	if !d.l.expiries.Holds() || d.l.file != nil {
		return nil
	}
	several := (spec.Class == command.Script || spec.Class == command.Ordinary && len(d.keys) > 1) && d.distrusts()
	fields := expiresFields(spec.Name)
	if !several && !fields && d.resumedEnd == 0 {
		return nil
	}
	for _, i := range d.changed(spec) {
		k := keyspace.Key{DB: c.db, Name: view(c.args[i])}
		if several || fields || d.unwitnessed(d.l.m.target.slot(k.Name), c.end) {
			if err := d.recheck(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// recheck notes a key to be copied once the link has caught up.
func (d *dispatcher) recheck(k keyspace.Key) error {
	if _, ok := d.l.scope.Map(k.DB); !ok || !d.l.scope.Carries(k) || !touch(d.suspects, k) {
		return nil
	}
	if err := d.l.doubts.later.Add(k); err != nil {
		return fmt.Errorf("write the list of keys to be copied: %w", err)
	}
	return nil
}

// unwitnessed says whether an earlier run has applied a command in the last transaction of its unit, whose replies it may not have seen.
func (d *dispatcher) unwitnessed(slot uint16, end int64) bool {
	return d.applied(slot, end) && end > d.witnessed[d.lane(slot).unitOf(slot)]
}

// asks says whether a command, if it is the first that changes its key, is preceded by the calls that ask returns. They hold the key.
func (d *dispatcher) asks(c *sourceCommand, spec *command.Spec) bool {
	return len(d.keys) == 1 && d.distrusts() && !overwrites(c, spec)
}

// ask returns the calls that precede a command which is the first to change its key while the target is distrusted.
func (d *dispatcher) ask(c *sourceCommand, spec *command.Spec) []piece {
	if len(d.keys) != 1 || !d.distrusts() {
		return nil
	}
	k := keyspace.Key{DB: c.db, Name: view(c.args[d.keys[0]])}
	if !touch(d.touched, k) || overwrites(c, spec) {
		return nil
	}
	d.noteHeld(c, k.Name)
	db, _ := d.l.scope.Map(c.db)
	slot := d.l.m.target.slot(k.Name)
	return []piece{
		{slot: slot, end: c.end, call: call{db: db, key: k, args: []string{"EXISTS", k.Name}, renew: always, later: true}},
		{slot: slot, end: c.end, call: call{db: db, key: k, args: []string{"PERSIST", k.Name}}},
	}
}

// mostFenced bounds the number of fences that are ahead of the stream: all of them are in memory, and in the checkpoints of the target.
const mostFenced = 10_000

// passFences dispatches up to the last fence if there are too many of them, or up to the end of the stream.
func (d *dispatcher) passFences(ctx context.Context) error {
	if len(d.fences) < mostFenced {
		return nil
	}
	end := int64(0)
	for _, offset := range d.fences {
		end = max(end, offset)
	}
	err := d.catchUpTo(ctx, end)
	if errors.Is(err, errStreamEnded) {
		return nil
	}
	return err
}

// copySuspects copies the keys that were noted to be copied once the link has caught up.
func (d *dispatcher) copySuspects(ctx context.Context) error {
	l := d.l
	if l.doubts.later.Empty() {
		return nil
	}
	list := l.doubts.later.Cursor()
	seen := map[uint64]struct{}{}
	for over := false; !over; {
		var keys []keyspace.Key
		for len(keys) < 100 && !over {
			k, ok, err := list.Next()
			if err != nil {
				return err
			}
			if !ok && len(keys) > 0 {
				break
			}
			if !ok {
				err := d.meet(ctx, d.lanes, func() (err error) { // until they meet, the lanes may add keys to the list
					if k, ok, err = list.Next(); err == nil && !ok {
						over = true
						err = l.doubts.later.Clear()
					}
					return err
				})
				if err != nil {
					return err
				}
			}
			if ok && touch(seen, k) {
				keys = append(keys, k)
			}
		}
		if _, err := d.copyKeys(ctx, keys, l.positions.dispatchedTo().offset); err != nil {
			return err
		}
		if err := d.passFences(ctx); err != nil {
			return err
		}
	}
	clear(d.suspects)
	return nil
}
