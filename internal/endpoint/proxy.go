package endpoint

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/sharding"
)

// proxied is what an endpoint behind a proxy has in addition: the way in which the proxy spreads keys over servers.
type proxied struct {
	router *sharding.Router // of twemproxy
	pool   sharding.Configured
	moving int // Codis: slots that were moving when the topology was read; guarded by Deployment.mu
}

// newProxied reads the configuration of twemproxy that the URL names.
func newProxied(s Spec) (*proxied, error) {
	if s.Kind != Codis && s.Kind != Twemproxy {
		return nil, nil
	}
	p := &proxied{}
	if s.Kind == Codis {
		return p, nil
	}
	p.pool = sharding.Configured{Pool: s.pool()}
	if s.Config != "" {
		data, err := os.ReadFile(s.Config)
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		if p.pool, err = sharding.ParseConfig(data, s.Pool); err != nil {
			return nil, fmt.Errorf("config %s: %w", s.Config, err)
		}
	}
	var err error
	p.router, err = sharding.NewRouter(p.pool.Pool)
	return p, err
}

// greeted returns the addresses that must answer before anything can be done. Servers behind a twemproxy that is written through
// are not among them, nor is a Codis proxy where the dashboard tells the servers.
func (p *proxied) greeted(s Spec) []string {
	switch {
	case s.Kind == Codis && s.Dashboard == "", s.ViaProxy:
		return s.Addrs
	case s.Kind == Codis:
		return nil
	}
	var addrs []string
	for _, server := range p.pool.Servers {
		addrs = append(addrs, server.Addr)
	}
	return addrs
}

// anyOf says whether it is enough that one of the greeted addresses answers, because all proxies are alike.
func (p *proxied) anyOf(s Spec) bool { return s.Kind == Codis || s.ViaProxy }

// IsProxy says whether an address is that of a proxy, which is not among the servers of Shards.
func (d *Deployment) IsProxy(addr string) bool {
	return d.proxy != nil && slices.Contains(d.spec.Addrs, addr)
}

// Proxies returns the addresses of the proxies. It returns nil where there are none, as for a nil Deployment.
func (d *Deployment) Proxies() []string {
	if d == nil || d.proxy == nil {
		return nil
	}
	return slices.Clone(d.spec.Addrs)
}

// Proxy returns a proxy that answers now.
func (d *Deployment) Proxy(ctx context.Context) (string, error) {
	var errs []error
	for _, addr := range d.Proxies() {
		conn, err := d.DialReplica(ctx, addr)
		if err == nil {
			return addr, conn.Close()
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return "", errors.New("there is no proxy")
	}
	return "", errors.Join(errs...)
}

// dialQuiet is dial for clients of rueidis.
func (d *Deployment) dialQuiet(ctx context.Context, addr string) (net.Conn, error) {
	ctx, done := d.watch.dialing(ctx, addr)
	defer done()
	conn, err := d.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	conn = d.watched(conn, addr)
	if !d.IsProxy(addr) && d.spec.Proxy == "" {
		return conn, nil
	}
	return &quietConn{Conn: conn}, nil
}

// Slot returns the slot of a key: in a Redis Cluster the key's own, with Codis one of its 1024, with twemproxy one within the share
// of the server that holds the key. All keys of a slot are on one server, which PrimaryOf returns. Where one server holds all keys,
// slots only serve to divide them.
func (d *Deployment) Slot(name string) uint16 {
	switch {
	case d.proxy == nil:
		return keyspace.Slot(name)
	case d.proxy.router != nil:
		return d.proxy.router.Slot(name)
	}
	return sharding.CodisSlot(name)
}

// Slots returns the number of slots.
func (d *Deployment) Slots() int {
	switch {
	case d.proxy == nil:
		return keyspace.Slots
	case d.proxy.router != nil:
		return d.proxy.router.Slots()
	}
	return sharding.CodisSlots
}

// Sharded says whether slots decide which server holds a key, so that all keys of one command must be on the same server.
func (d *Deployment) Sharded() bool { return d.spec.Kind == Cluster || d.proxy != nil }

// Databases returns what is known, without asking the servers, about the databases that the endpoint has.
func (d *Deployment) Databases() keyspace.Databases {
	switch d.spec.Kind {
	case Cluster:
		return keyspace.Databases{Home: 0, Only: true}
	case Twemproxy:
		return keyspace.Databases{Home: max(d.spec.DB, d.proxy.pool.DB, 0), Only: true}
	}
	return keyspace.Databases{Home: d.spec.DB}
}

// Holds says whether a key belongs on a node. A server behind a proxy may hold other keys: keys that it was once responsible for,
// and that no client finds any more. For a Redis Cluster, Holds always returns true, because its nodes refuse such keys.
func (d *Deployment) Holds(primary, name string) bool {
	if d.proxy == nil {
		return true
	}
	n, ok := d.PrimaryOf(d.Slot(name))
	return ok && n.Addr == primary
}

// Sharding describes how keys are spread where the URL alone does not tell it, and returns "" elsewhere. If it returns the same
// text for two openings of an endpoint, both have the same slots.
func (d *Deployment) Sharding() string {
	if d.proxy == nil || d.proxy.router == nil {
		return ""
	}
	p := d.proxy.pool
	var servers []string
	for _, s := range p.Servers {
		servers = append(servers, shownBackend(s))
	}
	text := cmp.Or(p.Hash, sharding.DefaultHash) + " " + cmp.Or(p.Distribution, sharding.DefaultDistribution)
	if p.Tag != "" {
		text += " " + p.Tag
	}
	return text + " " + strings.Join(servers, ",")
}

// Ejects says whether the proxy assigns the keys of a server that is down to other servers, so that keys may be anywhere.
func (d *Deployment) Ejects() bool { return d.proxy != nil && d.proxy.pool.Ejects }

// Moving returns how many slots of a Codis were moving when its topology was read.
func (d *Deployment) Moving() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proxy == nil {
		return 0
	}
	return d.proxy.moving
}

