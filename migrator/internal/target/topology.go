package target

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"surecut/internal/endpoint"
)

// mostPasses is how often EachPrimary begins again.
const mostPasses = 1000

// EachPrimary calls f with the address of every primary of the target. Of a cluster it asks before which primaries there are, and asks again
// at the end: if a slot has another primary by then, its keys may not have been seen, and f is called with all addresses once more.
func (ns *nodes) EachPrimary(ctx context.Context, f func(addr string) error) error {
	moves := ns.d.Kind() == endpoint.Cluster && ns.Can.Placement
	if moves {
		if err := ns.awaitTopology(ctx); err != nil {
			return err
		}
	}
	for range mostPasses {
		before := ns.layout()
		for _, addr := range ns.Primaries() {
			if err := f(addr); err != nil {
				return err
			}
		}
		if !moves {
			return nil
		}
		if err := ns.awaitTopology(ctx); err != nil {
			return err
		}
		if ns.layout() == before {
			return nil
		}
	}
	return errors.New("the slots of the target move all the time: wait until they stay where they are, and run the same command again")
}

// WatchSlots asks a cluster which nodes have its slots, since a node that has joined it need not cause any error.
func (ns *nodes) WatchSlots(ctx context.Context) error {
	if ns.d.Kind() != endpoint.Cluster || !ns.Can.Placement {
		return nil
	}
	return ns.RefreshTopology(ctx)
}

// awaitTopology asks the target where its slots are, and waits for one that does not answer.
func (ns *nodes) awaitTopology(ctx context.Context) error {
	return ns.Retry(ctx, func() (again, err error) {
		ns.refresh.Lock()
		defer ns.refresh.Unlock()
		ns.last = time.Now()
		return ns.by.Refresh(ctx), ctx.Err()
	})
}

// layout says which primary has which slots.
func (ns *nodes) layout() string {
	var lines []string
	for _, s := range ns.d.Shards() {
		lines = append(lines, fmt.Sprint(s.Primary.Addr, s.Slots))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
