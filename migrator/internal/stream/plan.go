package stream

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/slab"
	"surecut/migrator/internal/target"
)

// planner decides how the commands of the source are carried: whole, in pieces, in another form, by copying their keys, or not at all.
type planner struct {
	*Config
	ahead *ahead
	holds *holds
	do    actions

	doubtEnd int64                 // through a proxy: the offset up to which an earlier run may have applied commands
	lacks    map[keyspace.Key]bool // keys that were reported because the target does not have their type

	mayBePlain map[*command.Spec]bool

	scripts scriptOutcomes

	descriptions map[string]*command.Spec // by name: what the source says of commands that surecut does not know

	strings slab.Of[string]
	bytes   slab.Of[byte]

	// Reused from one command to the next.
	keys    []int // indexes of the keys among the arguments
	planned []piece
	run1    []target.Call
	slots   []uint16
	forms   [][][]byte
	dated   [][][]byte
}

// actions are what a command may need that is done between it and the next one.
type actions interface {
	copyKeys(ctx context.Context, keys []keyspace.Key, end int64) (lost []keyspace.Key, err error)
	flush(ctx context.Context, c *sourceCommand, all bool) error
	swap(ctx context.Context, c *sourceCommand) error
	script(ctx context.Context, c *sourceCommand, sub string) error
	function(ctx context.Context, c *sourceCommand, sub string) error
}

func newPlanner(cfg *Config, ahead *ahead, holds *holds, do actions) *planner {
	p := &planner{Config: cfg, ahead: ahead, holds: holds, do: do, lacks: map[keyspace.Key]bool{}, mayBePlain: map[*command.Spec]bool{}, descriptions: map[string]*command.Spec{}}
	p.scripts = newScriptOutcomes(cfg)
	for _, s := range command.All() {
		if mayBePlain(s) {
			p.mayBePlain[s] = true
		}
	}
	return p
}

// plan is how one command of the source is carried: pieces for the lanes, or an action of the dispatcher, or neither.
type plan struct {
	pieces []piece
	act    func(ctx context.Context, g group) error // run by the dispatcher, after the pieces before it were handed over; may be nil
}

func (c *sourceCommand) name() string { return keyspace.PrintableShort(string(c.args[0])) }

// plan decides how one command is carried. The command is counted here, or by the lane that applies it, or by the action.
func (p *planner) plan(c *sourceCommand, received int64) (plan, error) {
	p.keep(c)
	if settled, err := p.moves(c); settled || err != nil {
		return plan{}, err
	}
	spec, known := command.Lookup(c.args)
	if !known {
		if by := p.renamed(c); by != nil {
			return p.plan(by, received)
		}
	}
	known = known && !spec.Container()
	if known && spec.Class != command.Keyless && len(p.Scope.DBPrefix) > 0 {
		for _, k := range keysOf(c) {
			if err := p.Scope.Collision(k); err != nil {
				return plan{}, err
			}
		}
	}
	switch { // commands that are not confined to the selected database
	case known && spec.Class == command.Keyless && spec.Name != "FLUSHDB":
		return p.planKeyless(c, spec)
	case known && (spec.Name == "MOVE" || spec.Name == "COPY"):
		return p.planAcrossDatabases(c, spec, received)
	}
	switch {
	case !p.Scope.MatchDB(c.db):
		p.Ledger.Filtered.Add(1)
		return plan{}, nil
	case c.end <= p.doubtEnd && known && spec.Class != command.Keyless:
		return p.planDoubtful(c), nil
	case !known && p.ofCodis(c):
		return p.planCodis(c)
	case !known:
		return p.planUnknown(c)
	case spec.Class == command.Keyless:
		return p.planKeyless(c, spec)
	case spec.Class == command.Script:
		return p.planScript(c, spec)
	}
	return p.planKeyed(c, spec, received)
}

