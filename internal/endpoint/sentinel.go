package endpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// sentinelTimeout bounds how long one sentinel, or the primary that it names, may take to answer. Others are asked meanwhile.
const sentinelTimeout = 3 * time.Second

// SentinelView is what one sentinel says about the group that the endpoint names.
type SentinelView struct {
	Addr     string
	Err      error         // the sentinel does not answer, or does not know the group; then the other fields are empty
	Primary  string        // address of the primary
	Flags    string        // of the primary as the sentinel sees it: "master", "master,s_down", "master,o_down,failover_in_progress"
	Epoch    int64         // epoch of its configuration: a newer one knows of a later failover
	Down     time.Duration // how long the primary may leave it without a valid reply before it counts as down (down-after-milliseconds); 0: it does not say
	Quorum   int           // how many sentinels must agree that the primary is down
	Peers    []string      // the other sentinels of the group
	Replicas []SentinelReplica
}

// SentinelReplica is one replica as a sentinel sees it.
type SentinelReplica struct {
	Addr     string
	Flags    string // "slave", "slave,s_down,disconnected"
	Role     string // the role that it reports: "slave", or "master" for a former primary that was not told yet
	Priority int    // replica-priority; a replica with 0 is never promoted
}

// Fit says whether the sentinel sees the replica at work. A replica on port 0, such as surecut itself, is no server.
func (r SentinelReplica) Fit() bool {
	if strings.HasSuffix(r.Addr, ":0") || r.Role == "master" {
		return false
	}
	for flag := range strings.SplitSeq(r.Flags, ",") {
		switch flag {
		case "s_down", "o_down", "disconnected", "master_down":
			return false
		}
	}
	return true
}

// Sentinels returns what each sentinel said at the last discovery: first the sentinels that the URL names, then those that they
// know. It is empty unless the endpoint is of kind Sentinel.
func (d *Deployment) Sentinels() []SentinelView {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.views)
}

// refreshSentinel asks every known sentinel and takes the primary that the newest configuration names, provided that the server
// itself says that it is a primary: a sentinel that was cut off may name one that has been replaced.
func (d *Deployment) refreshSentinel(ctx context.Context) error {
	views := d.askSentinels(ctx)
	d.mu.Lock()
	d.views = views
	known := d.shards != nil
	d.mu.Unlock()
	answers := slices.Clone(views)
	slices.SortStableFunc(answers, func(a, b SentinelView) int { return cmp.Compare(b.Epoch, a.Epoch) })
	var errs []error
	tried := map[string]bool{}
	for _, v := range answers {
		switch {
		case v.Err != nil:
			errs = append(errs, v.Err)
			continue
		case tried[v.Primary]:
			continue
		}
		tried[v.Primary] = true
		if err := d.verifyPrimary(ctx, v); err != nil {
			errs = append(errs, err)
			continue
		}
		if !known {
			if err := d.firstLook(ctx, v); err != nil {
				return err
			}
		}
		shard := Shard{Primary: Node{Addr: v.Primary}}
		for _, r := range v.Replicas {
			if r.Fit() && r.Addr != v.Primary {
				shard.Replicas = append(shard.Replicas, Node{Addr: r.Addr})
			}
		}
		slices.SortFunc(shard.Replicas, func(a, b Node) int { return cmp.Compare(a.Addr, b.Addr) })
		d.mu.Lock()
		d.shards, d.owners = []Shard{shard}, nil
		d.mu.Unlock()
		return nil
	}
	return fmt.Errorf("%s: no sentinel leads to a primary: %w", d.spec, errors.Join(errs...))
}

// firstLook checks once what the URL says about the data servers.
func (d *Deployment) firstLook(ctx context.Context, v SentinelView) error {
	cluster, err := d.clusterEnabled(ctx, v.Primary)
	if err != nil {
		return err
	}
	if cluster {
		return fmt.Errorf("%s, which sentinel %s names, is a node of a cluster; name it as redis+cluster://%s (%w)", v.Primary, v.Addr, v.Primary, errKind)
	}
	if d.spec.DB > 0 {
		if _, err := d.Client(ctx, v.Primary, d.spec.DB); err != nil {
			return err
		}
	}
	return nil
}

