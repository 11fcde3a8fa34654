package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/libraries"
	"surecut/migrator/internal/target"
)

// wide carries the commands that concern a whole server, and not keys: all lanes stand still for them.
type wide struct {
	*Config
	router *router
	ahead  *ahead
	holds  *holds
	copies *copier
}

// betweenCommands does what a plan asks for.
type betweenCommands struct {
	*copier
	*wide
}

// standstill runs f while all lanes stand still, and then saves a checkpoint at the end of c.
func (s *wide) standstill(ctx context.Context, c *sourceCommand, f func() error) error {
	return s.router.meet(ctx, s.router.lanes, func() error {
		if err := f(); err != nil {
			return err
		}
		at := Mark{Offset: c.end, DB: c.db, Received: s.Positions.dispatchedTo().Received}
		s.Positions.SetDispatched(at)
		return s.Link.SaveCheckpoint(ctx, at)
	})
}

// flush carries FLUSHDB and FLUSHALL: it deletes from the target the keys that came from the link's shard, and nothing else. It fails where
// these cannot be told from others, as at a target that held keys before the migration began.
func (s *wide) flush(ctx context.Context, c *sourceCommand, all bool) error {
	if !s.TargetWasEmpty {
		return errors.New("the source was flushed, but the target held keys before this migration began: delete the source's keys from the target by hand, then start again with a new Config.StateDir")
	}
	if len(s.Scope.DBMap) > 0 || s.Target.DBs.Home >= 0 && !s.Target.Cluster {
		return errors.New("the source was flushed, but databases are mapped, so it is not known which keys of the target must be deleted: start again with a new Config.StateDir")
	}
	if !s.Alone && s.Scope.Slots == nil && s.Scope.Moving == nil {
		return errors.New("the source was flushed, but it is not known which keys of the target came from this file and which from the others: let a server load the file and rewrite it (BGREWRITEAOF), and start again with an empty target and a new Config.StateDir")
	}
	s.Ledger.Applied.Add(1)
	return s.standstill(ctx, c, func() error {
		err := s.Target.EachPrimary(ctx, func(addr string) error {
			dbs, err := s.targetDatabases(ctx, addr, c.db, all)
			if err != nil && !s.Target.Can.Nodes {
				return fmt.Errorf("the source was flushed, but the servers behind the proxy, which alone can list the keys to be deleted, do not answer: make them reachable and run the same command again, or start again with an empty target and a new Config.StateDir: %w", err)
			}
			if err != nil {
				return err
			}
			gone := func(k keyspace.Key) bool {
				return s.Scope.Takes(k, c.end) && (all || k.DB == c.db) && s.ahead.fences[k] < c.end && !s.ahead.applied(s.Target.Slot(k.Name), c.end)
			}
			for _, db := range dbs {
				if err := s.deleteShard(ctx, addr, db, gone); err != nil {
					return fmt.Errorf("target %s: the source was flushed, but its keys could not be deleted from database %d: %w", addr, db, err)
				}
			}
			return nil
		})
		if m := s.Scope.Moving; m != nil && err == nil { // keys of slots that move, or have begun to meanwhile, are left, and are in no notes
			err = m.Table.Mark()
		}
		return err
	})
}

// targetDatabases returns the databases of the target into which a database of the source, or all of them, are copied.
func (s *wide) targetDatabases(ctx context.Context, addr string, db int, all bool) ([]int, error) {
	if !all {
		to, ok := s.Scope.Map(db)
		if !ok { // that database is not copied
			return nil, nil
		}
		return []int{to}, nil
	}
	dbs, err := s.Target.Databases(ctx, addr)
	return slices.DeleteFunc(dbs, func(db int) bool { return !s.Scope.Covers(db) }), err
}

// deleteShard deletes from one database of one node of the target the keys that came from the link's shard, if gone says so. That is not so
// of keys that were copied as of an offset after the flush, nor of those that have the flush already from an earlier run.
func (s *wide) deleteShard(ctx context.Context, addr string, db int, gone func(keyspace.Key) bool) error {
	return s.Target.Scan(ctx, addr, db, func(names []string) error {
		var keys []keyspace.Key
		for _, name := range names {
			if k, ours := s.Scope.Brings(db, name); ours && gone(k) && s.Target.Holds(addr, name) {
				keys = append(keys, keyspace.Key{DB: db, Name: name})
			}
		}
		return s.Writer.Remove(ctx, keys)
	})
}

