package target

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/retry"
	"surecut/internal/waiting"
)

// nodes are the servers of a target, or the proxy that stands for them: what they can do, which of them holds what, and how they are asked
// for something until they answer. Everything else in this package stands upon them.
type nodes struct {
	Facts
	Claim    *Claim // the hold of this run on the target; nil: none is needed
	d        *endpoint.Deployment
	by       route
	id       string // of the migration
	lanes    int    // number of lanes of each link
	retryFor time.Duration
	waits    *waiting.Book
	log      *slog.Logger

	refresh sync.Mutex
	last    time.Time // when the topology was asked for; guarded by refresh

	calls ownWrites
	found foundBounds
}

// route says where a key is written, and how it is read there.
type route interface {
	PrimaryOf(slot uint16) (endpoint.Node, bool)
	Refresh(ctx context.Context) error
	Reading(args ...string) []string
}

// Primaries returns the addresses of the nodes that are written.
func (ns *nodes) Primaries() []string {
	shards := ns.d.Shards()
	addrs := make([]string, len(shards))
	for i, s := range shards {
		addrs[i] = s.Primary.Addr
	}
	return addrs
}

// Slot returns the slot of a key on the target.
func (ns *nodes) Slot(name string) uint16 { return ns.d.Slot(name) }

// Holds says whether a node is the one that holds a key.
func (ns *nodes) Holds(addr, name string) bool { return ns.d.Holds(addr, name) }

// PrimaryOf returns the node to which a slot is written.
func (ns *nodes) PrimaryOf(slot uint16) (endpoint.Node, bool) { return ns.by.PrimaryOf(slot) }

// node returns the address at which a slot is written.
func (ns *nodes) node(slot uint16) (string, error) {
	n, ok := ns.PrimaryOf(slot)
	if !ok {
		return "", fmt.Errorf("target: no node holds slot %d", slot)
	}
	return n.Addr, nil
}

// AddrOf returns the address at which a key is written.
func (ns *nodes) AddrOf(name string) (string, error) { return ns.node(ns.Slot(name)) }

// Reading returns a command that reads one key, in the form in which it is sent to the target.
func (ns *nodes) Reading(args ...string) []string { return ns.by.Reading(args...) }

// Units returns the number of units that a link may have checkpoints for.
func (ns *nodes) Units() int {
	if ns.Cluster {
		return ns.d.Slots()
	}
	return ns.lanes
}

// UnitOf returns the unit that a slot belongs to.
func (ns *nodes) UnitOf(slot uint16) Unit {
	if ns.Cluster {
		return Unit(slot)
	}
	return Unit(int(slot) % ns.lanes)
}

// slotOf returns a slot of a unit, by which its node is found. A standalone target has one node, so that any slot will do.
func (ns *nodes) slotOf(u Unit) uint16 {
	if ns.Cluster {
		return uint16(u)
	}
	return 0
}

// OwnDB returns the database of surecut's own keys.
func (ns *nodes) OwnDB() int { return max(ns.DBs.Home, 0) }

// RefreshTopology asks the target where its slots are, at most a few times a second.
func (ns *nodes) RefreshTopology(ctx context.Context) error {
	ns.refresh.Lock()
	defer ns.refresh.Unlock()
	if time.Since(ns.last) < 200*time.Millisecond {
		return nil
	}
	ns.last = time.Now()
	return ns.by.Refresh(ctx)
}

// WatchSentinels asks the sentinels of the target for its primary, since a primary that was cut off and replaced may go on answering.
func (ns *nodes) WatchSentinels(ctx context.Context) {
	if ns.d.Kind() != endpoint.Sentinel {
		return
	}
	if err := ns.RefreshTopology(ctx); err != nil && ctx.Err() == nil {
		ns.log.Warn("the sentinels of the target cannot be asked", "error", err)
	}
}

// Retry repeats try until it succeeds, fails for good, or retryFor has gone by. From the second time on it asks for the topology before.
func (ns *nodes) Retry(ctx context.Context, try func() (again error, err error)) error {
	failed := false
	var since time.Time // of the first failure
	wait := ns.waits.New("the migration", "target")
	defer wait.Over()
	again, err := retry.Policy{First: 20 * time.Millisecond, Most: time.Second, For: ns.retryFor}.Do(ctx, func() (again, err error) {
		if failed {
			if err := ns.RefreshTopology(ctx); err != nil && ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
		}
		failed = true
		begun := time.Now()
		again, err = try()
		if err == nil && errors.Is(again, ErrClaimed) { // waiting does not help
			return nil, again
		}
		if again != nil {
			at := endpoint.SilentSince(again, begun)
			if since.IsZero() {
				since = at
			}
			wait.Failed(again.Error(), at)
		}
		return again, err
	})
	if again != nil {
		return fmt.Errorf("the target did not recover within %v, since %s: %w", ns.retryFor, since.Format(time.TimeOnly), again)
	}
	return err
}

// at runs f on the node that holds a slot, with a client of one of its databases. It repeats f where the target may recover or the slot has
// moved.
func (ns *nodes) at(ctx context.Context, slot uint16, db int, f func(addr string, c rueidis.Client) error) error {
	return ns.Retry(ctx, func() (again, err error) {
		addr, again := ns.node(slot)
		if again != nil {
			return again, nil
		}
		c, err := ns.d.Client(ctx, addr, db)
		if err == nil {
			err = f(addr, c)
		}
		return AgainOrEnd(addr, err)
	})
}

// Databases returns the databases of a node that hold keys.
func (ns *nodes) Databases(ctx context.Context, addr string) ([]int, error) {
	if ns.DBs.Only {
		return []int{ns.OwnDB()}, nil
	}
	client, err := ns.d.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	info, err := endpoint.Info(ctx, client, "keyspace")
	if err != nil {
		return nil, fmt.Errorf("target %s: INFO keyspace: %w", addr, err)
	}
	dbs, err := endpoint.Keyspace(info)
	return slices.Collect(maps.Keys(dbs)), err
}

// Scan calls f with the names of the keys of one database of a node, page by page.
func (ns *nodes) Scan(ctx context.Context, addr string, db int, f func(names []string) error) error {
	c, err := ns.d.Client(ctx, addr, db)
	if err != nil {
		return err
	}
	for cursor := uint64(0); ; {
		page, err := c.Do(ctx, arbitrary(c, "SCAN", strconv.FormatUint(cursor, 10), "COUNT", "1000")).AsScanEntry()
		if err == nil {
			err = f(page.Elements)
		}
		if err != nil {
			return err
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}

type builder interface{ B() rueidis.Builder }

// arbitrary builds any command. Its arguments may be binary.
func arbitrary(b builder, args ...string) rueidis.Completed { return b.B().Arbitrary(args...).Build() }
