package quiet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/retry"
)

// Pause is a pause of the writes to a source. As long as it lasts, it watches which clients try to write: their commands wait, so that
// they leave neither a call nor a change, and a client that gives up leaves nothing at all.
type Pause struct {
	d        *endpoint.Deployment
	most     time.Duration
	nodes    []*pausedNode
	stop     context.CancelFunc // ends the watching
	watching sync.WaitGroup
}

// pausedNode is one primary whose writes are paused.
type pausedNode struct {
	addr    string
	begun   time.Time      // just before the pause
	waiting map[int64]bool // IDs of the clients that waited for data before the pause

	mu    sync.Mutex // guards the fields below
	held  map[int64]Client
	blind error // why CLIENT LIST did not tell at some moment who waits; nil: it always did
}

const (
	// lookEvery is how often a paused node is asked for its clients, so that one that gives up after a fraction of a second is seen.
	lookEvery = 100 * time.Millisecond
	// lookPerClient makes this rarer where there are many clients, since the server formats a line for each; lookAtLeast bounds that.
	lookPerClient = 100 * time.Microsecond
	lookAtLeast   = 500 * time.Millisecond
	// lookTimeout bounds the wait for one answer.
	lookTimeout = 5 * time.Second
	// mostHeld bounds how many clients of a node are told apart.
	mostHeld = 1000
)

// pauseSince is the version that introduced CLIENT PAUSE ... WRITE and CLIENT UNPAUSE. Before it, a pause also stops clients that
// only read, including surecut.
const pauseSince = 60200

