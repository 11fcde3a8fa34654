package libraries

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"surecut/internal/endpoint"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/target"
)

// Target is where libraries are loaded. An error is a target.RefusedError if a node refuses something for good.
type Target interface {
	HasFunctions() bool

	// EachPrimary calls f with the address of each primary, and with all once more if slots have moved meanwhile.
	EachPrimary(ctx context.Context, f func(addr string) error) error

	Libraries(ctx context.Context, addr string) (codes map[string]string, err error) // by name
	LoadLibrary(ctx context.Context, addr, code string) error                        // in place of one of its name
	DeleteLibrary(ctx context.Context, addr, name string) error
}

// Config is what a Set needs of its migration.
type Config struct {
	Target  Target
	Keep    bool // a library that the target has of its own stays, and nothing is missing
	Replace bool // it gives way to the source's

	Save  func(json.RawMessage) error // makes durable what the next run is to know
	Shard func(link string) string    // names the shard of a link
	Log   *slog.Logger
}

// Set is the function libraries of a migration. It is safe for concurrent use.
type Set struct {
	Config
	changing sync.Mutex // held by whoever changes the libraries of the target
	state    state      // guarded by changing
	problems atomic.Pointer[[]ledger.Problem]
}

// New returns the set of a migration. saved is what an earlier run has saved; nil: there was none.
func New(cfg Config, saved json.RawMessage) (*Set, error) {
	s := &Set{Config: cfg, state: newState()}
	if saved != nil {
		if err := json.Unmarshal(saved, &s.state); err != nil {
			return nil, fmt.Errorf("read the function libraries: %w", err)
		}
	}
	return s, nil
}

// Begin notes which libraries the target has before anything is written to it. Those of a target that does not tell count as its own, too,
// since nothing is known as brought yet.
func (s *Set) Begin(ctx context.Context) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	err := s.note(ctx, func(name string, v version, _ string) { s.state.Theirs.add(name, v) })
	return errors.Join(err, s.save())
}

// Adopt takes over from a surecut that has not remembered libraries: what the target has counts as brought, and each link as having it.
func (s *Set) Adopt(ctx context.Context, links []string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	err := s.note(ctx, func(name string, v version, code string) {
		for _, link := range links {
			s.state.give(link, name, code)
		}
		s.state.Brought.add(name, v)
	})
	return errors.Join(err, s.save())
}

// note calls f with each library of the target. A target that refuses to list them is passed over.
func (s *Set) note(ctx context.Context, f func(name string, v version, code string)) error {
	if !s.Target.HasFunctions() {
		return nil
	}
	err := s.Target.EachPrimary(ctx, func(addr string) error {
		there, err := s.Target.Libraries(ctx, addr)
		for name, code := range there {
			f(name, versionOf(code), code)
		}
		return err
	})
	if errors.As(err, new(*target.RefusedError)) || endpoint.Code(err) == "NOPERM" {
		s.Log.Warn("the target does not list its function libraries; those that it has stay as they are", "error", err)
		return nil
	}
	return err
}

// Snapshot says that the shard of a link has the libraries of a snapshot, and no others. The error is an ErrExists if the target has another
// library of one of their names, and neither Keep nor Replace says what to do.
func (s *Set) Snapshot(ctx context.Context, link string, codes []string) error {
	missing, err := s.change(ctx, func() error { return s.state.replace(link, codes) })
	for _, m := range missing {
		if m.theirs && err == nil {
			return fmt.Errorf("%w: %s", ErrExists, m.reason)
		}
	}
	return err
}

// ErrExists says that the target has a library of its own that would have to give way.
var ErrExists = errors.New("a function library already exists")

// Apply carries a FUNCTION command of a link's stream, which need not be the first time.
func (s *Set) Apply(ctx context.Context, link string, args []string) error {
	_, err := s.change(ctx, func() error { return s.state.apply(link, args) })
	return err
}

// Look brings the target back to what it is to have, if somebody has changed that meanwhile.
func (s *Set) Look(ctx context.Context) error {
	_, err := s.change(ctx, func() error { return nil })
	return err
}

// Problems returns a problem for each library that the target lacks, or has in the version of one shard only.
func (s *Set) Problems() []ledger.Problem {
	if p := s.problems.Load(); p != nil {
		return *p
	}
	return nil
}

// Leave forgets what the shard of a link has, which does not belong to the source any more.
func (s *Set) Leave(ctx context.Context, link string) error {
	_, err := s.change(ctx, func() error {
		delete(s.state.Links, link)
		return nil
	})
	return err
}

// change changes the state by f, and then the target. It returns the libraries that the target lacks.
func (s *Set) change(ctx context.Context, f func() error) (missing []lack, err error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := f(); err != nil {
		return nil, err
	}
	wanted := s.state.wanted()
	s.state.forget()
	if err := s.save(); err != nil {
		return nil, err
	}
	switch {
	case !s.Target.HasFunctions():
		for _, w := range wanted {
			missing = append(missing, lack{library: w, reason: fmt.Sprintf("the function library %s: the target has no functions (added in Redis 7.0)", w.name)})
		}
	case len(wanted)+len(s.state.Brought) > 0:
		if missing, err = s.settle(ctx, wanted); err != nil {
			return nil, err
		}
	}
	s.tell(wanted, missing)
	return missing, nil
}

// tell sets the problems.
func (s *Set) tell(wanted []library, missing []lack) {
	var list []ledger.Problem
	add := func(w library, reason string) {
		list = append(list, ledger.Problem{Shard: s.Shard(w.link), Command: "FUNCTION LOAD", Reason: reason})
	}
	for _, m := range missing {
		add(m.library, m.reason)
	}
	for _, w := range wanted {
		if w.differs {
			add(w, fmt.Sprintf("the shards have different versions of the function library %s, and the target gets the one that came last: load the same on each primary of the source", w.name))
		}
	}
	before := s.Problems()
	for _, p := range list {
		if !slices.Contains(before, p) {
			s.Log.Warn("a function library does not arrive as the source has it", "shard", p.Shard, "reason", p.Reason)
		}
	}
	s.problems.Store(&list)
}

func (s *Set) save() error {
	data, err := json.Marshal(&s.state)
	if err != nil {
		return err
	}
	return s.Save(data)
}