// planKeyed passes a command on whole where its keys allow that. Otherwise it takes the command apart, one piece for each key, or, if that
// is not possible, has the keys copied that the command changed.
func (p *planner) planKeyed(c *sourceCommand, spec *command.Spec, received int64) (plan, error) {
	keys, err := spec.Keys(c.args, p.keys[:0])
	if err != nil { // the source has run it, so that it has a form of the command which surecut does not know
		return p.planUnknown(c)
	}
	p.keys = keys
	verdict := p.judge(c, keys)
	if (p.ahead.resumedEnd > 0 && (spec.Expires || spec.Name == "PERSIST" || p.holds.asks(c, spec, keys)) || carriesExpiry(spec.Name)) && p.Expiries.Holding() {
		if err := p.holds.holdAgain(c, keys); err != nil {
			return plan{}, err
		}
	}
	if err := p.holds.suspect(c, spec, keys); err != nil {
		return plan{}, err
	}
	switch {
	case verdict.open == 0:
		return plan{}, p.settleUnsent(c, verdict)
	case spec.Name == "SORT" && command.SortsByKeys(c.args):
		return p.planSorted(c, spec, verdict)
	case verdict.open == len(keys) && (verdict.oneSlot || !p.Target.Cluster && spec.Class != command.Split):
		return p.planWhole(c, spec, verdict, received)
	case spec.Class == command.Split:
		return plan{pieces: p.split(c, spec)}, nil
	}
	return p.planCopy(c, p.written(c, spec)), nil
}

// planSorted settles a SORT ... BY or GET, which reads keys that it does not name, by copying its result: other lanes write these keys, and
// filters and prefixes may keep them from the target. Where nothing can be copied and the command is passed on, all lanes meet for it.
func (p *planner) planSorted(c *sourceCommand, spec *command.Spec, j judgement) (plan, error) {
	whole := j.open == len(p.keys) && (j.oneSlot || !p.Target.Cluster) && p.Scope.DBPrefix[c.db] == ""
	if whole && p.CannotCopy != "" {
		return p.everyLane(c)
	}
	return p.planCopy(c, p.written(c, spec)), nil
}

// judgement counts the keys of a command by what becomes of them.
type judgement struct {
	open     int    // to be applied
	filtered int    // left out by a filter
	noDB     int    // in a database that the target does not have
	oneSlot  bool   // all open keys share a slot
	slot     uint16 // of the first open key; 0: there is none
}

func (p *planner) judge(c *sourceCommand, keys []int) judgement {
	j := judgement{oneSlot: true}
	_, hasDB := p.Scope.Map(c.db)
	for _, k := range keys {
		name := slab.View(c.args[k])
		s := p.Target.Slot(name)
		switch {
		case !p.Scope.Carries(keyspace.Key{DB: c.db, Name: name}), p.deletesStray(c, name):
			j.filtered++
			continue
		case !hasDB:
			j.noDB++
			continue
		case !p.ahead.wanted(c, name, s):
			continue
		}
		if j.open++; j.open == 1 {
			j.slot = s
		}
		j.oneSlot = j.oneSlot && s == j.slot
	}
	return j
}

// deletesStray says whether a command deletes a key in a slot that the link's shard does not own: the key expires on a node where no client
// finds it, and the key of that name on the target is the one of the slot's owner.
func (p *planner) deletesStray(c *sourceCommand, name string) bool {
	if p.Scope.Slots == nil || !is(c.args, "DEL", 0) && !is(c.args, "UNLINK", 0) {
		return false
	}
	_, stray := p.Scope.Stray(keyspace.Key{DB: c.db, Name: name})
	return stray
}

// settleUnsent counts a command that is to be applied to none of its keys.
func (p *planner) settleUnsent(c *sourceCommand, j judgement) error {
	switch {
	case j.noDB > 0:
		p.Ledger.ReportCommand(c.db, "", c.name(), fmt.Sprintf("the target has no database %d; map it with Filter.DBMap or Filter.DBPrefix", c.db))
	case j.filtered > 0:
		p.Ledger.Filtered.Add(1)
	default:
		p.Ledger.Applied.Add(1)
	}
	return nil
}

