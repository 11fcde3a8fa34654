package verifier

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"surecut/internal/keyspace"
)

// The simulator plays what happens between a source, whoever feeds the target, and the target, in virtual time and with no server, while
// the real judging reads both sides at arbitrary instants. The truth is known from the play: what each side holds at one point of the
// source's stream.
//
// Where nothing tells of single writes, no key of a play comes back to a value that it had: rereading cannot notice that, which is a
// limit that docs/consistency.md names and reports repeat.

const (
	simStart = int64(1_700_000_000_000) // Unix ms
	simID    = "replid"

	simFrozen = int64(2_000_000) // µs that a frame may keep commands back, beyond the lag
)

// simState is one key on one side: a hash of a field that stays and of one that expires.
type simState struct {
	value    int64 // 0: absent
	expireAt int64 // Unix ms; 0: never
	field    int64 // 0: absent
	fieldAt  int64 // Unix ms, when the field expires; 0: there is none
}

func (s simState) present() bool { return s.value != 0 || s.field != 0 }

// at returns the state as a server answers at an instant: what has expired is absent.
func (s simState) at(ms int64) simState {
	if s.expireAt != 0 && s.expireAt <= ms {
		return simState{}
	}
	if s.fieldAt != 0 && s.fieldAt <= ms {
		return s.withoutField()
	}
	return s
}

func (s simState) withoutField() simState {
	if s.field, s.fieldAt = 0, 0; s.value == 0 {
		return simState{} // with its last field
	}
	return s
}

type simVerb uint8

const (
	simSet simVerb = iota
	simAdd         // INCR, DECR
	simDel
	simExpire
	simPersist
	simField    // HSETEX
	simDelField // HDEL
	simFlush    // of all keys
	simScript   // whose keys are not known: adds to every key
)

// simOp is one command of the source's stream.
type simOp struct {
	offset  int64 // 1, 2, 3 ...
	at      int64 // µs since the beginning
	key     int
	verb    simVerb
	arg     int64
	until   int64 // of simField: when it expires, Unix ms
	applied int64 // when the target applies it, µs
	copied  int64 // when the replica that is read has it, µs
	told    int64 // when the feed has read it, µs
}

// run returns what a command makes of a state, at the instant at which the source ran it.
func (op *simOp) run(s simState) simState {
	s = s.at(simStart + op.at/1000)
	switch op.verb {
	case simSet:
		return simState{value: op.arg}
	case simScript:
		if s.value != 0 && s.value+op.arg != 0 {
			s.value += op.arg
		}
		return s
	case simAdd:
		if s.value += op.arg; s.value == 0 {
			s.value = 1 << 40 // 0 is taken for absence
		}
		return s
	case simExpire:
		if s.present() {
			s.expireAt = op.arg
		}
		return s
	case simField:
		s.field, s.fieldAt = op.arg, op.until
		return s
	case simDelField:
		return s.withoutField()
	case simPersist:
		s.expireAt = 0
		return s
	}
	return simState{}
}

// simKey is one key with those who write it.
type simKey struct {
	name    string
	every   int64 // µs between writes, about; 0: nobody writes it
	next    int64 // when it is written next
	verbs   []simVerb
	toggles bool // it comes back to values that it had
	expires bool // without being written
	faulty  bool

	source  simState
	copy    simState // on the replica
	held    simState // by the target, so far as it has applied
	genesis [2]simState
	gone    int64 // when the source notices that it has expired, or a field of it; 0: nothing to notice
	touched bool  // a command was run on it
}

// simPlan says what kind of play it is.
type simPlan struct {
	applier bool
	replica bool // the source is read from a replica, which the target may be ahead of
	feed    simFeedKind
	fed     bool // the target is fed at all
	maxLag  int64
	flushes bool // FLUSHALL, and scripts whose keys are not known
	breaks  bool // the feed is lost once
	fails   bool // single readings fail
}

type simFeedKind uint8

const (
	simTold   simFeedKind = iota // every write is told
	simRest                      // it is only known whether anything was written
	simUntold                    // nothing is known
)

// simWorld is one play.
type simWorld struct {
	rnd    *rand.Rand
	plan   simPlan
	now    int64 // µs since the beginning
	keys   []simKey
	ops    []simOp
	done   int // ops that the target has applied
	copied int // ops that the replica has
	frozen bool
	limit  int64 // of what a frozen target applies
	lag    int64
	lostAt int64  // when the feed is lost, µs; 0: never
	flush  int64  // when FLUSHALL or a script is run; 0: never
	listed uint64 // keys that the scan has found on a side
}

func (w *simWorld) pick(n int64) int64 { return w.rnd.Int64N(n) }

func (w *simWorld) ms() int64 { return simStart + w.now/1000 }

