package quiet

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"surecut/internal/endpoint"
)

// Pause is a pause of the writes to a source.
type Pause struct {
	d     *endpoint.Deployment
	addrs []string
	begun time.Time
	most  time.Duration
}

// pauseSince is the version that introduced CLIENT PAUSE ... WRITE and CLIENT UNPAUSE. Before it, a pause also stops clients that
// only read, including surecut.
const pauseSince = 60200

// CanPause returns an error that says why the writes of a deployment cannot be held back. It is called before a migration begins,
// so that this does not turn out hours later, when the data is compared. Where the user's permissions cannot be asked for (ACL
// DRYRUN exists since 7.0), they are assumed.
func CanPause(ctx context.Context, d *endpoint.Deployment) error {
	for _, s := range d.Shards() {
		addr := s.Primary.Addr
		facts, err := d.Server(ctx, addr)
		if err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
		if facts.Number < pauseSince {
			return fmt.Errorf("%s is %s %s, but pausing only the writes needs 6.2 or later; stop the writers yourself", addr, facts.Flavor, facts.Version)
		}
		c, err := d.Client(ctx, addr, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
		user, err := c.Do(ctx, c.B().Arbitrary("ACL", "WHOAMI").Build()).ToString()
		if err != nil {
			continue
		}
		for _, args := range [][]string{{"CLIENT", "PAUSE", "1", "WRITE"}, {"CLIENT", "UNPAUSE"}} {
			answer, err := c.Do(ctx, c.B().Arbitrary("ACL", "DRYRUN", user).Args(args...).Build()).ToString()
			if err == nil && answer != "OK" {
				return fmt.Errorf("%s: user %s may not run CLIENT %s; grant +client|pause and +client|unpause, or stop the writers yourself", addr, user, args[1])
			}
		}
	}
	return nil
}

// PauseWrites holds the writes back on every primary, for the given time at most: after that each server continues by itself,
// whatever happens to surecut. If it returns an error, nothing is paused.
func PauseWrites(ctx context.Context, d *endpoint.Deployment, most time.Duration) (*Pause, error) {
	p := &Pause{d: d, begun: time.Now(), most: most}
	if err := CanPause(ctx, d); err != nil {
		return nil, err
	}
	for _, s := range d.Shards() {
		p.addrs = append(p.addrs, s.Primary.Addr)
		if err := p.send(ctx, s.Primary.Addr, "CLIENT", "PAUSE", strconv.FormatInt(most.Milliseconds(), 10), "WRITE"); err != nil {
			return nil, errors.Join(err, p.End())
		}
	}
	return p, nil
}

// Nodes returns the addresses of the servers that are paused.
func (p *Pause) Nodes() []string { return p.addrs }

func (p *Pause) send(ctx context.Context, addr string, args ...string) error {
	c, err := p.d.Client(ctx, addr, 0)
	if err == nil {
		err = c.Do(ctx, c.B().Arbitrary(args...).Build()).Error()
	}
	if err != nil {
		return fmt.Errorf("%s: %s %s: %w", addr, args[0], args[1], err)
	}
	return nil
}

// End lets the writes continue. It ignores the context of the run, because a source must not stay paused when a signal ends the
// run.
func (p *Pause) End() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var errs []error
	for _, addr := range p.addrs {
		if err := p.send(ctx, addr, "CLIENT", "UNPAUSE"); err != nil {
			errs = append(errs, fmt.Errorf("%w; the pause ends by itself %v after its beginning", err, p.most))
		}
	}
	return errors.Join(errs...)
}

// Judge records the pause in a report, and adds that clients whose writes are held back will write as soon as the pause ends: such a node is not quiet.
func (p *Pause) Judge(ctx context.Context, r *Report) {
	r.PausedMs = p.most.Milliseconds()
	for i := range r.Nodes {
		n := &r.Nodes[i]
		text, err := clientList(ctx, p.d, n.Addr)
		if err != nil || n.Reason != "" {
			continue
		}
		if waiting := held(parseClients(text), time.Since(p.begun)); len(waiting) > 0 {
			r.Quiet = false
			n.Reason = fmt.Sprintf("its writes are paused, but %d of its clients are waiting to write as soon as the pause ends", len(waiting))
			n.Writers = waiting[:min(mostWriters, len(waiting))]
		}
	}
}
