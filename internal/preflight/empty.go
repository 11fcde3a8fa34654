package preflight

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/reply"
)

// ownScan is how many keys a target database may hold at most for surecut's own keys to be counted by SCAN.
const ownScan = 100_000

func targetEmpty(ctx context.Context, r *run) []Check {
	const wanted = "no keys except surecut's own, and no function libraries"
	var foreign, own int64
	var where []string
	for _, n := range r.target.primaries() {
		if n.err != nil || n.infoErr != nil {
			return []Check{skip("target", "the keys of "+n.addr+" are not known", wanted)}
		}
		found, err := r.target.keysOf(ctx, n)
		if err != nil {
			return []Check{skip("target", oneLine(err), wanted)}
		}
		foreign, own = foreign+found.foreign, own+found.own
		where = append(where, found.where...)
	}
	libraries, unlisted := r.targetLibraries(ctx)
	if unlisted != nil && foreign == 0 {
		return []Check{skip("target", "the function libraries are not known: "+oneLine(unlisted), wanted)}
	}
	slices.Sort(where)
	if len(where) > 4 {
		where = append(where[:4], fmt.Sprintf("and %d more places", len(where)-4))
	}
	record, err := r.target.migrationRecord(ctx) // target_state reports why the record cannot be read
	if errors.Is(err, context.DeadlineExceeded) {
		r.silent.Store(true)
	}
	resumed := r.cfg.Resume != "" && record["id"] == r.cfg.Resume
	unrecorded := r.cfg.Resume != "" && err == nil && record["id"] == ""
	return []Check{judgeEmpty(targetKeys{foreign, own, where, libraries, resumed, unrecorded}, r.cfg.OnExisting, wanted)}
}

type targetKeys struct {
	foreign, own int64
	where        []string
	libraries    []string // function libraries, by name
	resumed      bool     // the migration that is resumed has written the keys
	unrecorded   bool     // a migration is resumed, but its record is gone from the target
}

// found says what the target holds, and how it is emptied.
func (k targetKeys) found() (found, remedy string) {
	var parts, remedies []string
	if k.foreign > 0 {
		text := fmt.Sprintf("%d keys", k.foreign)
		if len(k.where) > 0 {
			text += ": " + strings.Join(k.where, ", ")
		}
		parts, remedies = append(parts, text), append(remedies, "redis-cli flushall")
	}
	if n := len(k.libraries); n > 0 {
		parts = append(parts, fmt.Sprintf("function libraries: %s%s", strings.Join(k.libraries[:min(n, 4)], ", "), more(n-4)))
		remedies = append(remedies, "redis-cli function flush")
	}
	return strings.Join(parts, "; "), strings.Join(remedies, "; ")
}

func judgeEmpty(k targetKeys, onExisting, wanted string) Check {
	if k.foreign == 0 && len(k.libraries) == 0 {
		if k.own > 0 {
			return pass("target", fmt.Sprintf("no keys except %d of surecut's own", k.own), wanted)
		}
		return pass("target", "no keys", wanted)
	}
	found, remedy := k.found()
	what := "keys"
	if len(k.libraries) > 0 {
		what = "keys and function libraries"
	}
	switch {
	case k.resumed:
		return pass("target", found+"; they were written by the migration that is resumed", wanted)
	case k.unrecorded: // the migration decides whether to mend or to refuse it, because it knows what each node should hold
		return note("target", found+"; the record of the migration that is resumed is missing, so the target has lost data, or another migration has written to it", wanted, "")
	case onExisting == "replace":
		return alarm("target", found+"; with Config.OnExisting replace, "+what+" that the source also has are overwritten, and all others stay", wanted, "empty the target: "+remedy)
	case onExisting == "keep":
		return alarm("target", found+"; with Config.OnExisting keep, "+what+" that the source also has keep their value on the target, and all others stay", wanted, "empty the target: "+remedy)
	}
	return fail("target", found, wanted, "empty the target ("+remedy+"), choose another target, or set Config.OnExisting replace or keep")
}

// targetLibraries returns the names of the function libraries of all nodes of the target. Where the migration brings none, since only
// certain keys are selected or the target is a proxy, they do not matter.
func (r *run) targetLibraries(ctx context.Context) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	defer func() { r.noteSilence(ctx) }()
	if len(r.cfg.Filter.Include) > 0 || r.target.spec.Kind == endpoint.Codis || r.target.spec.ViaProxy {
		return nil, nil
	}
	for _, n := range r.target.primaries() {
		if n.err != nil || n.server.Number < 70000 {
			continue
		}
		m, err := n.client.Do(ctx, n.client.B().Arbitrary("FUNCTION", "LIST").Build()).ToMessage()
		if err != nil {
			return nil, fmt.Errorf("%s: FUNCTION LIST: %w", n.addr, err)
		}
		list, err := reply.Libraries(&m)
		if err != nil {
			return nil, fmt.Errorf("%s: FUNCTION LIST: %w", n.addr, err)
		}
		names = slices.AppendSeq(names, maps.Keys(list))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// keysOf counts the keys of one server of the target over one connection.
func (s *side) keysOf(ctx context.Context, n *node) (found targetKeys, err error) {
	if len(n.dbs) == 0 {
		return found, nil
	}
	c, err := s.d.OpenSession(ctx, n.addr)
	if err != nil {
		return found, err
	}
	defer c.Close()
	for _, db := range slices.Sorted(maps.Keys(n.dbs)) {
		if only := s.spec.DB; only >= 0 && only != db {
			continue
		}
		mine, err := ownKeys(ctx, c, db, n.dbs[db].Keys)
		if err != nil {
			return found, err
		}
		found.own += mine
		if foreign := n.dbs[db].Keys - mine; foreign > 0 {
			found.foreign += foreign
			found.where = append(found.where, fmt.Sprintf("%d in database %d of %s", foreign, db, n.addr))
		}
	}
	return found, nil
}

// ownKeys counts surecut's own keys in one database. For a large database it returns 0, since a target that large is not empty
// anyway.
func ownKeys(ctx context.Context, c *endpoint.Session, db int, keys int64) (int64, error) {
	if keys == 0 || keys > ownScan {
		return 0, nil
	}
	if err := c.Select(ctx, db); err != nil {
		return 0, err
	}
	seen := map[string]bool{} // SCAN may return a key twice
	for cursor := "0"; ; {
		names, next, err := c.Scan(ctx, cursor, keyspace.Prefix+"*")
		if err != nil {
			return 0, fmt.Errorf("database %d: %w", db, err)
		}
		for _, k := range names {
			seen[k] = true
		}
		if cursor = next; cursor == "0" {
			return int64(len(seen)), nil
		}
	}
}