// whole appends the pieces of a command that is passed on with all its keys, which have the judgement j, in the form of calls. relative says
// that its expiry was relative as the source sent it. A call is filled in where it lies, since it is large.
func (p *planner) whole(pieces []piece, c *sourceCommand, spec *command.Spec, calls [][][]byte, relative bool, j judgement) []piece {
	db, _ := p.Scope.Map(c.db)
	slots := append(p.slots[:0], j.slot)
	if !j.oneSlot {
		for _, k := range p.keys {
			if s := p.Target.Slot(slab.View(c.args[k])); !slices.Contains(slots, s) {
				slots = append(slots, s)
			}
		}
	}
	p.slots = slots
	key := keyspace.Key{DB: c.db}
	if len(p.keys) > 0 {
		key.Name = slab.View(c.args[p.keys[0]])
	}
	for i, args := range calls {
		form, at := formOf(c, spec, args), len(pieces)
		pieces = append(pieces, piece{slot: slots[0], end: c.end})
		x := &pieces[at].call
		x.DB, x.Args, x.Key, x.Renew, x.Absolute = db, p.strs(args), key, target.RenewOf(form.Name), form.Absolute(args)
		x.Awaits = spec.Name == "XCLAIM" && p.Target.Forgets
		if p.File && expiresFields(spec.Name) {
			p.holds.notePassedFields(c, *x)
		}
		if _, expires, ok := form.ExpireAt(args); ok {
			x.Expires = expires
		}
		if changesExpiry(form.Name) {
			p.run1 = p.holds.hold(p.run1[:0], c, *x, relative)
			pieces = pieces[:at]
			for _, x := range p.run1 {
				pieces = append(pieces, piece{slot: slots[0], end: c.end, call: x})
			}
		}
		if i == 0 {
			first := &pieces[at]
			first.commands = 1
			first.call.Reads, first.call.More = p.reads(c, spec)
		}
		if carriesExpiry(spec.Name) {
			pieces = append(pieces, piece{slot: slots[0], end: c.end, call: learn(db, keyspace.Key{DB: c.db, Name: slab.View(c.args[p.keys[1]])})})
		}
	}
	for _, s := range slots[1:] { // these have the lanes of the other keys meet
		pieces = append(pieces, piece{slot: s, end: c.end})
	}
	return pieces
}

// needsNoExists says whether a command needs no EXISTS before it. The reply to most of these says that the key is gone: an error, 0, or nil.
// SETNX and MSETNX do not depend on a key: a source passes them on only if it had none.
func needsNoExists(name string) bool {
	switch name {
	case "EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT", "GETEX", "PERSIST", "RENAME", "RENAMENX", "SETNX", "MSETNX":
		return true
	}
	return false
}

// reads says whether the effect of a command depends on the values of its keys, and returns the keys after the first.
func (p *planner) reads(c *sourceCommand, spec *command.Spec) (reads bool, more []string) {
	if p.File || len(p.keys) == 0 || needsNoExists(spec.Name) || overwrites(c, spec) {
		return false, nil
	}
	return true, p.names(c, 1)
}

// names returns the keys of a command from index i on.
func (p *planner) names(c *sourceCommand, i int) []string {
	if i >= len(p.keys) {
		return nil
	}
	names := make([]string, 0, len(p.keys)-i)
	for _, k := range p.keys[i:] {
		names = append(names, slab.View(c.args[k]))
	}
	return names
}

// learn returns a call that asks when a key expires which has taken over the expiry of another one.
func learn(db int, k keyspace.Key) target.Call {
	return target.Call{DB: db, Args: []string{"PTTL", k.Name}, Key: k, Learns: true}
}

