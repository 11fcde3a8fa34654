package target

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/waiting"
)

// Target is the deployment that a migration writes to. All its writers share it.
type Target struct {
	*nodes
	limits
	way       way
	Witnesses *Witnesses // keys that show whether the target has lost its keys
	Expiring  *Expiring  // keys that may have expired on the target

	left *leftBehind // connections that were closed
}

// Over returns a target with known facts that is written by a way of its own, such as one in memory. Open finds facts and way out.
func Over(w way, f Facts, lanes int) *Target {
	t := newTarget(&nodes{Facts: f, d: &endpoint.Deployment{}, lanes: lanes}, newLimits(0, 0))
	t.goBy(w)
	return t
}

func newTarget(ns *nodes, l limits) *Target {
	return &Target{nodes: ns, limits: l, Witnesses: newWitnesses(ns), Expiring: newExpiring(ns), left: newLeftBehind(ns)}
}

// way is how a target is written: node by node, or through a proxy. Its constructors are openDirect and openProxied.
type way interface {
	route
	NewWriter(of Writing) Writer
}

// goBy sets the way to the target.
func (t *Target) goBy(w way) { t.way, t.by = w, w }

// Config configures a target.
type Config struct {
	Target    *endpoint.Deployment
	Source    *endpoint.Deployment // decides on the commands that come
	StateDir  string
	ID        string        // of the migration
	Lanes     int           // number of lanes of each link
	RetryFor  time.Duration // how long a target that does not answer is tried again
	RateBytes int64         // per second; 0: unlimited
	RateOps   int64         // per second; 0: unlimited
	Waits     *waiting.Book // what is waited for; may be nil
	Log       *slog.Logger
}

// Open opens the target of a migration. It writes nothing to it, except through a proxy a few keys that it deletes at once.
func Open(ctx context.Context, cfg Config) (*Target, error) {
	d := cfg.Target
	t := newTarget(&nodes{Facts: Facts{Cluster: d.Sharded(), DBs: d.Databases()}, d: d, id: cfg.ID, lanes: cfg.Lanes, log: cfg.Log, retryFor: cfg.RetryFor, waits: cfg.Waits},
		newLimits(cfg.RateBytes, cfg.RateOps))
	var err error
	if t.Claim, err = newClaim(t.nodes, t.left, cfg.StateDir); err != nil {
		return nil, err
	}
	if d.Kind() == endpoint.Codis || d.Spec().ViaProxy {
		return t, t.openProxied(ctx, cfg.Source)
	}
	return t, t.openDirect(ctx, cfg.Source)
}

// NewWriter returns a writer for a link.
func (t *Target) NewWriter(of Writing) Writer { return t.way.NewWriter(of) }

// NewCheckpoints returns the checkpoints of a link. Until Resume was called, they find no fault with any server.
func (t *Target) NewCheckpoints(link string) *Checkpoints {
	return &Checkpoints{nodes: t.nodes, left: t.left, link: link}
}

// Everywhere runs one command on every primary of the target. The error is a RefusedError if the target refuses the command for good, and
// the run may go on without it.
func (t *Target) Everywhere(ctx context.Context, args []string) error {
	done := map[string]bool{}
	return t.EachPrimary(ctx, func(addr string) error {
		if done[addr] {
			return nil
		}
		_, err := t.ask(ctx, addr, args...)
		done[addr] = err == nil
		return err
	})
}

// ask runs a command that belongs to no key on one node, and repeats it where the target may recover. Its error is that of Everywhere.
func (t *Target) ask(ctx context.Context, addr string, args ...string) (reply rueidis.RedisMessage, err error) {
	err = t.Retry(ctx, func() (again, err error) {
		var refused error
		err = t.fenced(ctx, addr, t.OwnDB(), func(c connection) (err error) {
			reply, err = c.Do(ctx, arbitrary(c, args...)).ToMessage()
			if consequenceOf(err, toFollow) == concernsKey {
				refused, err = &RefusedError{addr, err}, nil
			}
			return err
		})
		if refused != nil {
			return nil, refused
		}
		return AgainOrEnd(addr, err)
	})
	return reply, err
}