// refreshTwemproxy takes the topology from the configuration.
func (d *Deployment) refreshTwemproxy() error {
	var shards []Shard
	for i, s := range d.proxy.pool.Servers {
		first, last := d.proxy.router.Share(i)
		shards = append(shards, Shard{Primary: Node{Addr: s.Addr}, Slots: keyspace.SlotRanges{{First: first, Last: last}}})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shards, d.owners = shards, slotOwners(shards)
	return nil
}

// refreshCodis asks the dashboard, or a proxy, which server holds which slots.
func (d *Deployment) refreshCodis(ctx context.Context) error {
	var m *codisMap
	var err error
	if d.spec.Dashboard != "" {
		m, err = d.askDashboard(ctx)
	} else {
		m, err = d.askProxies(ctx)
	}
	if err != nil {
		return err
	}
	shards, err := m.shards(d.spec.Backends)
	if err != nil {
		return fmt.Errorf("%s: %w", d.spec, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shards, d.owners, d.proxy.moving = shards, slotOwners(shards), m.moving
	return nil
}

// codisMap says which server holds each slot.
type codisMap struct {
	owner    [sharding.CodisSlots]string
	replicas map[string][]string // by primary
	moving   int
}

// shards groups the slots by server. If the URL names servers, the slots must be on these.
func (m *codisMap) shards(named []string) ([]Shard, error) {
	index := map[string]int{}
	var shards []Shard
	for slot, addr := range m.owner {
		if addr == "" {
			return nil, fmt.Errorf("no server holds slot %d of %d; assign all of them first (codis-admin --slots-assign)", slot, sharding.CodisSlots)
		}
		if len(named) > 0 && !slices.Contains(named, addr) {
			return nil, fmt.Errorf("slot %d is on %s, which shards= does not name; leave shards= out, or name all servers in it as the proxy does", slot, addr)
		}
		i, known := index[addr]
		if !known {
			i = len(shards)
			index[addr] = i
			shard := Shard{Primary: Node{Addr: addr}}
			for _, r := range m.replicas[addr] {
				shard.Replicas = append(shard.Replicas, Node{Addr: r})
			}
			shards = append(shards, shard)
		}
		s := uint16(slot)
		if r := shards[i].Slots; len(r) > 0 && r[len(r)-1].Last+1 == s {
			r[len(r)-1].Last = s
		} else {
			shards[i].Slots = append(r, keyspace.SlotRange{First: s, Last: s})
		}
	}
	return shards, nil
}

// askProxies reads SLOTSMAPPING of the first proxy that answers: for each slot its server, the server that it moves from, and
// replicas.
func (d *Deployment) askProxies(ctx context.Context) (*codisMap, error) {
	var errs []error
	for _, addr := range d.spec.Addrs {
		m, err := d.askProxy(ctx, addr)
		if err == nil {
			return m, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (d *Deployment) askProxy(ctx context.Context, addr string) (*codisMap, error) {
	c, err := d.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	list, err := c.Do(ctx, c.B().Arbitrary("SLOTSMAPPING").Build()).ToArray()
	if err != nil {
		return nil, fmt.Errorf("SLOTSMAPPING of %s: %w (codis-proxy has it since 3.2; for an older version name the dashboard: ?dashboard=http://host:18080)", addr, err)
	}
	m := &codisMap{replicas: map[string][]string{}}
	for _, item := range list {
		part, err := item.ToArray()
		if err != nil || len(part) < 4 {
			continue // the slot is offline
		}
		slot, errSlot := part[0].AsInt64()
		owner, errOwner := part[1].ToString()
		from, errFrom := part[2].ToString()
		if err := errors.Join(errSlot, errOwner, errFrom); err != nil || slot < 0 || slot >= sharding.CodisSlots {
			return nil, fmt.Errorf("SLOTSMAPPING of %s: slot %d: %w", addr, slot, err)
		}
		m.owner[slot] = owner
		if from != "" {
			m.moving++
		}
		groups, _ := part[3].ToArray()
		for i := range groups {
			members, _ := groups[i].AsStrSlice()
			for _, r := range members {
				if r != owner && !slices.Contains(m.replicas[owner], r) {
					m.replicas[owner] = append(m.replicas[owner], r)
				}
			}
		}
	}
	return m, nil
}

// dashboardReply is the part of the dashboard's /topom that is used.
type dashboardReply struct {
	Stats *struct {
		Slots []struct {
			ID     int `json:"id"`
			Group  int `json:"group_id"`
			Action struct {
				State string `json:"state"`
			} `json:"action"`
		} `json:"slots"`
		Group struct {
			Models []struct {
				ID      int `json:"id"`
				Servers []struct {
					Addr string `json:"server"`
				} `json:"servers"`
			} `json:"models"`
		} `json:"group"`
	} `json:"stats"`
}

// askDashboard reads the groups, each with its primary first, and the slots of each group.
func (d *Deployment) askDashboard(ctx context.Context) (*codisMap, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.spec.Dashboard+"/topom", nil)
	if err != nil {
		return nil, err
	}
	plain := &http.Transport{IdleConnTimeout: time.Second, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return d.route.dial(ctx, d.reach(addr))
	}}
	defer plain.CloseIdleConnections()
	res, err := (&http.Client{Transport: plain}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the Codis dashboard: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask the Codis dashboard %s: HTTP status %s", d.spec.Dashboard, res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("ask the Codis dashboard %s: %w", d.spec.Dashboard, err)
	}
	m, err := parseDashboardReply(data)
	if err != nil {
		return nil, fmt.Errorf("the Codis dashboard %s: %w", d.spec.Dashboard, err)
	}
	return m, nil
}

func parseDashboardReply(data []byte) (*codisMap, error) {
	var reply dashboardReply
	if err := json.Unmarshal(data, &reply); err != nil {
		return nil, fmt.Errorf("its reply is not a reply to /topom: %w", err)
	}
	if reply.Stats == nil {
		return nil, errors.New("its reply contains no stats")
	}
	m := &codisMap{replicas: map[string][]string{}}
	primary := map[int]string{}
	for _, g := range reply.Stats.Group.Models {
		for i, s := range g.Servers {
			if i == 0 {
				primary[g.ID] = s.Addr
			} else {
				m.replicas[primary[g.ID]] = append(m.replicas[primary[g.ID]], s.Addr)
			}
		}
	}
	for _, s := range reply.Stats.Slots {
		if s.ID < 0 || s.ID >= sharding.CodisSlots {
			return nil, fmt.Errorf("slot %s does not exist", strconv.Itoa(s.ID))
		}
		m.owner[s.ID] = primary[s.Group]
		if s.Action.State != "" {
			m.moving++
		}
	}
	return m, nil
}
