package verifier

import (
	"context"
	"fmt"
	"strconv"

	"surecut/internal/keyspace"
)

// simSource and simTarget read keys one by one, at arbitrary instants.
type simSource struct{ *simWorld }
type simTarget struct{ *simWorld }

func (s simSource) probe(_ context.Context, keys []keyID, _ int64) ([]reading, error) {
	out := make([]reading, len(keys))
	for i, k := range keys {
		s.tick()
		out[i] = s.read(s.indexOf(k.name), s.sourceState(s.indexOf(k.name)), true)
	}
	return out, nil
}

func (s simTarget) probe(_ context.Context, keys []keyID, _ int64) ([]reading, error) {
	out := make([]reading, len(keys))
	for i, k := range keys {
		s.tick()
		out[i] = s.read(s.indexOf(k.name), s.keys[s.indexOf(k.name)].held, false)
	}
	return out, nil
}

// read reads a key. On the source a reading finds out that it has expired.
func (w *simWorld) read(key int, s simState, source bool) reading {
	if w.plan.fails && w.pick(10) == 0 {
		return reading{Err: errChanged}
	}
	r := s.at(w.ms()).reading()
	if source && !w.plan.replica {
		w.expire(key)
	}
	return r
}

func (s simSource) readAt(_ context.Context, _ AppliedLink, keys []record) ([]reading, int64, error) {
	s.tick()
	out := make([]reading, len(keys))
	for i := range keys {
		key := s.indexOf(keys[i].name)
		s.expire(key)
		out[i] = s.keys[key].source.at(s.ms()).reading()
	}
	return out, int64(len(s.ops)), nil
}

// list reads every key of both sides once, in any order; the target not before the lead.
func (w *simWorld) list(ctx context.Context, s spills, lead func(context.Context) error) error {
	type turn struct {
		source bool
		key    int
	}
	var early, late []turn
	for i := range w.keys {
		if w.pick(2) == 0 {
			early = append(early, turn{true, i})
		} else {
			late = append(late, turn{true, i})
		}
		late = append(late, turn{false, i})
	}
	shuffle := func(turns []turn) {
		w.rnd.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
	}
	shuffle(early)
	shuffle(late)
	read := func(turns []turn) error {
		for _, t := range turns {
			w.tick()
			to, state := s.Target, w.keys[t.key].held
			if t.source {
				to, state = s.Source, w.sourceState(t.key)
			}
			got := w.read(t.key, state, t.source)
			if got.Err == nil && !got.present() {
				continue
			}
			w.listed |= 1 << t.key
			rec := record{keyID: keyID{name: w.keys[t.key].name}}
			if rec.hold(&got); got.Err != nil {
				rec.flags = unread
			}
			if err := to.add(&rec); err != nil {
				return err
			}
		}
		return nil
	}
	if err := read(early); err != nil {
		return err
	}
	if err := lead(ctx); err != nil {
		return err
	}
	return read(late)
}

// The Applier of the play.

func (w *simWorld) Links() []AppliedLink { return []AppliedLink{{Shard: "s:1", Reads: "s:1"}} }

func (w *simWorld) Applied(context.Context, int) (Position, error) {
	w.tick()
	return Position{simID, int64(w.done)}, nil
}

func (w *simWorld) Freeze(context.Context, int) (Frame, error) {
	w.tick()
	if behind := len(w.ops) - w.done; w.lag > 5_000_000 && behind > 0 {
		w.advance(1_000_000)
		return nil, fmt.Errorf("freeze: %w", ErrLags)
	}
	w.frozen, w.limit = true, int64(w.done)
	return w, nil
}

func (w *simWorld) ApplyTo(_ context.Context, offset int64) ([]keyspace.Key, error) {
	w.limit = max(w.limit, offset)
	w.tick()
	return nil, nil
}

func (w *simWorld) Release() {
	w.frozen = false
	w.apply()
}

// simFeed tells of writes, some time after they happened.
type simFeed struct {
	*simWorld
	from   int   // ops up to here are before the window
	opened int64 // when it began

	// Ways to be wrong, for the test that the simulator notices.
	noBarrier, noGap, noFlush, late, noPrimary bool
}

// heard returns how many commands the feed has read by now.
func (f *simFeed) heard() int {
	n := f.from
	for n < len(f.ops) && f.ops[n].told <= f.now {
		n++
	}
	return min(n, max(f.stands(), f.from))
}

// stands returns where the node that is read stands.
func (w *simWorld) stands() int {
	if w.plan.replica {
		return w.copied
	}
	return len(w.ops)
}

func (f *simFeed) begin(context.Context) ([]nodePosition, error) {
	f.tick()
	f.from = 0
	f.from, f.opened = f.heard(), f.now
	return []nodePosition{{"s:1", Position{simID, int64(f.stands())}}}, nil
}

func (f *simFeed) end(context.Context) (view, error) {
	f.tick()
	for upTo := len(f.ops); !f.noPrimary && f.stands() < upTo; {
		f.advance(10_000) // what is read is a replica: it must have what the primary has sent to others
	}
	upTo := f.stands()
	for !f.noBarrier && f.heard() < upTo {
		f.advance(10_000)
	}
	lost := f.lostAt > f.opened && f.lostAt <= f.now
	v := &simView{kind: f.plan.feed, replica: f.plan.replica}
	for _, op := range f.ops[f.from:f.heard()] {
		switch {
		case lost && op.told >= f.lostAt, f.late && op.at < f.opened+1_500_000:
		case op.key < 0:
			v.all = v.all || !f.noFlush
		default:
			v.names |= 1 << op.key
		}
	}
	v.any = f.stands() > f.from
	v.all = v.all || lost && !f.noGap
	return v, nil
}

type simView struct {
	kind    simFeedKind
	replica bool
	names   uint64
	all     bool
	any     bool
}

func (v *simView) still() bool { return v.kind != simUntold && !v.any }

func (v *simView) writing(name string, _ keyspace.Type) writing {
	switch {
	case v.kind == simUntold || v.kind == simRest && v.any:
		if v.replica {
			return written
		}
		return untold
	case v.kind == simRest:
		return unwritten
	}
	i, err := strconv.Atoi(name[1:])
	if err != nil {
		panic(err)
	}
	if v.all || v.names&(1<<i) != 0 {
		return written
	}
	return unwritten
}
