package target

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// IsEmpty says whether the target holds no keys other than surecut's own.
func (t *Target) IsEmpty(ctx context.Context) (bool, error) {
	err := t.EachPrimary(ctx, func(addr string) error {
		c, err := t.d.Client(ctx, addr, 0)
		if err != nil && !t.Can.Nodes && ctx.Err() == nil {
			t.log.Warn("a server behind the proxy does not answer, so it is not known whether the target is empty; it counts as not empty", "error", err)
			return errEnough
		}
		if err != nil {
			return fmt.Errorf("target %s: %w", addr, err)
		}
		info, err := endpoint.Info(ctx, c, "keyspace")
		if err != nil {
			return fmt.Errorf("target %s: INFO keyspace: %w", addr, err)
		}
		dbs, err := endpoint.Keyspace(info)
		if err != nil {
			return fmt.Errorf("target %s: %w", addr, err)
		}
		for db := range dbs {
			foreign, err := t.holdsForeign(ctx, addr, db)
			if err != nil {
				return err
			}
			if foreign {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return false, nil
	}
	return err == nil, err
}

// holdsForeign says whether a database of a node holds a key that is not surecut's own.
func (t *Target) holdsForeign(ctx context.Context, addr string, db int) (foreign bool, err error) {
	err = t.Scan(ctx, addr, db, func(names []string) error {
		if slices.ContainsFunc(names, func(name string) bool { return !strings.HasPrefix(name, keyspace.Prefix) }) {
			foreign = true
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return false, fmt.Errorf("target %s: SCAN: %w", addr, err)
	}
	return foreign, nil
}

// errEnough ends a scan, or a visit of all primaries, whose caller knows what it wanted to know.
var errEnough = errors.New("enough was seen")

// Refilled returns the place of a lost witness where keys of unknown origin are by now, or "". A new snapshot would delete such keys.
func (t *Target) Refilled(ctx context.Context, lost []Witness) (where string, err error) {
	if !t.Can.Nodes {
		return "", nil // a proxy does not show which server holds what
	}
	for _, w := range lost {
		n, _ := t.PrimaryOf(w.Slot)
		foreign, err := t.holdsForeign(ctx, n.Addr, w.DB)
		if err != nil {
			return "", err
		}
		if foreign {
			return n.Addr + " (database " + strconv.Itoa(w.DB) + ")", nil
		}
	}
	return "", nil
}