func newSimWorld(seed uint64) *simWorld {
	w := &simWorld{rnd: rand.New(rand.NewPCG(seed, 0))}
	w.plan = simPlan{applier: w.pick(2) == 0, feed: simFeedKind(max(0, w.pick(5)-2)), fed: w.pick(6) > 0, flushes: w.pick(8) == 0 && w.pick(2) == 0,
		breaks: w.pick(5) == 0, fails: w.pick(5) == 0}
	w.plan.maxLag = 900_000
	w.plan.replica = !w.plan.applier && w.pick(3) == 0
	if w.plan.applier {
		w.plan.fed = true
		w.plan.maxLag = []int64{30_000, 900_000, 4_000_000, 40_000_000}[w.pick(4)]
	}
	if w.plan.breaks && w.plan.feed == simTold {
		w.lostAt = 1 + w.pick(6_000_000)
	}
	if w.plan.flushes && w.plan.fed && w.plan.feed == simTold {
		w.flush = 1 + w.pick(6_000_000)
	}
	for i := range int(2 + w.pick(5)) {
		w.keys = append(w.keys, w.newKey(i))
	}
	for until := w.pick(2_000_000) + 2_000_000; w.now < until; { // it has been going on for a while
		w.advance(until - w.now)
	}
	w.shift()
	return w
}

// shift makes the present the beginning of the play; the target may still have to apply some of what was before.
func (w *simWorld) shift() {
	if w.lostAt != 0 {
		w.lostAt += w.now
	}
	if w.flush != 0 {
		w.flush += w.now
	}
}

func (w *simWorld) newKey(i int) simKey {
	k := simKey{name: "k" + strconv.Itoa(i)}
	k.source.value = 10 + w.pick(20)
	if w.pick(8) == 0 {
		k.source = simState{}
	}
	switch character := w.pick(8); {
	case character < 2 || !w.plan.fed:
	case character < 4:
		k.every, k.verbs = 1_000+w.pick(300_000), []simVerb{simAdd}
	case character == 4 && w.plan.feed != simUntold && w.plan.feed != simRest:
		k.every, k.verbs, k.toggles = 1_000+w.pick(300_000), []simVerb{simAdd}, true
	case character == 5:
		k.every, k.verbs = 100_000+w.pick(3_000_000), []simVerb{simSet, simAdd, simDel}
	case character == 6:
		k.every, k.verbs = 1_000+w.pick(1_000_000), []simVerb{simField, simField, simAdd, simSet}
	default:
		k.every, k.verbs = 50_000+w.pick(3_000_000), []simVerb{simAdd, simExpire, simPersist, simSet}
	}
	if k.every == 0 && k.source.value != 0 {
		switch w.pick(4) {
		case 0, 1:
			k.source.expireAt, k.expires = simStart+4000+w.pick(14_000), true
		case 2:
			k.source.field, k.source.fieldAt, k.expires = 5, simStart+4000+w.pick(14_000), true
		}
	}
	k.held, k.copy = k.source, k.source
	if w.pick(2) == 0 {
		k.faulty = true
		switch w.pick(5) {
		case 0:
			k.held.value += 1 - 2*w.pick(2)
		case 1:
			k.held = simState{}
		case 2:
			k.held.expireAt = 0
		case 3:
			if k.held.value == 0 {
				k.held.value = 7
			} else {
				k.held.value++
			}
		case 4:
			k.held.field, k.held.fieldAt = 0, 0
		}
	}
	k.genesis = [2]simState{k.source, k.held}
	if k.every > 0 {
		k.next = w.pick(2 * k.every)
	}
	k.notice(w)
	return k
}

// notice has the source find out, some time after, that the key has expired: it then sends DEL.
func (k *simKey) notice(w *simWorld) {
	k.gone = 0
	for _, at := range []int64{k.source.expireAt, k.source.fieldAt} {
		if at := (at - simStart) * 1000; at > 0 && (k.gone == 0 || at < k.gone) {
			k.gone = at
		}
	}
	if k.gone > 0 {
		k.gone += w.pick(400_000)
	}
}

// advance lets time go on, and plays what happens meanwhile in its order.
func (w *simWorld) advance(d int64) {
	until := w.now + d
	for {
		at, key := until+1, -1
		for i := range w.keys {
			k := &w.keys[i]
			if k.every > 0 && k.next < at {
				at, key = k.next, i
			}
			if k.gone > 0 && k.gone < at {
				at, key = k.gone, i
			}
		}
		if w.flush > 0 && w.flush < at {
			at, key = w.flush, len(w.keys)
		}
		if at > until {
			break
		}
		w.now = max(at, w.now)
		w.apply()
		w.happen(key)
	}
	w.now = until
	w.apply()
}

