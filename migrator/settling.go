package migrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/slots"
	"surecut/migrator/internal/stream"
)

// settle has those slots that move, and that the cluster has settled, read again from their owners.
func (v *mover) settle(ctx context.Context, last, now *sight) error {
	v.why = nil
	byOwner := map[int][]uint16{}
	for _, s := range v.m.slotsThatMove() {
		if settledIn(last, s) && settledIn(now, s) && last.owner[s] == now.owner[s] {
			byOwner[now.owner[s]] = append(byOwner[now.owner[s]], s)
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(byOwner)) {
		err := v.readAgain(ctx, owner, byOwner[owner])
		switch {
		case errors.Is(err, errCannotTell), errors.Is(err, errInUse):
			return err
		case err != nil: // the slots settle later
			v.why = err
			v.m.cfg.Log.Debug("slots of the source are not settled yet", "slots", slotList(byOwner[owner]), "error", err)
		}
	}
	return v.m.notes.Clear()
}

// errInUse says that keys cannot be read again without overwriting what the target had.
var errInUse = errors.New("slots of the source moved, and their keys would have to be read again; the target held keys before this migration began, and only Config.OnExisting replace allows to overwrite them: start again with a new Config.StateDir, and with Config.OnExisting replace or an empty target")

func settledIn(s *sight, slot uint16) bool {
	return s.agreed && !s.underWay[slot] && s.owner[slot] >= 0
}

// mostPass is how long the links may take to come to where their primaries stood. If they do not, because one lags or its shard has left,
// they are asked again.
const mostPass = 10 * time.Second

// readAgain reads all keys of some slots again from the link that owns them now, and gives the slots to that link.
func (v *mover) readAgain(ctx context.Context, owner int, of []uint16) error {
	if !v.m.state.TargetWasEmpty && v.m.cfg.OnExisting != ExistingReplace {
		return errInUse
	}
	a := v.m.table.Attempt(of, owner)
	defer a.GiveUp()
	now, err := v.m.look(ctx, v.last) // after the attempt has begun, so that every later sign breaks it
	if err != nil {
		return err
	}
	for _, s := range of {
		if !settledIn(now, s) || now.owner[s] != owner {
			return slots.ErrMovesAgain
		}
	}
	stood, err := v.pass(ctx)
	if err != nil {
		return err
	}
	l := v.m.all()[owner]
	l.records.checkpoints.Rely() // several copies may share a checkpoint
	r := &rereading{m: v.m, attempt: a, slots: of, stood: stood, notes: v.m.notes.Cursor()}
	if r.link, r.stream = l, l.applying.Load(); r.stream == nil {
		return errNotFollowing
	}
	return r.run(ctx)
}

// errNotFollowing says that a link does not apply its stream yet, or has begun anew.
var errNotFollowing = errors.New("a link does not apply its stream")

// pass asks every primary of the source at which offset it stands, and returns these offsets once every link has applied its stream up to
// there.
func (v *mover) pass(ctx context.Context) (stood []int64, err error) {
	stood = make([]int64, v.m.table.Links())
	links := v.m.all()
	if len(links) != len(stood) {
		return nil, slots.ErrMovesAgain
	}
	for i, l := range links {
		if l.gone.Load() {
			continue
		}
		if stood[i], err = l.source.PositionOf(ctx, l.shard.Primary()); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, mostPass)
	defer cancel()
	for i, l := range links {
		if l.gone.Load() {
			continue
		}
		s := l.applying.Load()
		if s == nil {
			return nil, fmt.Errorf("shard %s: %w", l.shard.Primary(), errNotFollowing)
		}
		if err := s.Pass(ctx, stood[i]); err != nil {
			return nil, fmt.Errorf("shard %s: %w", l.shard.Primary(), err)
		}
	}
	return stood, nil
}

// rereading reads the keys of some slots again.
type rereading struct {
	m       *Migration
	attempt *slots.Attempt
	link    *link // of the owner
	stream  *stream.Stream
	slots   []uint16
	stood   []int64
	notes   *slots.Cursor
}

// run copies what the owner has, what the target has of slots whose notes may lack keys, and what was noted. The last of that is copied
// while the owner's stream stands still; then the slots are the owner's.
func (r *rereading) run(ctx context.Context) error {
	for _, s := range r.slots {
		if err := r.copySlot(ctx, s); err != nil {
			return err
		}
	}
	if err := r.copyExtra(ctx); err != nil {
		return err
	}
	for round := 0; round < 20; round++ {
		n, err := r.copyNoted(ctx)
		if err != nil {
			return err
		}
		if n <= mostCopiedAtOnce {
			break
		}
	}
	return r.stream.Adopt(ctx, r.noted, func(at int64) error { return r.attempt.Settle(at, r.stood) })
}

// mostCopiedAtOnce is for how many keys the stream may stand still.
const mostCopiedAtOnce = 200

// copySlot copies all keys that the owner has in a slot.
func (r *rereading) copySlot(ctx context.Context, slot uint16) error {
	facts, err := r.m.cfg.Sides.Source.Server(ctx, r.link.shard.Primary())
	if err != nil {
		return err
	}
	for db := range max(facts.Databases, 1) { // a cluster has several since Valkey 9.0
		if !r.link.scope.MatchDB(db) {
			continue
		}
		names, err := r.namesIn(ctx, slot, db)
		if err != nil {
			return err
		}
		var keys []keyspace.Key
		for _, name := range names {
			if k := r.link.scope.Arriving(db, name); r.link.scope.Carries(k) {
				keys = append(keys, k)
			}
		}
		if err := r.copy(ctx, keys); err != nil {
			return err
		}
	}
	return nil
}

// namesIn returns the names of the keys that the owner has in a slot of a database. Keys that come later are noted.
func (r *rereading) namesIn(ctx context.Context, slot uint16, db int) ([]string, error) {
	addr, number := r.link.shard.Primary(), strconv.Itoa(int(slot))
	c, err := r.m.cfg.Sides.Source.Client(ctx, addr, db)
	if err != nil {
		return nil, err
	}
	n, err := c.Do(ctx, endpoint.Arbitrary(c, "CLUSTER", "COUNTKEYSINSLOT", number)).AsInt64()
	if err != nil || n == 0 {
		return nil, err
	}
	names, err := c.Do(ctx, endpoint.Arbitrary(c, "CLUSTER", "GETKEYSINSLOT", number, strconv.FormatInt(n+1000, 10))).AsStrSlice()
	if err != nil {
		return nil, fmt.Errorf("source %s: list the keys of slot %d: %w", addr, slot, err)
	}
	if int64(len(names)) >= n+1000 {
		return nil, fmt.Errorf("source %s: more keys came into slot %d than could be listed", addr, slot)
	}
	return names, nil
}

// errCannotTell says that it is not known which keys the target must lose.
var errCannotTell = errors.New("slots of the source moved while a link began anew, so it is not known which of their keys were deleted meanwhile; the target held keys before this migration began, or is behind a proxy, so that it cannot tell either: start again with a new Config.StateDir, and an empty target or Config.OnExisting replace")

// copyExtra copies the keys that the target has in slots whose notes may lack keys: those that the owner does not have are deleted by that.
func (r *rereading) copyExtra(ctx context.Context) error {
	marked := map[uint16]bool{}
	moving := r.m.table.Moving()
	for _, s := range r.slots {
		if moving[s] {
			marked[s] = true
		}
	}
	if len(marked) == 0 {
		return nil
	}
	if !r.m.state.TargetWasEmpty || !r.m.target.Can.Nodes {
		return errCannotTell
	}
	return r.m.target.EachPrimary(ctx, func(addr string) error {
		dbs, err := coveredDatabases(ctx, r.m.target, &r.link.scope, addr)
		if err != nil {
			return err
		}
		for _, db := range dbs {
			err := r.m.target.Scan(ctx, addr, db, func(names []string) error {
				var keys []keyspace.Key
				for _, name := range names {
					if k, ok := r.comes(db, name); ok && marked[r.link.scope.SourceSlot(k)] {
						keys = append(keys, k)
					}
				}
				return r.copy(ctx, keys)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// comes says whether a key of the target comes from the source, as far as its name tells, and returns it as links name it.
func (r *rereading) comes(db int, name string) (k keyspace.Key, ok bool) {
	from, ok := r.link.scope.Origin(db, name)
	k = keyspace.Key{DB: from, Name: name}
	return k, ok && r.link.scope.Carries(k)
}

// copyNoted copies the keys that were noted since it was last called, and returns how many these were.
func (r *rereading) copyNoted(ctx context.Context) (n int, err error) {
	for {
		keys, over, err := r.notes.Next(mostCopiedAtOnce, r.wants)
		if err != nil {
			return n, err
		}
		n += len(keys)
		if err := r.copy(ctx, keys); err != nil || over {
			return n, err
		}
	}
}

// noted returns keys that were noted since it was last called; none: there are none.
func (r *rereading) noted() ([]keyspace.Key, error) {
	for {
		keys, over, err := r.notes.Next(mostCopiedAtOnce, r.wants)
		if err != nil || over || len(keys) > 0 {
			return keys, err
		}
	}
}

func (r *rereading) wants(k keyspace.Key) bool {
	_, wanted := slices.BinarySearch(r.slots, r.link.scope.SourceSlot(k))
	return wanted && r.link.scope.Carries(k)
}

// copy copies keys from the owner, a hundred at a time, between which its stream goes on.
func (r *rereading) copy(ctx context.Context, keys []keyspace.Key) error {
	for part := range slices.Chunk(keys, 100) {
		if r.attempt.Broken() {
			return slots.ErrMovesAgain
		}
		if err := r.stream.Copy(ctx, part); err != nil {
			return err
		}
	}
	return nil
}