// split returns one piece for each key of a command that is to be applied to it, in order. There is at least one such key.
func (p *planner) split(c *sourceCommand, spec *command.Spec) []piece {
	db, hasDB := p.Scope.Map(c.db)
	verb := slab.View(c.args[0])
	if spec.Name == "UNLINK" && !p.Target.Dialect.Knows("UNLINK") {
		verb = "DEL"
	}
	var pieces []piece
	for _, k := range p.keys {
		name := slab.View(c.args[k])
		slot := p.Target.Slot(name)
		if !hasDB || !p.Scope.Carries(keyspace.Key{DB: c.db, Name: name}) || p.deletesStray(c, name) || !p.ahead.wanted(c, name, slot) {
			continue
		}
		args := append([]string{verb}, p.strs(c.args[k:k+spec.SplitStep])...)
		pieces = append(pieces, piece{slot: slot, end: c.end, call: target.Call{DB: db, Args: args, Key: keyspace.Key{DB: c.db, Name: name}, Absolute: spec.Absolute(c.args)}})
	}
	pieces[0].commands = 1
	return pieces
}

// changed returns those of the keys of a command, all by their index among the arguments, that it may have changed.
func changed(spec *command.Spec, keys []int) []int {
	switch name := spec.Name; {
	case len(keys) == 0:
	case strings.HasSuffix(name, "STORE"), name == "BITOP", name == "PFMERGE":
		return keys[:1]
	case name == "SORT", name == "GEORADIUS", name == "GEORADIUSBYMEMBER", name == "COPY":
		return keys[len(keys)-1:]
	}
	return keys
}