// swap carries SWAPDB. The same transaction moves surecut's own keys back to their database.
func (s *wide) swap(ctx context.Context, c *sourceCommand) error {
	t := s.Target
	if len(c.args) != 3 {
		return errors.New("SWAPDB must name two databases")
	}
	first, err1 := strconv.Atoi(string(c.args[1]))
	second, err2 := strconv.Atoi(string(c.args[2]))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if !s.Scope.MatchDB(first) && !s.Scope.MatchDB(second) {
		s.Ledger.Filtered.Add(1)
		return nil
	}
	if first == second {
		s.Ledger.Applied.Add(1)
		return nil
	}
	if t.Cluster || t.DBs.Home >= 0 || len(s.Scope.DBMap)+len(s.Scope.DBPrefix)+len(s.Scope.DBs) > 0 || !s.Alone {
		return errors.New("SWAPDB cannot be carried out on a cluster, or where databases are mapped or filtered: start again with a new Config.StateDir")
	}
	args := t.Dialect.SwapDB(first, second, 0)
	if args == nil {
		return errors.New("the target has neither SWAPDB (added in Redis 4.0) nor EVAL: start again with a new Config.StateDir")
	}
	s.Ledger.Applied.Add(1)
	if s.ahead.applied(0, c.end) {
		if err := s.Doubts.swapNow(first, second); err != nil {
			return err
		}
		return s.copySwapped(ctx, first, second, c.end)
	}
	if s.Expiries.Holding() {
		if err := s.Expiries.Swap(first, second); err != nil {
			return err
		}
		if err := s.Doubts.swap(first, second); err != nil {
			return err
		}
		s.holds.forget()
	}
	x := &target.Transaction{End: c.end}
	for _, n := range s.router.lanes {
		x.Units = append(x.Units, target.Unit(n.id))
	}
	var swapped []target.Witness
	x.Calls, swapped = t.SwapCalls(s.Name, x.Units, first, second, args)
	err := s.router.meet(ctx, s.router.lanes, func() error {
		if err := s.Doubts.swapNow(first, second); err != nil {
			return err
		}
		if err := s.Writer.Commit(ctx, []*target.Transaction{x}); err != nil {
			return err
		}
		s.Positions.acknowledge(x.Units, x.End)
		s.Link.RememberWitnesses(swapped)
		if len(x.Failed) > 0 {
			return fmt.Errorf("the target refused the command: %w", x.Failed[0].Reply)
		}
		s.Target.Expiring.Swap(first, second)
		return nil
	})
	if err != nil {
		return err
	}
	return s.copySwapped(ctx, first, second, c.end)
}

// copySwapped copies keys of two databases again after a SWAPDB: those that had been copied as of an offset after it, so that applying it
// has moved them to the wrong database.
func (s *wide) copySwapped(ctx context.Context, first, second int, end int64) error {
	var keys []keyspace.Key
	for k, offset := range s.ahead.fences {
		if offset < end || k.DB != first && k.DB != second {
			continue
		}
		for _, db := range []int{first, second} {
			if k := (keyspace.Key{DB: db, Name: k.Name}); !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	_, err := s.copies.copyKeys(ctx, keys, end)
	return err
}

// script carries SCRIPT, which belongs to no key, to every primary of the target. It changes no more than a cache, and scripts of the stream
// are sent with their text, so that a refusal does no harm.
func (s *wide) script(ctx context.Context, c *sourceCommand, sub string) error {
	args := texts(c.args)
	if sub == "LOAD" && len(args) == 3 {
		if err := s.Scripts.Add(args[2]); err != nil {
			return err
		}
	}
	s.Ledger.Applied.Add(1)
	if !s.Target.Can.Nodes {
		return nil
	}
	err := s.standstill(ctx, c, func() error { return s.Target.Everywhere(ctx, args) })
	if endpoint.Code(err) == "NOPERM" || errors.As(err, new(*target.RefusedError)) {
		return nil
	}
	return err
}

// function carries FUNCTION, which changes the libraries of the whole target.
func (s *wide) function(ctx context.Context, c *sourceCommand, sub string) error {
	if s.Libraries == nil {
		s.Ledger.Filtered.Add(1)
		return nil
	}
	err := s.standstill(ctx, c, func() error { return s.Libraries.Apply(ctx, s.Name, texts(c.args)) })
	if errors.Is(err, libraries.ErrUnreadable) {
		s.Ledger.ReportCommand(c.db, "", "FUNCTION "+keyspace.PrintableShort(sub), err.Error())
		return nil
	}
	s.Ledger.Applied.Add(1)
	return err
}

// texts returns arguments as strings.
func texts(args [][]byte) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = string(a)
	}
	return out
}
