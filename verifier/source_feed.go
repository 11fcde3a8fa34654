package verifier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/keyspace"
	"surecut/internal/retry"
	"surecut/internal/writes"
)

// KnownBy says how the writes during a run became known.
type KnownBy string

// Each of these is weaker than the ones before it.
const (
	ByFile        KnownBy = "file"        // the source is files, which nobody writes
	ByReplication KnownBy = "replication" // the stream that the source sends to its replicas
	ByTracking    KnownBy = "tracking"    // CLIENT TRACKING in broadcasting mode
	ByRest        KnownBy = "rest"        // the counters of the source did not change
	ByRereading   KnownBy = "rereading"   // nothing tells of writes: keys were read again after the target
)

// Writes says what was written on the source while it was compared.
type Writes struct {
	KnownBy    KnownBy        `json:"known_by"`   // of several nodes the weakest
	Written    bool           `json:"written"`    // something was written, or may have been written
	Keys       int64          `json:"keys"`       // about how many names were written while both sides were scanned
	Everything bool           `json:"everything"` // a command was run meanwhile that may have changed every key
	Why        string         `json:"why,omitempty"`
	Clients    Clients        `json:"clients"`
	ClientsWhy string         `json:"clients_why,omitempty"`
	Nodes      []NodeOfWrites `json:"nodes"`
}

// NodeOfWrites says what was written on one node of the source.
type NodeOfWrites struct {
	Addr    string  `json:"addr"`
	KnownBy KnownBy `json:"known_by"`
	Why     string  `json:"why,omitempty"` // why nothing better was available
	ReplID  string  `json:"replication_id,omitempty"`
	From    int64   `json:"from_offset"`
	To      int64   `json:"to_offset"`
}

// feedPatience bounds how long the end of a window waits for a node's feed to reach the node's position.
const feedPatience = 10 * time.Second

// sourceFeed follows the nodes of the source to learn which keys are written.
type sourceFeed struct {
	source *side

	mu    sync.Mutex // guards all fields below
	nodes map[string]*nodeFeed
	set   *writes.Set
	first bool // a window has been opened
	wrote bool // something was written in some window
	total Writes
}

// nodeFeed follows one node.
type nodeFeed struct {
	source   *side
	node     *node
	cfg      *Config
	replica  *writes.Replica
	tracking *writes.Tracking
	why      string    // why nothing better was available
	before   *counters // when the window began
	after    *counters // when the window was last ended
	since    *counters // when the run began
}

func newSourceFeed(source *side) *sourceFeed {
	return &sourceFeed{source: source, nodes: map[string]*nodeFeed{}, set: writes.NewSet()}
}

func (f *sourceFeed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.nodes {
		n.close()
	}
}

// begin opens a window with an empty set. It follows nodes that are not followed yet or no longer, and asks each for its position.
func (f *sourceFeed) begin(ctx context.Context) ([]nodePosition, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = writes.NewSet()
	var g errgroup.Group
	for _, n := range f.source.known() {
		nf := f.nodes[n.addr()]
		if nf == nil {
			nf = &nodeFeed{source: f.source, node: n, cfg: f.source.cfg}
			f.nodes[n.addr()] = nf
		}
		g.Go(func() error {
			nf.exchange(f.set)
			nf.follow(ctx, f.set)
			nf.before, _ = countersOf(ctx, n) // where that fails, nothing is known about the window
			if nf.since == nil {
				nf.since = nf.before
			}
			return nil
		})
	}
	_ = g.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var at []nodePosition
	for _, nf := range f.nodes {
		if nf.before != nil && nf.before.position.ReplID != "" {
			at = append(at, nodePosition{nf.node.addr(), nf.before.position})
		}
	}
	return at, nil
}

func (n *nodeFeed) exchange(set *writes.Set) {
	if n.replica != nil {
		n.replica.Exchange(set)
	}
	if n.tracking != nil {
		n.tracking.Exchange(set)
	}
}

