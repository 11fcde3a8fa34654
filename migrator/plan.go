package migrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"surecut/internal/command"
	"surecut/internal/keyspace"
)

// plan is how one command of the source is carried: pieces for the lanes, or an action of the dispatcher, or neither.
type plan struct {
	pieces []piece
	act    func(ctx context.Context, g group) error // run by the dispatcher, after the pieces before it were handed over; may be nil
}

func (c *sourceCommand) name() string { return keyspace.PrintableShort(string(c.args[0])) }

// plan decides how one command is carried. The command is counted here, or by the lane that applies it, or by the action.
func (d *dispatcher) plan(c *sourceCommand, received int64) (plan, error) {
	if err := d.l.imported(c); err != nil {
		return plan{}, err
	}
	spec, known := command.Lookup(c.args)
	if known && spec.Class != command.Keyless && len(d.l.scope.DBPrefix) > 0 {
		for _, k := range keysOf(c) {
			if err := d.l.scope.Collision(k); err != nil {
				return plan{}, err
			}
		}
	}
	switch { // commands that are not confined to the selected database
	case known && spec.Class == command.Keyless && spec.Name != "FLUSHDB":
		return d.planKeyless(c, spec)
	case known && (spec.Name == "MOVE" || spec.Name == "COPY"):
		return d.planAcrossDatabases(c, spec, received)
	}
	switch {
	case !d.l.scope.MatchDB(c.db):
		d.l.ledger.Filtered.Add(1)
		return plan{}, nil
	case c.end <= d.doubtEnd && known && spec.Class != command.Keyless:
		return d.planDoubtful(c), nil
	case !known && d.l.ofCodis(c):
		return d.planCodis(c)
	case !known:
		return d.planUnknown(c)
	case spec.Class == command.Keyless:
		return d.planKeyless(c, spec)
	case spec.Class == command.Script:
		return d.planScript(c, spec)
	}
	return d.planKeyed(c, spec, received)
}

// planKeyed passes a command on whole where its keys allow that. Otherwise it takes the command apart, one piece for each key, or, if that
// is not possible, has the keys copied that the command changed.
func (d *dispatcher) planKeyed(c *sourceCommand, spec *command.Spec, received int64) (plan, error) {
	keys, err := spec.Keys(c.args, d.keys[:0])
	if err != nil {
		return plan{}, err
	}
	d.keys = keys
	verdict := d.judge(c, keys)
	if (d.resumedEnd > 0 && (spec.Expires || spec.Name == "PERSIST" || d.asks(c, spec)) || carriesExpiry(spec.Name)) && d.l.expiries.Holding() {
		if err := d.holdAgain(c); err != nil {
			return plan{}, err
		}
	}
	if err := d.suspect(c, spec); err != nil {
		return plan{}, err
	}
	switch {
	case verdict.open == 0:
		return plan{}, d.settleUnsent(c, verdict)
	case spec.Name == "SORT" && command.SortsByKeys(c.args):
		return d.planSorted(c, spec, verdict)
	case verdict.open == len(keys) && (verdict.oneSlot || !d.l.m.target.cluster && spec.Class != command.Split):
		return d.planWhole(c, spec, received)
	case spec.Class == command.Split:
		return plan{pieces: d.split(c, spec)}, nil
	}
	return d.planCopy(c, d.written(c, spec)), nil
}

// planSorted settles a SORT ... BY or GET, which reads keys that it does not name, by copying its result: other lanes write these keys, and
// filters and prefixes may keep them from the target. Where nothing can be copied and the command is passed on, all lanes meet for it.
func (d *dispatcher) planSorted(c *sourceCommand, spec *command.Spec, j judgement) (plan, error) {
	whole := j.open == len(d.keys) && (j.oneSlot || !d.l.m.target.cluster) && d.l.scope.DBPrefix[c.db] == ""
	if whole && d.l.cannotCopy() != "" {
		return d.everyLane(c)
	}
	return d.planCopy(c, d.written(c, spec)), nil
}

