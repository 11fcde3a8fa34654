package libraries

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"surecut/migrator/internal/target"
)

// lack is a library that a node of the target is to have and has not.
type lack struct {
	library
	reason string
	theirs bool // the node has another library of this name, which the migration has not brought
}

// settle makes each primary of the target have the wanted libraries, and none that the migration has brought besides.
func (s *Set) settle(ctx context.Context, wanted []library) (missing []lack, err error) {
	byNode := map[string][]lack{}
	err = s.Target.EachPrimary(ctx, func(addr string) (err error) {
		byNode[addr], err = s.settleAt(ctx, addr, wanted)
		return err
	})
	for _, addr := range slices.Sorted(maps.Keys(byNode)) {
		missing = append(missing, byNode[addr]...)
	}
	return missing, err
}

// settleAt does it for one node.
func (s *Set) settleAt(ctx context.Context, addr string, wanted []library) (lacks []lack, err error) {
	there, err := s.Target.Libraries(ctx, addr)
	if refused := (*target.RefusedError)(nil); errors.As(err, &refused) {
		for _, w := range wanted {
			lacks = append(lacks, lack{library: w, reason: fmt.Sprintf("the function library %s was not loaded, since the target does not list those that it has: %v", w.name, refused)})
		}
		return lacks, nil
	}
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if !slices.ContainsFunc(wanted, func(w library) bool { return w.name == name }) {
			if err := s.remove(ctx, addr, name, there[name]); err != nil {
				return nil, err
			}
		}
	}
	toLoad, lacks := s.toLoad(addr, wanted, there)
	refused, err := s.load(ctx, addr, toLoad)
	if err != nil || len(refused) == 0 {
		return lacks, err
	}
	for _, l := range refused { // a function may have come from one of them to another
		if err := s.remove(ctx, addr, l.name, there[l.name]); err != nil {
			return nil, err
		}
	}
	again := make([]library, len(refused))
	for i, l := range refused {
		again[i] = l.library
	}
	refused, err = s.load(ctx, addr, again)
	return append(lacks, refused...), err
}

// toLoad returns the libraries to be loaded at a node, and those that another one of the node's own keeps from it.
func (s *Set) toLoad(addr string, wanted []library, there map[string]string) (list []library, lacks []lack) {
	for _, w := range wanted {
		code, is := there[w.name]
		switch v := versionOf(code); {
		case is && v == w.Version:
		case !is || s.Replace || s.ours(w.name, v):
			list = append(list, w)
		case s.Keep:
			s.Log.Info("a function library of the target is kept as it is", "target", addr, "library", w.name)
		default:
			lacks = append(lacks, lack{library: w, theirs: true, reason: fmt.Sprintf("the target %s has another function library %s, which this migration has not brought: delete it there (FUNCTION DELETE %s), or set Config.OnExisting replace or keep", addr, w.name, w.name)})
		}
	}
	return list, lacks
}

// ours says whether a version of a library on the target may go: the migration has brought it, and it was not there before.
func (s *Set) ours(name string, v version) bool {
	return s.state.Brought.has(name, v) && (s.Replace || !s.state.Theirs.has(name, v))
}

// remove deletes a library from a node, if the migration has brought it.
func (s *Set) remove(ctx context.Context, addr, name, code string) error {
	if !s.ours(name, versionOf(code)) {
		return nil
	}
	err := s.Target.DeleteLibrary(ctx, addr, name)
	if errors.As(err, new(*target.RefusedError)) { // somebody else may have deleted it
		s.Log.Info("a function library was not deleted", "library", name, "error", err)
		return nil
	}
	return err
}

// load loads libraries at a node, and returns those that it refuses.
func (s *Set) load(ctx context.Context, addr string, list []library) (refused []lack, err error) {
	for _, w := range list {
		if !s.state.Brought.has(w.name, w.Version) {
			s.state.Brought.add(w.name, w.Version)
			if err := s.save(); err != nil {
				return nil, err
			}
		}
		err := s.Target.LoadLibrary(ctx, addr, w.code)
		if errors.As(err, new(*target.RefusedError)) {
			refused = append(refused, lack{library: w, reason: fmt.Sprintf("the function library %s was not loaded: %v", w.name, err)})
		} else if err != nil {
			return nil, err
		}
	}
	return refused, nil
}
