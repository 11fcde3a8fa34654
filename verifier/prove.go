package verifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

const (
	frameKeys     = 256
	frameBytes    = 4 << 20          // estimated bytes that one frame reads while the link is stopped
	frameMaxValue = 64 << 20         // estimated bytes; a larger value cannot be read at one instant in bounded memory
	frameAttempts = 4                // frames in a row may settle no key: a key may change before it is read
	frameTimeout  = 10 * time.Second // how long a link may be stopped, since it falls behind; nothing begins in the second half
	frameRetry    = 200 * time.Millisecond
	framePatience = 20 * time.Second // how long all links together may take to catch up
	frameKeep     = 64 << 10
)

// offsetReader reads keys of one link's source at one instant, and returns the offset of the replication stream at that instant.
type offsetReader interface {
	readAt(ctx context.Context, link AppliedLink, keys []record) ([]reading, int64, error)
}

// prove settles suspects at one offset: the link is stopped, the source is read at offset O, the target is brought to O and read.
// So a key gets a definite verdict however often it changes. Suspects that cannot be settled in this way go to rest.
func (v *verification) prove(ctx context.Context, suspects, rest *spill) error {
	links := v.cfg.Applier.Links()
	proofs := make([]linkProof, len(links))
	for i := range links {
		proofs[i] = linkProof{verification: v, index: i, link: links[i], rest: rest}
	}
	err := suspects.each(0, func(batch []record) error {
		if err := v.origins().place(ctx, v.probers.Source, batch); err != nil {
			return err
		}
		for i := range batch {
			link := linkOf(links, v.source.dep.Slot(v.source.named(batch[i].keyID)))
			if link < 0 || batch[i].flags&clash != 0 || batch[i].db < 0 || estimate(&batch[i]) > frameMaxValue {
				if err := rest.add(&batch[i]); err != nil {
					return err
				}
				continue
			}
			if err := proofs[link].add(ctx, &batch[i]); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range proofs {
		if err == nil {
			err = proofs[i].settleAll(ctx)
		}
	}
	return err
}

func linkOf(links []AppliedLink, slot uint16) int {
	return slices.IndexFunc(links, func(l AppliedLink) bool { return l.Slots == nil || l.Slots.Has(slot) })
}

// estimate guesses the bytes of a suspect's value from the length that the last round read.
func estimate(r *record) int64 {
	if r.t == keyspace.String || r.t == keyspace.Module {
		return r.fp.Length
	}
	return 64 * r.fp.Length
}

func frameFull(batch []record) bool {
	bytes := int64(0)
	for i := range batch {
		bytes += estimate(&batch[i])
	}
	return len(batch) >= frameKeys || bytes >= frameBytes
}

// linkProof settles those suspects that lie on one link.
type linkProof struct {
	*verification
	index   int // of the link
	link    AppliedLink
	pending []record
	rest    *spill // takes the suspects that cannot be settled
}

// add takes a suspect, and settles those that it has once they fill a frame.
func (l *linkProof) add(ctx context.Context, r *record) error {
	if l.pending = append(l.pending, *r); !frameFull(l.pending) {
		return nil
	}
	return l.settleAll(ctx)
}

// settleAll tries the pending keys in frames until each has its verdict, or until frameAttempts frames in a row have settled none.
func (l *linkProof) settleAll(ctx context.Context) error {
	batch := l.pending
	l.pending = nil
	lags := false
	for attempt := 0; attempt < frameAttempts && len(batch) > 0; attempt++ {
		again, err := l.frame(ctx, batch)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if len(again) < len(batch) {
			attempt = -1
		}
		lags = errors.Is(err, ErrLags)
		if batch = again; err == nil {
			continue
		}
		l.links.failed(err)
		if err := l.clock.sleep(ctx, frameRetry); err != nil {
			return err
		}
	}
	for i := range batch {
		if lags {
			batch[i].flags |= behind
		}
		if err := l.rest.add(&batch[i]); err != nil {
			return err
		}
	}
	return nil
}

// errFrameLong is why a frame ended before all its keys were read: its link must not be stopped any longer.
var errFrameLong = fmt.Errorf("reading both sides at one offset took longer than %v", frameTimeout)

// frame settles the keys of a batch that it can, and returns those that must be tried again, also when it returns an error. The
// link continues when frame returns.
func (l *linkProof) frame(ctx context.Context, batch []record) (again []record, err error) {
	frozen, err := l.links.freeze(ctx, l.index, l.link)
	if err != nil {
		return batch, err
	}
	defer frozen.Release()
	begun := l.clock.now()
	fctx, cancel := context.WithTimeoutCause(ctx, frameTimeout, errFrameLong)
	defer cancel()
	read, again, err := l.readInstants(fctx, batch, begun.Add(frameTimeout/4))
	for _, at := range read {
		if err != nil || l.clock.now().Sub(begun) > frameTimeout/2 {
			again = append(again, at.keys...)
			continue
		}
		unsettled, aerr := l.settleInstant(fctx, frozen, &at)
		again, err = append(again, unsettled...), aerr
	}
	return again, err
}

// ErrLags is the error of an Applier's Freeze for a link that did not catch up within the patience. Differences of its keys may
// then be on their way to the target, however often the keys are read.
var ErrLags = errors.New("the link has not caught up")

// instant is what the source held at one offset.
type instant struct {
	offset int64
	keys   []record
	source []reading
}

// readInstants reads a batch in as few instants as its transactions allow, in the order of offsets. It reads all of them before the
// target is brought to any: while the target follows to the first, the source writes on, and the others would be further away. It
// also returns the keys that could not be read by the given time. It returns an error only where nothing could be read.
func (l *linkProof) readInstants(ctx context.Context, batch []record, until time.Time) (read []instant, again []record, err error) {
	for _, group := range l.source.transactions(batch) {
		if len(read) > 0 && l.clock.now().After(until) {
			again = append(again, group...)
			continue
		}
		source, offset, rerr := l.atOffset.readAt(ctx, l.link, group)
		if rerr != nil {
			again, err = append(again, group...), rerr
			continue
		}
		group, source, later := withoutLater(group, source)
		again = append(again, later...)
		if n := len(read) - 1; n >= 0 && read[n].offset == offset {
			read[n].keys, read[n].source = append(read[n].keys, group...), append(read[n].source, source...)
			continue
		}
		read = append(read, instant{offset, group, source})
	}
	if len(read) > 0 {
		err = nil
	}
	return read, again, err
}

// withoutLater separates the keys that were read from those that did not fit into what may be asked for at a time.
func withoutLater(group []record, source []reading) (now []record, read []reading, later []record) {
	for i := range group {
		if errors.Is(source[i].Err, errLater) {
			later = append(later, group[i])
			continue
		}
		now, read = append(now, group[i]), append(read, source[i])
	}
	return now, read, later
}

// settleInstant brings the target to the offset of an instant and settles the keys that it can. It returns those that must be tried
// again, also when it returns an error.
func (l *linkProof) settleInstant(ctx context.Context, frozen Frame, at *instant) (again []record, err error) {
	ahead, err := frozen.ApplyTo(ctx, at.offset)
	if err != nil {
		return at.keys, fmt.Errorf("apply what %s sent up to offset %d: %w", l.link.Shard, at.offset, err)
	}
	passed := at.without(ahead)
	if len(at.keys) == 0 {
		return passed, nil
	}
	keys := make([]keyID, len(at.keys))
	for i := range keys {
		keys[i] = at.keys[i].keyID
	}
	target, err := l.probers.Target.probe(ctx, keys, frameKeep)
	if err != nil {
		return append(at.keys, passed...), err
	}
	return append(l.judgeFrame(at.keys, at.source, target), passed...), nil
}

// without removes and returns the keys for which the target holds what the source held at a later offset.
func (at *instant) without(ahead []keyspace.Key) (out []record) {
	if len(ahead) == 0 {
		return nil
	}
	later := map[keyspace.Key]bool{}
	for _, k := range ahead {
		later[k] = true
	}
	keys, source := at.keys, at.source
	at.keys, at.source = nil, nil
	for i := range keys {
		if later[keyspace.Key{DB: keys[i].db, Name: keys[i].name}] {
			out = append(out, keys[i])
			continue
		}
		at.keys, at.source = append(at.keys, keys[i]), append(at.source, source[i])
	}
	return out
}

func (l *linkProof) judgeFrame(group []record, source, target []reading) (again []record) {
	_ = l.tally.batch(func(t *tally) error {
		for i := range group {
			d := decision{Pair: pair{source[i], target[i]}}
			d.Verdict, d.Why = l.rules.judge(&d.Pair)
			transient := d.Verdict == Unchecked && !lasting(source[i].Err) && !lasting(target[i].Err) && (source[i].Err != nil || target[i].Err != nil)
			if transient || d.Verdict != Same && l.rules.expiring(&d.Pair, l.clock.now()) > 0 {
				learned := group[i]
				if source[i].Type != keyspace.None {
					learned.t = source[i].Type
				}
				again = append(again, learned)
				continue
			}
			if s, tv := source[i].Value, target[i].Value; d.Verdict == Different && s != nil && tv != nil && s.Type == tv.Type {
				place := compareValues(values{s, tv, l.rules.within})
				d.Place = &place
			}
			l.settle(t, group[i].keyID, &d)
		}
		return nil
	})
	return again
}

// transactions groups a batch into keys that one transaction of the source may read: keys of one database and, in a cluster, of one
// slot (EXEC refuses keys of several slots with CROSSSLOT, even where one node serves them all).
func (s *side) transactions(batch []record) [][]record {
	type place struct {
		db   int
		slot uint16
	}
	var groups [][]record
	at := map[place]int{}
	for _, r := range batch {
		p := place{db: r.db}
		if s.dep.Kind() == endpoint.Cluster {
			p.slot = keyspace.Slot(s.named(r.keyID))
		}
		i, ok := at[p]
		if !ok {
			i = len(groups)
			at[p], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

// errOtherShape says that a key's type, fields or length were not those that its read was prepared for. Type in its reading is the
// type that it has.
var errOtherShape = errors.New("the type, the fields or the length of the key have changed")