// judgement counts the keys of a command by what becomes of them.
type judgement struct {
	open     int  // to be applied
	filtered int  // left out by a filter
	noDB     int  // in a database that the target does not have
	oneSlot  bool // all open keys share a slot
}

func (d *dispatcher) judge(c *sourceCommand, keys []int) judgement {
	j := judgement{oneSlot: true}
	var slot uint16
	_, hasDB := d.l.scope.Map(c.db)
	for _, k := range keys {
		name := view(c.args[k])
		s := d.l.m.target.slot(name)
		switch {
		case !d.l.scope.Carries(keyspace.Key{DB: c.db, Name: name}):
			j.filtered++
			continue
		case !hasDB:
			j.noDB++
			continue
		case !d.wanted(c, name, s):
			continue
		}
		if j.open++; j.open == 1 {
			slot = s
		}
		j.oneSlot = j.oneSlot && s == slot
	}
	return j
}

// wanted says whether a command is still to be applied to a key. It is not where an earlier run has applied it, or where a copy of the key
// already has its effect.
func (d *dispatcher) wanted(c *sourceCommand, name string, slot uint16) bool {
	if d.applied(slot, c.end) {
		return false
	}
	return len(d.fences) == 0 || d.fences[keyspace.Key{DB: c.db, Name: name}] < c.end
}

// settleUnsent counts a command that is to be applied to none of its keys.
func (d *dispatcher) settleUnsent(c *sourceCommand, j judgement) error {
	switch {
	case j.noDB > 0:
		d.l.ledger.ReportCommand(c.db, "", c.name(), fmt.Sprintf("the target has no database %d; map it with Filter.DBMap or Filter.DBPrefix", c.db))
	case j.filtered > 0:
		d.l.ledger.Filtered.Add(1)
	default:
		d.l.ledger.Applied.Add(1)
	}
	return nil
}

// whole appends the pieces of a command that is passed on with all its keys, in the form of calls. relative says that its expiry was
// relative as the source sent it.
func (d *dispatcher) whole(pieces []piece, c *sourceCommand, spec *command.Spec, calls [][][]byte, relative bool) []piece {
	db, _ := d.l.scope.Map(c.db)
	slots := make([]uint16, 0, 4)
	for _, k := range d.keys {
		if s := d.l.m.target.slot(view(c.args[k])); !slices.Contains(slots, s) {
			slots = append(slots, s)
		}
	}
	key := keyspace.Key{DB: c.db}
	if len(d.keys) > 0 {
		key.Name = view(c.args[d.keys[0]])
	} else {
		slots = append(slots, 0)
	}
	first := len(pieces)
	for i, args := range calls {
		x := call{db: db, args: d.strs(args), key: key, renew: proves(strings.ToUpper(view(args[0]))),
			awaits: spec.Name == "XCLAIM" && d.l.m.target.forgets, absolute: repeatable(c, spec, args)}
		run := append(d.run1[:0], x)
		if d.l.file != nil && expiresFields(spec.Name) {
			d.notePassedFields(c, x)
		}
		if spec.Expires || spec.Name == "PERSIST" {
			if _, at, ok := command.ExpireAt(args); ok {
				x.expires = at
			}
			run = d.hold(run[:0], c, x, relative)
		}
		if i == 0 {
			run[0].reads, run[0].more = d.reads(c, spec)
		}
		if carriesExpiry(spec.Name) {
			run = append(run, learn(db, keyspace.Key{DB: c.db, Name: view(c.args[d.keys[1]])}))
		}
		for _, x := range run {
			pieces = append(pieces, piece{slot: slots[0], end: c.end, call: x})
		}
		if i == 0 {
			pieces[first].commands = 1
		}
		d.run1 = run
	}
	for _, s := range slots[1:] { // these have the lanes of the other keys meet
		pieces = append(pieces, piece{slot: s, end: c.end})
	}
	return pieces
}

