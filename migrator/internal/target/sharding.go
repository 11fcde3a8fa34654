package target

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

const probes = 64

// errSharding says that a proxy looks for keys on other servers than surecut would write them to.
var errSharding = errors.New("the proxy puts keys on other servers than hash, distribution, tag, weights and names in the URL say: correct them, or name the proxy's own configuration file with ?config=")

// ProveSharding checks that a twemproxy looks for keys on the servers to which surecut writes them directly: it sets keys through the
// proxy, and looks for each on its server. A proxy that cannot be reached is no reason to stop.
func (t *Target) ProveSharding(ctx context.Context) error {
	if t.d.Kind() != endpoint.Twemproxy {
		return nil
	}
	addr, err := t.d.Proxy(ctx)
	if err != nil {
		t.log.Warn("the proxy of the target does not answer, so it is not proven that it looks for keys on the servers to which they are written", "error", err)
		return nil
	}
	proxy, err := t.d.Client(ctx, addr, 0)
	if err != nil {
		return err
	}
	names := make([]string, probes)
	set := make([]rueidis.Completed, probes)
	unset := make([]rueidis.Completed, probes)
	for i := range names {
		names[i] = keyspace.ProbePrefix + t.id + ":" + strconv.Itoa(i)
		set[i] = arbitrary(proxy, "SET", names[i], "", "EX", "60")
		unset[i] = arbitrary(proxy, "DEL", names[i])
	}
	for _, r := range proxy.DoMulti(ctx, set...) {
		if err := r.Error(); err != nil {
			return fmt.Errorf("target %s: set a key through the proxy: %w", addr, err)
		}
	}
	found := t.findProbes(ctx, names)
	for _, r := range proxy.DoMulti(ctx, unset...) {
		if err := r.Error(); err != nil {
			return errors.Join(found, fmt.Errorf("target %s: delete a key through the proxy: %w", addr, err))
		}
	}
	return found
}

func (t *Target) findProbes(ctx context.Context, names []string) error {
	for _, name := range names {
		n, _ := t.d.PrimaryOf(t.Slot(name))
		c, err := t.d.Client(ctx, n.Addr, t.OwnDB())
		if err != nil {
			return fmt.Errorf("target %s: %w", n.Addr, err)
		}
		there, err := c.Do(ctx, arbitrary(c, "EXISTS", name)).AsInt64()
		if err != nil {
			return fmt.Errorf("target %s: %w", n.Addr, err)
		}
		if there == 0 {
			return fmt.Errorf("target %s: key %s is not there: %w", n.Addr, name, errSharding)
		}
	}
	return nil
}