// verifyPrimary asks the server itself whether it is the primary.
func (d *Deployment) verifyPrimary(ctx context.Context, v SentinelView) error {
	ctx, cancel := context.WithTimeout(ctx, sentinelTimeout)
	defer cancel()
	named := fmt.Sprintf("sentinel %s names %s as the primary of %s", v.Addr, v.Primary, d.spec.MasterName)
	c, err := d.clientWithin(ctx, v.Primary)
	if err != nil {
		return fmt.Errorf("%s: %w", named, err)
	}
	info, err := Info(ctx, c, "replication")
	switch {
	case Code(err) == "NOPERM":
		return nil // nothing is known, so the sentinel is believed
	case err != nil:
		return fmt.Errorf("%s: ask it for its role: %w", named, err)
	case info["role"] == "slave":
		return fmt.Errorf("%s, which is a replica of %s", named, PrimaryNamedIn(info))
	case info["role"] != "master":
		return fmt.Errorf("%s, whose role is %q", named, info["role"])
	}
	return nil
}

// clientWithin is Client, but makes its connection within the time of the context.
func (d *Deployment) clientWithin(ctx context.Context, addr string) (rueidis.Client, error) {
	d.mu.Lock()
	c, ok := d.clients[clientKey{addr: addr}]
	d.mu.Unlock()
	if ok {
		return c, nil
	}
	conn, err := d.DialReplica(ctx, addr)
	if err != nil {
		return nil, err
	}
	conn.Close()
	return d.Client(ctx, addr, 0)
}

// askSentinels asks the sentinels of the URL and all that were known before, all at once, and then the sentinels that these name.
func (d *Deployment) askSentinels(ctx context.Context) []SentinelView {
	var views []SentinelView
	ask := func(addrs []string) {
		from := len(views)
		views = append(views, make([]SentinelView, len(addrs))...)
		var wg sync.WaitGroup
		for i, addr := range addrs {
			wg.Go(func() { views[from+i] = d.askSentinel(ctx, addr) })
		}
		wg.Wait()
	}
	known := slices.Clone(d.spec.Addrs)
	d.mu.Lock()
	for _, v := range d.views {
		if !slices.Contains(known, v.Addr) {
			known = append(known, v.Addr)
		}
	}
	d.mu.Unlock()
	ask(known)
	var more []string
	for _, v := range views {
		for _, peer := range v.Peers {
			if !slices.Contains(known, peer) {
				known, more = append(known, peer), append(more, peer)
			}
		}
	}
	ask(more)
	named := d.spec.Addrs
	return slices.DeleteFunc(views, func(v SentinelView) bool { // gossip may still name a sentinel that no longer exists: that is no error
		return v.Err != nil && !slices.Contains(named, v.Addr)
	})
}

func (d *Deployment) askSentinel(ctx context.Context, addr string) SentinelView {
	v := SentinelView{Addr: addr}
	ctx, cancel := context.WithTimeout(ctx, sentinelTimeout)
	defer cancel()
	c, err := d.sentinelClient(ctx, addr)
	if err == nil {
		err = v.ask(ctx, c, d.spec.MasterName)
	}
	if err != nil {
		return SentinelView{Addr: addr, Err: fmt.Errorf("sentinel %s: %w", addr, err)}
	}
	return v
}