// repeatable says whether a command in the form args may be applied again from an earlier point. It has this form for an older target, or is
// the source's own, which spec describes.
func repeatable(c *sourceCommand, spec *command.Spec, args [][]byte) bool {
	if &args[0] == &c.args[0] {
		return spec.Absolute(args)
	}
	form, known := command.Lookup(args)
	return known && form.Absolute(args)
}

// answersGone lists the commands that need no EXISTS before them. The reply to most says that the key is gone: an error, 0, or nil. SETNX
// and MSETNX do not depend on a key: a source passes them on only if it had none.
var answersGone = map[string]bool{"EXPIRE": true, "PEXPIRE": true, "EXPIREAT": true, "PEXPIREAT": true, "GETEX": true, "PERSIST": true,
	"RENAME": true, "RENAMENX": true, "SETNX": true, "MSETNX": true}

// reads says whether the effect of a command depends on the values of its keys, and returns the keys after the first.
func (d *dispatcher) reads(c *sourceCommand, spec *command.Spec) (reads bool, more []string) {
	if d.l.file != nil || len(d.keys) == 0 || answersGone[spec.Name] || overwrites(c, spec) {
		return false, nil
	}
	return true, d.names(c, 1)
}

// names returns the keys of a command from index i on.
func (d *dispatcher) names(c *sourceCommand, i int) []string {
	if i >= len(d.keys) {
		return nil
	}
	names := make([]string, 0, len(d.keys)-i)
	for _, k := range d.keys[i:] {
		names = append(names, view(c.args[k]))
	}
	return names
}

// learn returns a call that asks when a key expires which has taken over the expiry of another one.
func learn(db int, k keyspace.Key) call {
	return call{db: db, args: []string{"PTTL", k.Name}, key: k, learns: true}
}

// split returns one piece for each key of a command that is to be applied to it, in order. There is at least one such key.
func (d *dispatcher) split(c *sourceCommand, spec *command.Spec) []piece {
	db, hasDB := d.l.scope.Map(c.db)
	verb := view(c.args[0])
	if spec.Name == "UNLINK" && !d.l.m.target.dialect.Knows("UNLINK") {
		verb = "DEL"
	}
	var pieces []piece
	for _, k := range d.keys {
		name := view(c.args[k])
		slot := d.l.m.target.slot(name)
		if !hasDB || !d.l.scope.Carries(keyspace.Key{DB: c.db, Name: name}) || !d.wanted(c, name, slot) {
			continue
		}
		args := append([]string{verb}, d.strs(c.args[k:k+spec.SplitStep])...)
		pieces = append(pieces, piece{slot: slot, end: c.end, call: call{db: db, args: args, key: keyspace.Key{DB: c.db, Name: name}, absolute: spec.Absolute(c.args)}})
	}
	pieces[0].commands = 1
	return pieces
}

// changed returns the indexes of the keys that a command may have changed.
func (d *dispatcher) changed(spec *command.Spec) []int {
	switch name := spec.Name; {
	case len(d.keys) == 0:
	case strings.HasSuffix(name, "STORE"), name == "BITOP", name == "PFMERGE":
		return d.keys[:1]
	case name == "SORT", name == "GEORADIUS", name == "GEORADIUSBYMEMBER", name == "COPY":
		return d.keys[len(d.keys)-1:]
	}
	return d.keys
}