// follow makes sure that the node is followed in the best possible way: by its replication stream if it keeps a backlog (without
// one, it would make a snapshot), else by tracking.
func (n *nodeFeed) follow(ctx context.Context, set *writes.Set) {
	if n.replica != nil && n.replica.Lost() == nil || n.tracking != nil && n.tracking.Lost() == nil {
		return
	}
	n.close()
	if err := n.node.breaker.down(ctx, n.node.answers); err != nil { // each attempt would wait for the node
		n.why = err.Error()
		return
	}
	var errs []error
	if conn, err := n.node.dep.DialReplica(ctx, n.node.addr()); err != nil {
		n.why = err.Error()
		return
	} else if n.replica, err = writes.Follow(ctx, conn, set); err != nil {
		errs = append(errs, fmt.Errorf("its replication stream could not be followed: %w", err))
	}
	if n.replica == nil && n.node.facts.Number >= 60000 {
		if conn, err := n.node.dep.DialReplica(ctx, n.node.addr()); err != nil {
			errs = append(errs, err)
		} else if n.tracking, err = writes.Track(ctx, conn, set); err != nil {
			errs = append(errs, fmt.Errorf("it does not report writes: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		n.why = err.Error()
	}
}

func (n *nodeFeed) close() {
	if n.replica != nil {
		n.replica.Close()
	}
	if n.tracking != nil {
		n.tracking.Close()
	}
	n.replica, n.tracking = nil, nil
}

// end asks every node for its present position, and waits until everything up to there is in the set.
func (f *sourceFeed) end(ctx context.Context) (view, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := &sourceView{source: f.source, set: f.set, known: map[string]KnownBy{}, ahead: map[string]bool{}, groups: map[string]bool{}}
	var mu sync.Mutex
	var g errgroup.Group
	for _, nf := range f.nodes {
		g.Go(func() error {
			by := nf.catchUp(ctx, f.set)
			mu.Lock()
			defer mu.Unlock()
			v.known[nf.node.addr()] = by
			v.ahead[nf.node.addr()] = nf.mayFollowTarget(nf.after)
			v.groups[nf.node.addr()] = by == ByTracking && nf.before.groups != nf.after.groups
			return nil
		})
	}
	_ = g.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f.sum(v)
	return v, nil
}

// catchUp waits until everything that the node wrote in the window is in the set, and returns how that became known.
func (n *nodeFeed) catchUp(ctx context.Context, set *writes.Set) KnownBy {
	ctx, cancel := context.WithTimeoutCause(ctx, feedPatience, errors.New("it did not arrive in time"))
	defer cancel()
	after, err := n.standsNow(ctx, set)
	n.after = after
	if n.before == nil || err != nil || n.before.info["run_id"] != after.info["run_id"] {
		return ByRereading
	}
	switch {
	case n.replica != nil:
		if n.replica.Await(ctx, after.position.Offset) == nil && n.before.position.ReplID == after.position.ReplID {
			return ByReplication
		}
	case n.tracking != nil:
		// Tracking need not tell of SWAPDB and of hash fields that expire.
		untold := n.before.swaps != after.swaps || after.writes == "" || n.before.info["expired_subkeys"] != after.info["expired_subkeys"] ||
			n.before.info["expired_fields"] != after.info["expired_fields"]
		if n.tracking.Await(ctx) == nil {
			if untold {
				set.AddAll("SWAPDB may have been run, or fields of hashes have expired")
			}
			return ByTracking
		}
	}
	if atRest(n.before, after) {
		return ByRest
	}
	return ByRereading
}

// standsNow asks the node for its counters and position. A replica must first have reached its primary's position: if the target is
// fed from the primary, it may be ahead of the replica, and a write that only the target has would not be in the set. During a
// migration the target is fed from the node that is read, and cannot be ahead of it.
func (n *nodeFeed) standsNow(ctx context.Context, set *writes.Set) (*counters, error) {
	stands, err := countersOf(ctx, n.node)
	if err != nil || !n.mayFollowTarget(stands) {
		return stands, err
	}
	if err := n.reachPrimary(ctx); err != nil {
		set.AddAll(fmt.Sprintf("the replica %s was read, but it is not known whether it holds all that its primary holds: %v", n.node.addr(), err))
		return stands, nil
	}
	return countersOf(ctx, n.node)
}

// reachPrimary waits until a replica holds all that its primary holds now. If the primary is not known, the replica is given the
// time that the target may lag.
func (n *nodeFeed) reachPrimary(ctx context.Context) error {
	if n.node.follows == "" {
		return retry.Pause(ctx, max(n.cfg.Interval, leastLead))
	}
	return n.source.current(ctx, n.node.addr(), n.node.follows)
}

// mayFollowTarget says whether the target may hold writes that the node does not have yet: the node is a replica, and the target is
// fed from its primary.
func (n *nodeFeed) mayFollowTarget(c *counters) bool {
	return n.cfg.Applier == nil && (c == nil || c.info["role"] == "slave")
}

// sum adds the end of a window to what is reported. The caller holds mu.
func (f *sourceFeed) sum(v *sourceView) {
	if !v.still() {
		f.wrote = true
	}
	if f.first { // the figures are those of the scan, which is the first window
		return
	}
	f.first = true
	f.total.Keys = v.set.Keys()
	f.total.Why = v.set.All()
	f.total.Everything = f.total.Why != ""
}

// report returns what was written on the source.
func (f *sourceFeed) report() *Writes {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.total
	w.Written, w.KnownBy = f.wrote, ByReplication
	w.Nodes = []NodeOfWrites{}
	for _, addr := range sortedKeys(f.nodes) {
		n := f.nodes[addr]
		by := n.knownBy()
		if strength[by] < strength[w.KnownBy] {
			w.KnownBy = by
		}
		out := NodeOfWrites{Addr: addr, KnownBy: by}
		if by != ByReplication {
			out.Why = n.why
		}
		if n.since != nil && n.after != nil {
			out.ReplID, out.From = n.after.position.ReplID, n.since.position.Offset
			out.To = n.after.position.Offset
		}
		w.Nodes = append(w.Nodes, out)
	}
	return &w
}

var strength = map[KnownBy]int{ByReplication: 3, ByTracking: 2, ByRest: 1}

func (n *nodeFeed) knownBy() KnownBy {
	switch {
	case n.replica != nil && n.replica.Lost() == nil:
		return ByReplication
	case n.tracking != nil && n.tracking.Lost() == nil:
		return ByTracking
	case atRest(n.since, n.after):
		return ByRest
	}
	return ByRereading
}

// sourceView says what was written in one window up to one end of it.
type sourceView struct {
	source *side
	set    *writes.Set
	known  map[string]KnownBy // by address of the node
	groups map[string]bool    // by node: groups of some stream were changed, of which stream is not known
	ahead  map[string]bool    // by node: the target may be ahead, so that reading the node again does not show what its primary has written
}

func (v *sourceView) writing(name string, t keyspace.Type) writing {
	if v.set.Has(name) {
		return written
	}
	n, err := v.source.nodeOf(name)
	if err != nil {
		return untold
	}
	switch v.known[n.addr()] {
	case "", ByRereading:
		if v.ahead[n.addr()] {
			return written
		}
		return untold
	}
	if t == keyspace.Stream && v.groups[n.addr()] {
		return written
	}
	return unwritten
}

func (v *sourceView) still() bool {
	for _, by := range v.known {
		if by == ByRereading {
			return false
		}
	}
	for _, changed := range v.groups {
		if changed {
			return false
		}
	}
	return v.set.All() == "" && v.set.Keys() == 0
}
