package target

import (
	"context"
	"fmt"
	"strconv"

	"surecut/internal/endpoint"
)

// Evicted is how many keys a server has evicted since its process was started.
type Evicted struct {
	Process string // its run_id
	Keys    int64
}

// Evicted asks the servers of the target, by their addresses, how many keys they have evicted. It leaves out servers that do not tell, and
// those behind a proxy that do not answer.
func (t *Target) Evicted(ctx context.Context) (map[string]Evicted, error) {
	found := map[string]Evicted{}
	for _, addr := range t.Primaries() {
		c, err := t.d.Client(ctx, addr, 0)
		if err != nil && !t.Can.Nodes && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", addr, err)
		}
		info, err := endpoint.Info(ctx, c, "server", "stats")
		switch keys, failed := strconv.ParseInt(info["evicted_keys"], 10, 64); {
		case err != nil && endpoint.Code(err) == "" && t.Can.Nodes:
			return nil, fmt.Errorf("target %s: %w", addr, err)
		case err == nil && failed == nil:
			found[addr] = Evicted{info["run_id"], keys}
		}
	}
	return found, nil
}

// AwaitEvicted does what Evicted does, and waits for a target that does not answer.
func (t *Target) AwaitEvicted(ctx context.Context) (found map[string]Evicted, err error) {
	err = t.Retry(ctx, func() (again, err error) {
		found, again = t.Evicted(ctx)
		return again, ctx.Err()
	})
	return found, err
}