// CanPause returns an error that says why the writes of a deployment cannot be held back. It is called before a migration begins,
// so that this does not turn out hours later, when the data is compared. Where the user's permissions cannot be asked for (ACL
// DRYRUN exists since 7.0), they are assumed.
//
// It also returns an error if sentinels might take a server for dead in a pause that lasts for most, and fail it over.
func CanPause(ctx context.Context, d *endpoint.Deployment, most time.Duration) error {
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
		clients, err := listClients(ctx, d, addr)
		if err != nil {
			return fmt.Errorf("%s: CLIENT LIST: %w; without it, nobody would see which clients wait to write, so grant +client|list, or stop the writers yourself", addr, err)
		}
		if err := sparedBySentinels(d, clients, most); err != nil {
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

// leastDown stands for down-after-milliseconds of sentinels that cannot be asked.
const leastDown = 5 * time.Second

// sparedBySentinels returns an error if sentinels that watch a server might take it for dead in a pause. A pause holds PUBLISH back,
// by which sentinels announce themselves every two seconds, over the connection on which they also send PING: they get no answer until
// it ends. Half of the time that they wait is left to them.
func sparedBySentinels(d *endpoint.Deployment, clients []Client, most time.Duration) error {
	watched := d.Spec().Kind == endpoint.Sentinel || slices.ContainsFunc(clients, func(c Client) bool {
		return strings.HasPrefix(c.Name, "sentinel-") && strings.HasSuffix(c.Name, "-cmd")
	})
	var down time.Duration
	for _, v := range d.Sentinels() {
		if v.Down > 0 && (down == 0 || v.Down < down) {
			down = v.Down
		}
	}
	switch {
	case !watched, down > 0 && most <= down/2, down == 0 && most <= leastDown/2:
		return nil
	case down == 0:
		return fmt.Errorf("sentinels watch it, and a pause also holds back their messages, so they might fail it over in a pause of %v; name the source as redis+sentinel://, so that they can be asked how long they wait, "+
			"pause for at most %v, or stop the writers yourself", most, leastDown/2)
	}
	return fmt.Errorf("sentinels watch it, and a pause also holds back their messages: they would fail it over in a pause of %v, because they wait for %v (down-after-milliseconds); "+
		"pause for at most %v, have them wait for longer, or stop the writers yourself", most, down, down/2)
}

// PauseWrites holds the writes back on every primary, for the given time at most: after that each server continues by itself,
// whatever happens to surecut. If it returns an error, nothing is paused.
func PauseWrites(ctx context.Context, d *endpoint.Deployment, most time.Duration) (*Pause, error) {
	if err := CanPause(ctx, d, most); err != nil {
		return nil, err
	}
	watched, stop := context.WithCancel(ctx)
	p := &Pause{d: d, most: most, stop: stop}
	for _, s := range d.Shards() {
		if err := p.pause(ctx, watched, s.Primary.Addr); err != nil {
			return nil, errors.Join(err, p.End())
		}
	}
	return p, nil
}

// pause holds the writes of one primary back, and begins to watch its clients.
func (p *Pause) pause(ctx, watched context.Context, addr string) error {
	clients, err := listClients(ctx, p.d, addr)
	if err != nil {
		return fmt.Errorf("%s: CLIENT LIST: %w", addr, err)
	}
	n := &pausedNode{addr: addr, begun: time.Now(), waiting: map[int64]bool{}, held: map[int64]Client{}}
	for _, c := range clients {
		if c.blocked() && waitsForData(c.Command) {
			n.waiting[c.id] = true
		}
	}
	p.nodes = append(p.nodes, n)
	if err := p.send(ctx, addr, "CLIENT", "PAUSE", strconv.FormatInt(p.most.Milliseconds(), 10), "WRITE"); err != nil {
		return err
	}
	p.watching.Go(func() {
		for next := time.Duration(0); retry.Pause(watched, next) == nil; {
			next = min(max(lookEvery, time.Duration(n.look(watched, p.d))*lookPerClient), lookAtLeast)
		}
	})
	return nil
}

// look notes the clients whose writes are held back at present, and returns how many clients there are.
func (n *pausedNode) look(ctx context.Context, d *endpoint.Deployment) int {
	asked := time.Now()
	within, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	clients, err := listClients(within, d, n.addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil && ctx.Err() == nil && n.blind == nil {
		n.blind = err
	}
	for _, c := range held(clients, n.waiting, asked.Sub(n.begun)) {
		if len(n.held) < mostHeld {
			n.held[c.id] = c
		}
	}
	return len(clients)
}

// Nodes returns the addresses of the servers that are paused.
func (p *Pause) Nodes() (addrs []string) {
	for _, n := range p.nodes {
		addrs = append(addrs, n.addr)
	}
	return addrs
}

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
	p.stop()
	p.watching.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var errs []error
	for _, addr := range p.Nodes() {
		if err := p.send(ctx, addr, "CLIENT", "UNPAUSE"); err != nil {
			errs = append(errs, fmt.Errorf("%w; the pause ends by itself %v after its beginning", err, p.most))
		}
	}
	return errors.Join(errs...)
}

// Judge records the pause in a report. A node is not quiet if a client has tried to write since the pause began, because it writes, or
// tries again, as soon as the pause ends; nor if that is not known. found says that the pause has shown such a node: a further
// comparison within the same pause would show nothing else.
func (p *Pause) Judge(ctx context.Context, r *Report) (found bool) {
	r.PausedMs = p.most.Milliseconds()
	for _, n := range p.nodes {
		n.look(ctx, p.d)
		reason, waiting := n.judge(p.most)
		if reason == "" {
			continue
		}
		found, r.Quiet = true, false
		for i := range r.Nodes {
			if told := &r.Nodes[i]; told.Addr == n.addr && told.Reason == "" {
				told.Reason, told.Writers = reason, waiting
			}
		}
	}
	return found
}

func (n *pausedNode) judge(most time.Duration) (reason string, waiting []Client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case len(n.held) > 0:
		waiting = slices.SortedFunc(maps.Values(n.held), func(a, b Client) int { return cmp.Compare(a.id, b.id) })
		return fmt.Sprintf("its writes are paused, but %d of its clients are waiting to write as soon as the pause ends, or have tried to", len(waiting)), waiting[:min(mostWriters, len(waiting))]
	case n.blind != nil:
		return "its writes are paused, and it is not known whether clients are waiting to write as soon as the pause ends, because CLIENT LIST failed: " + strings.TrimSuffix(n.blind.Error(), "."), nil
	case time.Since(n.begun) >= most:
		return fmt.Sprintf("its writes were paused for %v, which ended before the comparison and the quiet time after it did; allow a longer pause", most), nil
	}
	return "", nil
}