// ask reads one sentinel's view of a group.
func (v *SentinelView) ask(ctx context.Context, c rueidis.Client, name string) error {
	do := func(args ...string) rueidis.RedisResult {
		return c.Do(ctx, c.B().Arbitrary("SENTINEL").Args(args...).Build())
	}
	primary, err := do("get-master-addr-by-name", name).AsStrSlice()
	switch {
	case IsNil(err):
		return unknownGroup(do("masters"), name)
	case Code(err) == "IDONTKNOW":
		return fmt.Errorf("it monitors %s but has not reached its primary yet (%w)", name, err)
	case Code(err) == "ERR" && strings.Contains(err.Error(), "unknown command"):
		return fmt.Errorf("it is a server and not a sentinel; name the sentinels, or the server as redis:// (%w)", err)
	case err != nil:
		return err
	case len(primary) != 2:
		return fmt.Errorf("SENTINEL get-master-addr-by-name returned %q instead of host and port", primary)
	}
	v.Primary = net.JoinHostPort(primary[0], primary[1])
	facts, err := do("master", name).AsStrMap()
	if err != nil {
		return fmt.Errorf("SENTINEL master: %w", err)
	}
	v.Flags = facts["flags"]
	v.Epoch, _ = strconv.ParseInt(facts["config-epoch"], 10, 64) // stays 0 where there is none
	v.Quorum, _ = strconv.Atoi(facts["quorum"])
	if ms, err := strconv.Atoi(facts["down-after-milliseconds"]); err == nil {
		v.Down = time.Duration(ms) * time.Millisecond
	}
	peers, err := mapsOf(do("sentinels", name))
	if err != nil {
		return fmt.Errorf("SENTINEL sentinels: %w", err)
	}
	for _, p := range peers {
		v.Peers = append(v.Peers, net.JoinHostPort(p["ip"], p["port"]))
	}
	replicas, err := mapsOf(do("replicas", name))
	if Code(err) != "" { // before 5.0
		replicas, err = mapsOf(do("slaves", name))
	}
	if err != nil {
		return fmt.Errorf("SENTINEL replicas: %w", err)
	}
	for _, r := range replicas {
		priority, err := strconv.Atoi(r["slave-priority"])
		if err != nil {
			priority = 100
		}
		v.Replicas = append(v.Replicas, SentinelReplica{Addr: net.JoinHostPort(r["ip"], r["port"]), Flags: r["flags"], Role: r["role-reported"], Priority: priority})
	}
	return nil
}

// unknownGroup returns an error that says which groups a sentinel does know.
func unknownGroup(masters rueidis.RedisResult, name string) error {
	known, err := mapsOf(masters)
	if err != nil {
		return fmt.Errorf("it knows no primary called %q (SENTINEL masters: %w)", name, err)
	}
	names := make([]string, len(known))
	for i, m := range known {
		names[i] = m["name"]
	}
	slices.Sort(names)
	if len(names) == 0 {
		return fmt.Errorf("it knows no primary called %q; it monitors none", name)
	}
	return fmt.Errorf("it knows no primary called %q; it knows %s", name, strings.Join(names, ", "))
}

// mapsOf reads a list of which each element is a list of fields and values.
func mapsOf(r rueidis.RedisResult) ([]map[string]string, error) {
	rows, err := r.ToArray()
	if err != nil {
		return nil, err
	}
	out := make([]map[string]string, len(rows))
	for i, row := range rows {
		if out[i], err = row.AsStrMap(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sentinelClient returns a client of a sentinel. Sentinels have users and passwords of their own.
func (d *Deployment) sentinelClient(ctx context.Context, addr string) (rueidis.Client, error) {
	key := clientKey{addr, sentinelDB}
	d.mu.Lock()
	c, ok := d.clients[key]
	d.mu.Unlock()
	if ok {
		return c, nil
	}
	conn, err := d.dialAs(ctx, addr, d.spec.SentinelUsername, d.spec.SentinelPassword) // connects within the time of the context
	switch Code(err) {
	case "NOAUTH":
		return nil, fmt.Errorf("the sentinels have their own password, which was not given: %w", err)
	case "WRONGPASS":
		return nil, fmt.Errorf("the password of the sentinels is wrong (they have their own): %w", err)
	}
	if err != nil {
		return nil, err
	}
	conn.Close()
	return d.clientOf(ctx, key)
}