// written returns the keys that a command may have changed and that it is to be applied to.
func (p *planner) written(c *sourceCommand, spec *command.Spec) []keyspace.Key {
	var keys []keyspace.Key
	for _, k := range changed(spec, p.keys) {
		key := keyspace.Key{DB: c.db, Name: string(c.args[k])}
		if p.Scope.Carries(key) && p.ahead.wanted(c, key.Name, p.Target.Slot(key.Name)) && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// planCopy settles a command by copying keys, which are those that it changed. If there are none, the command counts as filtered.
func (p *planner) planCopy(c *sourceCommand, keys []keyspace.Key) plan {
	if len(keys) == 0 {
		p.Ledger.Filtered.Add(1)
		return plan{}
	}
	if why := p.CannotCopy; why != "" {
		p.Ledger.ReportCommand(c.db, keys[0].Name, c.name(), fmt.Sprintf("the target cannot run the command as it is (it lacks the command, the keys lie in several slots or databases, or a filter splits them), and %s: %d keys may differ from the source", why, len(keys)))
		return plan{}
	}
	return plan{act: func(ctx context.Context, g group) error {
		lost, err := p.do.copyKeys(ctx, keys, c.end)
		if len(lost) > 0 {
			p.Ledger.Reported.Add(1)
		} else {
			p.Ledger.Repaired.Add(1)
		}
		return err
	}}
}

// planKeyless plans a command that acts on the server or on a database, or that publishes a message.
func (p *planner) planKeyless(c *sourceCommand, spec *command.Spec) (plan, error) {
	container, sub, _ := strings.Cut(spec.Name, " ")
	switch container {
	case "PUBLISH", "SPUBLISH":
		if len(c.args) != 3 || bytes.HasPrefix(c.args[1], []byte("__sentinel__")) {
			p.Ledger.Filtered.Add(1)
			return plan{}, nil
		}
		return p.message(c, spec), nil
	case "FLUSHDB", "FLUSHALL":
		return plan{act: func(ctx context.Context, g group) error { return p.do.flush(ctx, c, container == "FLUSHALL") }}, nil
	case "SWAPDB":
		return plan{act: func(ctx context.Context, g group) error { return p.do.swap(ctx, c) }}, nil
	case "SCRIPT":
		return plan{act: func(ctx context.Context, g group) error { return p.do.script(ctx, c, sub) }}, nil
	case "FUNCTION":
		return plan{act: func(ctx context.Context, g group) error { return p.do.function(ctx, c, sub) }}, nil
	}
	if !spec.Write {
		p.Ledger.Filtered.Add(1)
		return plan{}, nil
	}
	return p.planUnknown(c)
}

// message passes on what was published, unless an earlier run has done so.
func (p *planner) message(c *sourceCommand, spec *command.Spec) plan {
	if !p.Target.Dialect.Knows(spec.Name) {
		p.keys = append(p.keys[:0], 1) // the channel
		p.lacking(c, spec)
		return plan{}
	}
	slot := uint16(0)
	if strings.EqualFold(c.name(), "SPUBLISH") {
		slot = p.Target.Slot(slab.View(c.args[1]))
	}
	if p.ahead.applied(slot, c.end) {
		p.Ledger.Applied.Add(1)
		return plan{}
	}
	return plan{pieces: []piece{{slot: slot, end: c.end, commands: 1, call: target.Call{DB: p.Target.OwnDB(), Args: p.strs(c.args), Message: true}}}}
}

// planScript has a script run at a meeting of all lanes, since it may touch keys that it does not declare. A cluster can run it only where
// its declared keys share a slot. A script that the target cannot run, or that may write something else there than on the source, is settled
// by copying its declared keys.
func (p *planner) planScript(c *sourceCommand, spec *command.Spec) (plan, error) {
	keys, err := spec.Keys(c.args, p.keys[:0])
	if err != nil {
		return p.planUnknown(c)
	}
	if c, err = p.byText(c, spec); err != nil {
		return plan{}, err
	}
	p.keys = keys
	if p.Expiries.Holding() { // the script may give keys an expiry, or may have done so in an earlier run
		if err := p.holds.holdAgain(c, keys); err != nil {
			return plan{}, err
		}
	}
	if err := p.holds.suspect(c, spec, keys); err != nil {
		return plan{}, err
	}
	j := p.judge(c, keys)
	renamed := p.Scope.DBPrefix[c.db] != ""
	differs := p.scripts.differs(c)
	if len(keys) > 0 && (j.open < len(keys) || renamed || p.Target.Cluster && !j.oneSlot || !p.Target.Dialect.Knows("EVAL") || differs && p.CannotCopy == "") {
		// If an earlier run has applied the script to all its keys, its undeclared keys are in too. If keys are copied instead, they are not.
		if slices.ContainsFunc(keys, func(k int) bool { return !p.ahead.applied(p.Target.Slot(slab.View(c.args[k])), c.end) }) && j.filtered+j.noDB < len(keys) {
			p.noteUndeclared(c)
		}
		if j.open == 0 {
			return plan{}, p.settleUnsent(c, j)
		}
		return p.planCopy(c, p.written(c, spec)), nil
	}
	switch {
	case len(keys) > 0:
	case !p.Target.Dialect.Knows("EVAL"):
		p.Ledger.ReportCommand(c.db, "", c.name(), "the target runs no scripts, and the keys of this one cannot be copied instead, since it does not declare them")
		return plan{}, nil
	case p.Target.Cluster:
		p.Ledger.ReportCommand(c.db, "", c.name(), "a script without declared keys cannot be routed to a slot of the cluster")
		return plan{}, nil
	case len(p.Scope.Include)+len(p.Scope.Exclude) > 0:
		p.Ledger.ReportCommand(c.db, "", c.name(), "a script without declared keys cannot be filtered")
		return plan{}, nil
	case renamed:
		p.Ledger.ReportCommand(c.db, "", c.name(), "a script without declared keys cannot have its keys renamed (Filter.DBPrefix)")
		return plan{}, nil
	}
	if differs {
		p.scripts.noteRun(c)
	}
	return p.everyLane(c)
}

// noteUndeclared reports, once for each text, a script whose undeclared keys do not arrive, unless its text shows that it has none.
func (p *planner) noteUndeclared(c *sourceCommand) {
	if strings.EqualFold(slab.View(c.args[0]), "EVAL") && command.DeclaresKeys(string(c.args[1])) {
		return
	}
	p.scripts.note(c, "the script cannot run on the target as it is, or could write something else there: the keys that it declares were copied, but keys that it does not declare were not")
}

// planUnknown passes a command that surecut does not know, or not with these arguments, on to a standalone server, at a meeting of all lanes:
// it may touch any key.
func (p *planner) planUnknown(c *sourceCommand) (plan, error) {
	if !p.Scope.MatchDB(c.db) {
		p.Ledger.Filtered.Add(1)
		return plan{}, nil
	}
	p.keys = p.keys[:0] // these are still the keys of an earlier command
	if p.Target.Cluster || len(p.Scope.Include)+len(p.Scope.Exclude) > 0 || p.Scope.DBPrefix[c.db] != "" {
		if to, ok := p.copyDescribed(c); ok {
			return to, nil
		}
		p.Ledger.ReportCommand(c.db, "", c.name(), "surecut does not know this command, or not with such arguments, so it cannot find the command's keys")
		return plan{}, nil
	}
	return p.everyLane(c)
}

func (p *planner) everyLane(c *sourceCommand) (plan, error) {
	db, ok := p.Scope.Map(c.db)
	if !ok {
		return plan{}, p.settleUnsent(c, judgement{noDB: 1})
	}
	slot, key := uint16(0), keyspace.Key{DB: c.db}
	if len(p.keys) > 0 {
		key.Name = slab.View(c.args[p.keys[0]])
		slot = p.Target.Slot(key.Name)
	}
	if p.ahead.applied(slot, c.end) {
		p.Ledger.Applied.Add(1)
		return plan{}, nil
	}
	all := !p.Target.Cluster
	pieces := []piece{{slot: slot, end: c.end, commands: 1, all: all,
		call: target.Call{DB: db, Args: p.strs(c.args), Key: key, Unnamed: true, Reads: !p.File && len(p.keys) > 0, More: p.names(c, 1)}}}
	for _, name := range p.names(c, 0) {
		pieces = append(pieces, piece{slot: slot, end: c.end, all: all, call: learn(db, keyspace.Key{DB: c.db, Name: name})})
	}
	return plan{pieces: pieces}, nil
}

// planAcrossDatabases plans MOVE and COPY ... DB, which name a key in a second database.
func (p *planner) planAcrossDatabases(c *sourceCommand, spec *command.Spec, received int64) (plan, error) {
	keys, err := spec.Keys(c.args, p.keys[:0])
	if err != nil {
		return p.planUnknown(c)
	}
	p.keys = keys
	var at int // index of the argument that names the other database
	if spec.Name == "MOVE" {
		at = 2
	}
	for i := 4; spec.Name == "COPY" && i < len(c.args); i++ { // behind source and destination, which may themselves be called DB; the last one counts
		if bytes.EqualFold(c.args[i-1], []byte("DB")) {
			at = i
		}
	}
	switch {
	case at > 0 && at < len(c.args):
	case p.Scope.MatchDB(c.db):
		return p.planKeyed(c, spec, received)
	default:
		p.Ledger.Filtered.Add(1)
		return plan{}, nil
	}
	to, err := strconv.Atoi(string(c.args[at]))
	if err != nil {
		return p.planUnknown(c)
	}
	both := []keyspace.Key{{DB: c.db, Name: string(c.args[keys[0]])},
		p.Scope.Arriving(to, p.Scope.SourceName(c.db, string(c.args[keys[len(keys)-1]])))}
	if err := p.Scope.Collision(both[1]); err != nil {
		return plan{}, err
	}
	renamed := p.Scope.DBPrefix[c.db]+p.Scope.DBPrefix[to] != ""
	if p.Expiries.Holding() { // where the first key is held, so is the second; an earlier run may have ended before it noted that
		for _, k := range both {
			if err := p.Expiries.Hold(k); err != nil {
				return plan{}, err
			}
			if !p.holds.distrusts() {
				continue
			}
			if err := p.holds.recheck(k); err != nil {
				return plan{}, err
			}
		}
	}
	var changed []keyspace.Key
	for _, k := range both {
		if _, ok := p.Scope.Map(k.DB); !ok && p.Scope.Carries(k) {
			p.Ledger.Note(k.DB, k.Name, c.name(), fmt.Sprintf("the target has no database %d; map it with Filter.DBMap or Filter.DBPrefix", k.DB))
			continue
		}
		if p.Scope.Carries(k) && !p.ahead.applied(p.Target.Slot(k.Name), c.end) && (len(p.ahead.fences) == 0 || p.ahead.fences[k] < c.end) {
			changed = append(changed, k)
		}
	}
	if len(changed) < 2 || renamed || p.Target.Cluster || !p.Target.Dialect.Knows(spec.Name) {
		return p.planCopy(c, changed), nil
	}
	return p.acrossDatabases(c, spec.Name, changed[1], at)
}

// acrossDatabases passes MOVE or COPY on to a standalone server. The argument at index at becomes the number that its database has there.
func (p *planner) acrossDatabases(c *sourceCommand, name string, to keyspace.Key, at int) (plan, error) {
	from, _ := p.Scope.Map(c.db)
	into, _ := p.Scope.Map(to.DB)
	if from == into && name == "MOVE" {
		return plan{}, fmt.Errorf("databases %d and %d of the source are mapped to the same database of the target", c.db, to.DB)
	}
	args := p.strs(c.args)
	for i := 2; i <= at; i++ {
		if i == at || i > 3 && strings.EqualFold(args[i-1], "DB") {
			args[i] = strconv.Itoa(into)
		}
	}
	key := keyspace.Key{DB: c.db, Name: slab.View(c.args[p.keys[0]])}
	pieces := []piece{{slot: p.Target.Slot(key.Name), end: c.end, commands: 1,
		call: target.Call{DB: from, Args: args, Key: key, Other: &to, Renew: math.MaxInt64}}}
	pieces = append(pieces, piece{slot: pieces[0].slot, end: c.end, call: learn(into, to)})
	if other := p.Target.Slot(to.Name); other != pieces[0].slot {
		pieces = append(pieces, piece{slot: other, end: c.end})
	}
	return plan{pieces: pieces}, nil
}

// strs returns arguments as strings, without copying their bytes.
func (p *planner) strs(args [][]byte) []string {
	out := p.strings.Take(len(args), slabArgs)
	for i, a := range args {
		out[i] = slab.View(a)
	}
	return out
}

// planDoubtful settles a command that an earlier run may have applied by copying its keys, unless copies already have its effect.
func (p *planner) planDoubtful(c *sourceCommand) plan {
	var keys []keyspace.Key
	for _, k := range keysOf(c) {
		_, ok := p.Scope.Map(k.DB)
		if ok && p.Scope.Carries(k) && p.ahead.fences[k] < c.end && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		p.Ledger.Repaired.Add(1)
		return plan{}
	}
	return p.planCopy(c, keys)
}

// keysOf returns the keys that a command of the source names; none for a command that is unknown or has no keys.
func keysOf(c *sourceCommand) []keyspace.Key {
	spec, known := command.Lookup(c.args)
	if !known || spec.Class == command.Keyless {
		return nil
	}
	indexes, err := spec.Keys(c.args, nil)
	if err != nil {
		return nil
	}
	var keys []keyspace.Key
	for _, i := range indexes {
		keys = append(keys, keyspace.Key{DB: c.db, Name: string(c.args[i])})
	}
	return keys
}