// written returns the keys that a command may have changed and that it is to be applied to.
func (d *dispatcher) written(c *sourceCommand, spec *command.Spec) []keyspace.Key {
	var keys []keyspace.Key
	for _, k := range d.changed(spec) {
		key := keyspace.Key{DB: c.db, Name: string(c.args[k])}
		if d.l.scope.Carries(key) && d.wanted(c, key.Name, d.l.m.target.slot(key.Name)) && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// planCopy settles a command by copying keys, which are those that it changed. If there are none, the command counts as filtered.
func (d *dispatcher) planCopy(c *sourceCommand, keys []keyspace.Key) plan {
	if len(keys) == 0 {
		d.l.ledger.Filtered.Add(1)
		return plan{}
	}
	if why := d.l.cannotCopy(); why != "" {
		d.l.ledger.ReportCommand(c.db, keys[0].Name, c.name(), fmt.Sprintf("the target cannot run it as it is (it lacks the command, its keys lie in several slots or databases, or a filter splits them), and %s: %d keys are not what the source would hold", why, len(keys)))
		return plan{}
	}
	return plan{act: func(ctx context.Context, g group) error {
		lost, err := d.copyKeys(ctx, keys, c.end)
		if len(lost) > 0 {
			d.l.ledger.Reported.Add(1)
		} else {
			d.l.ledger.Repaired.Add(1)
		}
		return err
	}}
}

// planKeyless plans a command that acts on the server or on a database, or that publishes a message.
func (d *dispatcher) planKeyless(c *sourceCommand, spec *command.Spec) (plan, error) {
	container, sub, _ := strings.Cut(spec.Name, " ")
	switch container {
	case "PUBLISH", "SPUBLISH":
		if len(c.args) != 3 || bytes.HasPrefix(c.args[1], []byte("__sentinel__")) {
			d.l.ledger.Filtered.Add(1)
			return plan{}, nil
		}
		return d.message(c, spec), nil
	case "FLUSHDB", "FLUSHALL":
		return plan{act: func(ctx context.Context, g group) error { return d.flush(ctx, c, container == "FLUSHALL") }}, nil
	case "SWAPDB":
		return plan{act: func(ctx context.Context, g group) error { return d.swap(ctx, c) }}, nil
	case "FUNCTION", "SCRIPT":
		return plan{act: func(ctx context.Context, g group) error { return d.everywhere(ctx, c, container, sub) }}, nil
	}
	if !spec.Write {
		d.l.ledger.Filtered.Add(1)
		return plan{}, nil
	}
	return d.planUnknown(c)
}

// message passes on what was published, unless an earlier run has done so.
func (d *dispatcher) message(c *sourceCommand, spec *command.Spec) plan {
	if !d.l.m.target.dialect.Knows(spec.Name) {
		d.keys = append(d.keys[:0], 1) // the channel
		d.lacking(c, spec)
		return plan{}
	}
	slot := uint16(0)
	if strings.EqualFold(c.name(), "SPUBLISH") {
		slot = d.l.m.target.slot(view(c.args[1]))
	}
	if d.applied(slot, c.end) {
		d.l.ledger.Applied.Add(1)
		return plan{}
	}
	return plan{pieces: []piece{{slot: slot, end: c.end, commands: 1, call: call{db: d.l.m.target.ownDB(), args: d.strs(c.args), message: true}}}}
}

// planScript has a script run at a meeting of all lanes, since it may touch keys that it does not declare. A cluster can run it only where
// its declared keys share a slot. A script that the target cannot run is settled by copying its declared keys.
func (d *dispatcher) planScript(c *sourceCommand, spec *command.Spec) (plan, error) {
	keys, err := spec.Keys(c.args, d.keys[:0])
	if err == nil {
		c, err = d.byText(c, spec)
	}
	if err != nil {
		return plan{}, err
	}
	d.keys = keys
	if d.l.expiries.Holding() { // the script may give keys an expiry, or may have done so in an earlier run
		if err := d.holdAgain(c); err != nil {
			return plan{}, err
		}
	}
	if err := d.suspect(c, spec); err != nil {
		return plan{}, err
	}
	j := d.judge(c, keys)
	renamed := d.l.scope.DBPrefix[c.db] != ""
	if len(keys) > 0 && (j.open < len(keys) || renamed || d.l.m.target.cluster && !j.oneSlot || !d.l.m.target.dialect.Knows("EVAL")) {
		// If an earlier run has applied the script to all its keys, its undeclared keys are in too. If keys are copied instead, they are not.
		if slices.ContainsFunc(keys, func(k int) bool { return !d.applied(d.l.m.target.slot(view(c.args[k])), c.end) }) && j.filtered+j.noDB < len(keys) {
			d.noteUndeclared(c)
		}
		if j.open == 0 {
			return plan{}, d.settleUnsent(c, j)
		}
		return d.planCopy(c, d.written(c, spec)), nil
	}
	switch {
	case len(keys) > 0:
	case !d.l.m.target.dialect.Knows("EVAL"):
		d.l.ledger.ReportCommand(c.db, "", c.name(), "the target runs no scripts, and this one does not declare its keys")
		return plan{}, nil
	case d.l.m.target.cluster:
		d.l.ledger.ReportCommand(c.db, "", c.name(), "a script without declared keys cannot be routed to a slot of the cluster")
		return plan{}, nil
	case len(d.l.scope.Include)+len(d.l.scope.Exclude) > 0:
		d.l.ledger.ReportCommand(c.db, "", c.name(), "a script without declared keys cannot be filtered")
		return plan{}, nil
	case renamed:
		d.l.ledger.ReportCommand(c.db, "", c.name(), "a script without declared keys cannot have its keys renamed (Filter.DBPrefix)")
		return plan{}, nil
	}
	return d.everyLane(c)
}

// noteUndeclared reports a script whose undeclared keys do not arrive, unless its text shows that it has none.
func (d *dispatcher) noteUndeclared(c *sourceCommand) {
	if strings.EqualFold(view(c.args[0]), "EVAL") && command.DeclaresKeys(string(c.args[1])) {
		return
	}
	d.l.ledger.Note(c.db, "", c.name(), "the script cannot run on the target as it is: its declared keys were copied, keys that it does not declare were not")
}

// planUnknown passes an unknown command on to a standalone server, at a meeting of all lanes: it may touch any key.
func (d *dispatcher) planUnknown(c *sourceCommand) (plan, error) {
	d.keys = d.keys[:0] // these are still the keys of an earlier command
	if d.l.m.target.cluster || len(d.l.scope.Include)+len(d.l.scope.Exclude) > 0 || d.l.scope.DBPrefix[c.db] != "" {
		d.l.ledger.ReportCommand(c.db, "", c.name(), "the command is unknown, so its keys cannot be found")
		return plan{}, nil
	}
	return d.everyLane(c)
}

func (d *dispatcher) everyLane(c *sourceCommand) (plan, error) {
	db, ok := d.l.scope.Map(c.db)
	if !ok {
		return plan{}, d.settleUnsent(c, judgement{noDB: 1})
	}
	slot, key := uint16(0), keyspace.Key{DB: c.db}
	if len(d.keys) > 0 {
		key.Name = view(c.args[d.keys[0]])
		slot = d.l.m.target.slot(key.Name)
	}
	if d.applied(slot, c.end) {
		d.l.ledger.Applied.Add(1)
		return plan{}, nil
	}
	all := !d.l.m.target.cluster
	pieces := []piece{{slot: slot, end: c.end, commands: 1, all: all,
		call: call{db: db, args: d.strs(c.args), key: key, unnamed: true, reads: d.l.file == nil && len(d.keys) > 0, more: d.names(c, 1)}}}
	for _, name := range d.names(c, 0) {
		pieces = append(pieces, piece{slot: slot, end: c.end, all: all, call: learn(db, keyspace.Key{DB: c.db, Name: name})})
	}
	return plan{pieces: pieces}, nil
}

// planAcrossDatabases plans MOVE and COPY ... DB, which name a key in a second database.
func (d *dispatcher) planAcrossDatabases(c *sourceCommand, spec *command.Spec, received int64) (plan, error) {
	keys, err := spec.Keys(c.args, d.keys[:0])
	if err != nil {
		return plan{}, err
	}
	d.keys = keys
	var at int // index of the argument that names the other database
	if spec.Name == "MOVE" {
		at = 2
	} else if len(c.args) > 3 { // the option follows source and destination, which may themselves be called DB
		if i := slices.IndexFunc(c.args[3:], func(a []byte) bool { return bytes.EqualFold(a, []byte("DB")) }); i >= 0 {
			at = 3 + i + 1
		}
	}
	switch {
	case at > 0 && at < len(c.args):
	case d.l.scope.MatchDB(c.db):
		return d.planKeyed(c, spec, received)
	default:
		d.l.ledger.Filtered.Add(1)
		return plan{}, nil
	}
	to, err := strconv.Atoi(string(c.args[at]))
	if err != nil {
		return plan{}, errors.New("no database number where one belongs")
	}
	both := []keyspace.Key{{DB: c.db, Name: string(c.args[keys[0]])},
		d.l.scope.Arriving(to, d.l.scope.SourceName(c.db, string(c.args[keys[len(keys)-1]])))}
	if err := d.l.scope.Collision(both[1]); err != nil {
		return plan{}, err
	}
	renamed := d.l.scope.DBPrefix[c.db]+d.l.scope.DBPrefix[to] != ""
	if d.l.expiries.Holding() { // where the first key is held, so is the second; an earlier run may have ended before it noted that
		for _, k := range both {
			if err := d.l.expiries.Hold(k); err != nil {
				return plan{}, err
			}
			if !d.distrusts() {
				continue
			}
			if err := d.recheck(k); err != nil {
				return plan{}, err
			}
		}
	}
	var changed []keyspace.Key
	for _, k := range both {
		if _, ok := d.l.scope.Map(k.DB); !ok && d.l.scope.Carries(k) {
			d.l.ledger.Note(k.DB, k.Name, c.name(), fmt.Sprintf("the target has no database %d; map it with Filter.DBMap or Filter.DBPrefix", k.DB))
			continue
		}
		if d.l.scope.Carries(k) && !d.applied(d.l.m.target.slot(k.Name), c.end) && (len(d.fences) == 0 || d.fences[k] < c.end) {
			changed = append(changed, k)
		}
	}
	if len(changed) < 2 || renamed || d.l.m.target.cluster || !d.l.m.target.dialect.Knows(spec.Name) {
		return d.planCopy(c, changed), nil
	}
	return d.acrossDatabases(c, spec.Name, changed[1], at)
}

// acrossDatabases passes MOVE or COPY on to a standalone server. The argument at index at becomes the number that its database has there.
func (d *dispatcher) acrossDatabases(c *sourceCommand, name string, to keyspace.Key, at int) (plan, error) {
	from, _ := d.l.scope.Map(c.db)
	into, _ := d.l.scope.Map(to.DB)
	if from == into && name == "MOVE" {
		return plan{}, fmt.Errorf("databases %d and %d of the source are one on the target", c.db, to.DB)
	}
	args := d.strs(c.args)
	args[at] = strconv.Itoa(into)
	key := keyspace.Key{DB: c.db, Name: view(c.args[d.keys[0]])}
	pieces := []piece{{slot: d.l.m.target.slot(key.Name), end: c.end, commands: 1,
		call: call{db: from, args: args, key: key, other: &to, renew: math.MaxInt64}}}
	pieces = append(pieces, piece{slot: pieces[0].slot, end: c.end, call: learn(into, to)})
	if other := d.l.m.target.slot(to.Name); other != pieces[0].slot {
		pieces = append(pieces, piece{slot: other, end: c.end})
	}
	return plan{pieces: pieces}, nil
}

// strs returns arguments as strings, without copying their bytes.
func (d *dispatcher) strs(args [][]byte) []string {
	out := d.strings.take(len(args), slabArgs)
	for i, a := range args {
		out[i] = view(a)
	}
	return out
}

// view reads bytes as a string without copying; the bytes must not change any more.
func view(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }
