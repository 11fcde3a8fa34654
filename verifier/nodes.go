package verifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/retry"
)

const (
	catchUpPatience  = 10 * time.Second // how long a replica may take to reach what its primary holds
	replicaSilence   = 30               // seconds without a word from the primary after which a link counts as lost, whatever its status is
	longestReplicate = 8                // how many replicas of replicas are followed to their primary
)

// choose picks the node of a shard that is read. A replica is picked only where replicas were asked for and it holds all that its
// primary holds; otherwise the primary is, and the report says why.
func (r *roster) choose(ctx context.Context, shard endpoint.Shard) (*node, error) {
	if reads, ok := r.cfg.readByLink(shard); ok && r.name == endpoint.Source {
		return r.nodeOfLink(ctx, reads, shard.Primary.Addr)
	}
	named, err := newNode(ctx, r.dep, shard.Primary.Addr, shard.Primary.Addr, r.cfg)
	if err != nil {
		return nil, err
	}
	n, candidates := named, r.replicasOf(shard)
	if n.facts.Role == "slave" && r.dep.Spec().Proxy == "" { // the address alone does not tell whether the server there is a primary
		candidates = []string{n.addr()}
		if n, err = r.primaryOf(ctx, n); err != nil {
			return nil, err
		}
		if n == named { // its primary could not be read
			return n, nil
		}
	}
	if r.name == endpoint.Source && r.cfg.ReadFrom == FromReplica {
		if replica := r.replicaOf(ctx, n, candidates, shard); replica != nil {
			return replica, nil
		}
		r.note("The shard of %s has no replica that can be read, so its primary was read.", n.addr())
	}
	if n != named {
		r.note("The %s %s is a replica; its primary %s was read instead.", r.name, named.addr(), n.addr())
	}
	return n, nil
}

// replicaOf returns the first of a primary's replicas that may be read in its place. It returns nil where there is none, and the report
// says why.
func (r *roster) replicaOf(ctx context.Context, primary *node, candidates []string, shard endpoint.Shard) *node {
	for _, addr := range candidates {
		if err := r.current(ctx, addr, primary.addr()); err != nil {
			r.note("The replica %s of the source was not read: %v.", addr, err)
			continue
		}
		replica, err := newNode(ctx, r.dep, addr, shard.Primary.Addr, r.cfg)
		if err != nil {
			r.note("The replica %s of the source was not read: %v.", addr, err)
			continue
		}
		if r.takesWrites(ctx, addr) {
			r.note("The replica %s of the source was not read: it accepts writes itself (replica-read-only is no).", addr)
			continue
		}
		replica.follows = primary.addr()
		return replica
	}
	return nil
}

// readByLink returns the address of the node whose offsets the migration's link counts, if the shard has a link.
func (o *Config) readByLink(shard endpoint.Shard) (string, bool) {
	if o.Applier != nil {
		for _, link := range o.Applier.Links() {
			if link.Shard == shard.Primary.Addr {
				return link.Reads, true
			}
		}
	}
	return "", false
}

// nodeOfLink returns the node that a migration replicates from, which must be read because the link counts its offsets. Where it is
// a replica, its keys are those of the primary only if it has followed the primary to the end and has taken no writes of its own. It must
// hold from the beginning what the primary holds: a write that reaches it after the last window would not be compared.
func (r *roster) nodeOfLink(ctx context.Context, addr, primary string) (*node, error) {
	n, err := newNode(ctx, r.dep, addr, primary, r.cfg)
	if err != nil || n.facts.Role != "slave" {
		return n, err
	}
	info, err := n.info(ctx)
	if err != nil {
		return nil, err
	}
	n.follows = endpoint.PrimaryNamedIn(info)
	if endpoint.TakesWrites(info) {
		r.short.add("%s %s, from which the migration replicates, is a replica of %s that accepts writes itself (replica-read-only is no), so it may hold data that its primary does not have",
			r.name, addr, n.follows)
	}
	if err := r.current(ctx, addr, n.follows); err != nil {
		r.short.add("%s %s, from which the migration replicates, is a replica of %s, but %v; it is not known whether it holds all that its primary holds",
			r.name, addr, n.follows, err)
	}
	return n, ctx.Err()
}

// takesWrites says that a replica is known to accept writes from clients.
func (r *roster) takesWrites(ctx context.Context, addr string) bool {
	info, err := r.replication(ctx, addr)
	return err == nil && endpoint.TakesWrites(info)
}

// replicasOf returns the addresses of a shard's replicas. The replicas of a single server are those that the server itself names.
func (r *roster) replicasOf(shard endpoint.Shard) (addrs []string) {
	for _, replica := range shard.Replicas {
		addrs = append(addrs, replica.Addr)
	}
	if len(addrs) > 0 {
		return addrs
	}
	for _, m := range r.who {
		if m.Role == endpoint.RoleReplica && m.Primary == shard.Primary.Addr {
			addrs = append(addrs, m.Addr)
		}
	}
	return addrs
}

// primaryOf follows a replica to its primary, which is read in its place: a replica may be behind, and one that takes writes may
// hold keys of its own. Where the primary cannot be read, the replica is read, and the enumeration of the side counts as possibly
// incomplete.
func (r *roster) primaryOf(ctx context.Context, replica *node) (*node, error) {
	at := replica
	for range longestReplicate {
		info, err := at.info(ctx)
		if err != nil {
			return nil, err
		}
		if info["role"] != "slave" {
			if len(r.chain) > 0 {
				r.chain = append(r.chain, endpoint.Member{Addr: at.addr(), RunID: at.facts.RunID, Role: endpoint.RolePrimary})
			}
			return at, nil
		}
		primary := endpoint.PrimaryNamedIn(info)
		if at != replica {
			link := endpoint.LinkDown
			if info["master_link_status"] == "up" {
				link = endpoint.LinkUp
			}
			r.chain = append(r.chain, endpoint.Member{Addr: at.addr(), RunID: at.facts.RunID, Role: endpoint.RoleReplica, Link: link, Primary: primary})
		}
		next, err := newNode(ctx, r.dep, primary, replica.primary, r.cfg)
		if err != nil {
			r.short.add("%s %s is a replica of %s, which could not be read instead (%v); it is not known whether the replica holds all that its primary holds",
				r.name, replica.addr(), primary, err)
			return replica, ctx.Err()
		}
		at = next
	}
	return nil, fmt.Errorf("%s is the first of a chain of %d replicas that does not lead to a primary", replica.addr(), longestReplicate)
}

// current returns nil once a replica holds all that its primary held at the time of the call, else an error that says why that is
// not known.
func (r *roster) current(ctx context.Context, replica, primary string) error {
	wanted, err := r.replication(ctx, primary)
	if err != nil {
		return fmt.Errorf("its primary %s did not report its offset: %w", primary, err)
	}
	for deadline := time.Now().Add(catchUpPatience); ; {
		found, err := r.replication(ctx, replica)
		if err != nil {
			return fmt.Errorf("it did not report its offset: %w", err)
		}
		behind, err := replicaStanding{Primary: wanted, Replica: found}.behind()
		if err != nil || behind <= 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it is %d bytes behind its primary %s, and has not caught up within %v", behind, primary, catchUpPatience)
		}
		if err := retry.Pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// replication asks a server for INFO replication.
func (r *roster) replication(ctx context.Context, addr string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Silence)
	defer cancel()
	client, err := r.dep.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	return endpoint.Info(ctx, client, "replication")
}

// replicaStanding is the reply of INFO replication from a replica and from the server that it should follow.
type replicaStanding struct{ Primary, Replica map[string]string }

// behind returns how many bytes of the stream the replica lacks. An error says why it does not follow.
func (s replicaStanding) behind() (int64, error) {
	r := s.Replica
	if s.Primary["role"] == "slave" {
		return 0, errors.New("its primary has become a replica")
	}
	if r["role"] != "slave" {
		return 0, errors.New("it is no longer a replica")
	}
	if r["master_link_status"] != "up" {
		return 0, errors.New("its connection to the primary is down")
	}
	if r["master_sync_in_progress"] == "1" {
		return 0, errors.New("it is being synchronised from its primary")
	}
	if silent, err := strconv.Atoi(r["master_last_io_seconds_ago"]); err != nil || silent < 0 || silent > replicaSilence {
		return 0, fmt.Errorf("it has received nothing from its primary for %s seconds", r["master_last_io_seconds_ago"])
	}
	if own, theirs := r["master_replid"], s.Primary["master_replid"]; own != theirs {
		return 0, fmt.Errorf("it replicates another stream (ID %s) than its primary has (%s)", own, theirs)
	}
	wanted, err1 := strconv.ParseInt(s.Primary["master_repl_offset"], 10, 64)
	has, err2 := strconv.ParseInt(r["slave_repl_offset"], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("its offset is not known: %w", err)
	}
	return wanted - has, nil
}

// note adds a sentence to the report.
func (r *roster) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// notesSoFar returns the sentences that were added to the report.
func (r *roster) notesSoFar() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.notes)
}

// isPrimary returns an error if the side is read from a replica: repairs must not be written to a server other than the one that
// was named.
func (r *roster) isPrimary() error {
	for _, n := range r.known() {
		if n.addr() != n.primary || n.facts.Role == "slave" {
			return fmt.Errorf("%s %s is a replica; name its primary, which accepts writes", r.name, n.primary)
		}
	}
	return nil
}
