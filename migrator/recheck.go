package migrator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"surecut/internal/command"
	"surecut/internal/keyspace"
)

// While nobody applies the stream, the target goes on to expire keys, and the source may have changed, read or renewed them
// before they expired. What the stream then says of such a key makes a new one on the target: INCR counts from 0, and the
// expiry is gone. So, from when a source is reached again until the link has caught up, the target is asked for each key
// that is changed for the first time whether it has it, and keeps it from expiring; keys that it has not, and keys that were made of
// others, are noted, and copied from the source at the end.

// mostTouched bounds what is remembered of touched keys, 8 bytes each; beyond it the target is asked again.
const mostTouched = 1 << 20

// distrusts says whether keys of the target may have expired that the source had when it ran the commands that come now.
func (d *dispatcher) distrusts() bool {
	return d.l.expiries.distrusts() && d.l.file == nil
}

// touch says whether a key comes for the first time since the set was cleared.
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

// overwrites says whether what a command makes of its key does not depend on what the key was before.
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

// expiresFields says whether a command concerns the expiry of hash fields, which cannot be held.
func expiresFields(name string) bool {
	switch name {
	case "HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT", "HPERSIST", "HGETEX", "HSETEX":
		return true
	}
	return false
}

// suspect notes keys that a command makes of others, or that an earlier run changed without having seen the replies.
func (d *dispatcher) suspect(c *sourceCommand, spec *command.Spec) error {
	if !d.l.expiries.holds() || d.l.file != nil {
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

// recheck notes a key to be copied when the link has caught up.
func (d *dispatcher) recheck(k keyspace.Key) error {
	if _, ok := d.l.scope.Map(k.DB); !ok || !d.l.scope.carries(k) || !touch(d.suspects, k) {
		return nil
	}
	if err := d.l.doubts.later.Add(k); err != nil {
		return fmt.Errorf("write the list of keys to be copied: %w", err)
	}
	return nil
}

// unwitnessed says whether an earlier run sent a command in the last transaction of its unit, and may not have seen the reply.
func (d *dispatcher) unwitnessed(slot uint16, end int64) bool {
	return d.applied(slot, end) && end > d.witnessed[d.lane(slot).unitOf(slot)]
}

// asks says whether a command is preceded by a question, if it is the first that changes its key: then the key was kept from
// expiring as well.
func (d *dispatcher) asks(c *sourceCommand, spec *command.Spec) bool {
	return len(d.keys) == 1 && d.distrusts() && !overwrites(c, spec)
}

// ask gives the calls that precede a command that changes a key for the first time while the target is not trusted.
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

// mostFenced bounds the keys that are copied as of later offsets than have been dispatched: all of them are in memory, and in the
// checkpoints of the target.
const mostFenced = 10_000

// passFences dispatches up to where nothing is copied ahead, if too much is. At the end of the stream there is no further.
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

// copySuspects copies the keys that were noted.
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
				err := d.meet(ctx, d.lanes, func() (err error) { // what the lanes have still to note
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