func (w *simWorld) happen(key int) {
	if key == len(w.keys) {
		w.flush = w.now + 1 + w.pick(1_000_000)
		if w.pick(10) == 0 {
			w.run(simOp{key: -1, verb: simFlush})
			return
		}
		w.run(simOp{key: -1, verb: simScript, arg: 1 - 2*w.pick(2)})
		return
	}
	k := &w.keys[key]
	if k.gone > 0 && k.gone <= w.now {
		w.expire(key)
		return
	}
	k.next = w.now + 1 + w.pick(2*k.every)
	w.expire(key) // before a command, if it has expired
	op := simOp{key: key, verb: k.verbs[w.pick(int64(len(k.verbs)))]}
	if w.plan.feed != simTold && (op.verb == simAdd && k.source.value == 0 || op.verb == simPersist) {
		op.verb = simSet // INCR of what is not there comes back to 1, PERSIST to no expiry
	}
	switch op.verb {
	case simAdd:
		op.arg = 1
		if k.toggles && w.pick(2) == 0 {
			op.arg = -1
		}
	case simSet:
		op.arg = 1000 + w.now // never twice the same
	case simExpire:
		op.arg = w.ms() + 300 + w.pick(8000)
	case simField:
		op.arg, op.until = 1000+w.now, w.ms()+300+w.pick(8000)
	}
	w.run(op)
}

// expire sends DEL where the source finds out that a key has expired, and HDEL where a field has.
func (w *simWorld) expire(key int) {
	s := &w.keys[key].source
	switch {
	case s.expireAt != 0 && s.expireAt <= w.ms():
		w.run(simOp{key: key, verb: simDel})
	case s.fieldAt != 0 && s.fieldAt <= w.ms():
		w.run(simOp{key: key, verb: simDelField})
	}
}

// run runs a command on the source; it goes on its way to the target and to the feed.
func (w *simWorld) run(op simOp) {
	op.offset, op.at = int64(len(w.ops)+1), w.now
	w.lag = max(0, min(w.plan.maxLag, w.lag+w.pick(w.plan.maxLag/4+1)-w.plan.maxLag/8))
	op.applied, op.told, op.copied = w.now+w.lag, w.now+w.pick(200_000), w.now+w.pick(300_000)
	if n := len(w.ops); n > 0 {
		op.applied = max(op.applied, w.ops[n-1].applied)
		op.copied = max(op.copied, w.ops[n-1].copied)
		op.told = max(op.told, w.ops[n-1].told)
	}
	if !w.plan.applier {
		op.applied = min(op.applied, w.now+w.plan.maxLag)
	}
	w.ops = append(w.ops, op)
	for i := range w.keys {
		if k := &w.keys[i]; op.key == i || op.key < 0 {
			k.source = op.run(k.source)
			k.touched = true
			k.notice(w)
		}
	}
	w.apply()
}

// apply lets the target apply what has come to it.
func (w *simWorld) apply() {
	for w.copied < len(w.ops) && w.ops[w.copied].copied <= w.now {
		op := &w.ops[w.copied]
		for i := range w.keys {
			if op.key == i || op.key < 0 {
				w.keys[i].copy = op.run(w.keys[i].copy)
			}
		}
		w.copied++
	}
	for w.done < len(w.ops) && w.plan.fed {
		op := &w.ops[w.done]
		if w.frozen && op.offset > w.limit || !w.frozen && op.applied > w.now {
			return
		}
		for i := range w.keys {
			if op.key == i || op.key < 0 {
				w.keys[i].held = op.run(w.keys[i].held)
			}
		}
		w.done++
	}
}

// sourceState is what the node of the source that is read holds.
func (w *simWorld) sourceState(key int) simState {
	if w.plan.replica {
		return w.keys[key].copy
	}
	return w.keys[key].source
}

// tick lets a little time pass, as each reading takes some.
func (w *simWorld) tick() {
	d := w.pick(3_000)
	if w.pick(40) == 0 {
		d += w.pick(400_000)
	}
	w.advance(d)
}

func (s simState) reading() reading {
	if !s.present() {
		return reading{}
	}
	fp := keyspace.Fingerprint{Value: uint64(s.value)*0x9e3779b97f4a7c15 ^ uint64(s.field)*0xff51afd7ed558ccd, FieldExpiries: uint64(s.fieldAt)}
	for _, field := range []int64{s.value, s.field} {
		if field != 0 {
			fp.Length++
		}
	}
	return reading{Type: keyspace.Hash, TypeName: "hash", ExpireAt: s.expireAt, FieldsAt: s.fieldAt, FP: fp}
}

func (w *simWorld) clock() clock {
	return clock{
		now: func() time.Time { return time.UnixMicro(simStart*1000 + w.now) },
		sleep: func(_ context.Context, d time.Duration) error {
			w.advance(max(0, d.Microseconds()))
			return nil
		},
	}
}

func (w *simWorld) indexOf(name string) int {
	i, err := strconv.Atoi(name[1:])
	if err != nil {
		panic(err)
	}
	return i
}
