package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

const (
	keepAlive = 15 * time.Second
	// replyTimeout bounds a whole pipeline. It is long because a RESTORE of hundreds of MiB blocks a server for many seconds.
	replyTimeout = 2 * time.Minute
	bufferBytes  = 256 << 10
	ringScale    = 8 // 256 commands in flight on the shared connection; further ones wait
	poolSize     = 1024
)

// ErrUnsupported is wrapped by the error of Open for kinds of endpoints that cannot be opened yet.
var ErrUnsupported = errors.New("not supported yet")

// Deployment is an opened endpoint. Several goroutines may use it.
type Deployment struct {
	spec  Spec
	tls   *tls.Config
	route *route
	proxy *proxied // nil where keys are not spread by a proxy

	mu      sync.Mutex
	closed  bool
	shards  []Shard                // guarded by mu
	owners  *[keyspace.Slots]int32 // guarded by mu; nil where one server holds all keys
	failed  []string               // guarded by mu; nodes that the cluster has marked as failed and that are in no shard
	views   []SentinelView         // guarded by mu; nil unless the endpoint is of kind Sentinel
	clients map[clientKey]rueidis.Client
	servers map[string]Server
	ids     map[string]string // guarded by mu; cluster node IDs by listed address
	listed  map[string]string // guarded by mu; listed addresses of nodes that announce other addresses

	deaf map[string]time.Time // guarded by mu; nodes of a cluster that did not answer when they were asked for its topology, and when

	capabilities map[probedNode]probed // guarded by mu

	watch watch // of the connections that are open
}

type clientKey struct {
	addr string
	db   int
}

// sentinelDB marks the client of a sentinel.
const sentinelDB = -1

// Open connects to every address that s names, authenticates, and discovers the shards. Its errors name the address, what happened
// and what to do. The error for a kind of endpoint that cannot be opened wraps ErrUnsupported.
func Open(ctx context.Context, s Spec) (*Deployment, error) {
	switch s.Kind {
	case Standalone, Sentinel, Cluster, Codis, Twemproxy:
	case RDB, AOF:
		return openFiles(s)
	default:
		return nil, fmt.Errorf("%s: endpoints of kind %s are %w", s, s.Kind, ErrUnsupported)
	}
	d, err := newDeployment(s)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s, err)
	}
	if d.proxy, err = newProxied(s); err != nil {
		d.Close()
		return nil, fmt.Errorf("open %s: %w", s, err)
	}
	if err := d.greetAll(ctx); err != nil {
		d.Close()
		return nil, err
	}
	if err := d.Refresh(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// newDeployment reads the files that s names. It does not connect yet.
func newDeployment(s Spec) (*Deployment, error) {
	cfg, err := s.TLS.tlsConfig()
	if err != nil {
		return nil, err
	}
	r, err := newRoute(s)
	if err != nil {
		return nil, err
	}
	d := &Deployment{spec: s, tls: cfg, route: r, clients: map[clientKey]rueidis.Client{}, servers: map[string]Server{},
		ids: map[string]string{}, listed: map[string]string{}, deaf: map[string]time.Time{}, capabilities: map[probedNode]probed{}}
	d.spec.Addrs = slices.Clone(s.Addrs)
	return d, nil
}

// greetAll checks that the named addresses answer. Of a cluster one seed that answers is enough: a failover must not make a URL
// useless.
func (d *Deployment) greetAll(ctx context.Context) error {
	if d.spec.Kind == Sentinel { // sentinels are asked for more than a greeting
		return nil
	}
	addrs := d.spec.Addrs
	if d.proxy != nil {
		addrs = d.proxy.greeted(d.spec)
	}
	errs := make([]error, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() {
			conn, err := d.DialReplica(ctx, addr)
			if err == nil {
				conn.Close()
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if (d.spec.Kind == Cluster || d.proxy != nil && d.proxy.anyOf(d.spec)) && slices.Contains(errs, nil) {
		return nil
	}
	return errors.Join(errs...)
}

// Spec returns the endpoint as it was named, including the password.
func (d *Deployment) Spec() Spec {
	s := d.spec
	s.Addrs = slices.Clone(s.Addrs)
	return s
}

// Kind returns the kind of the endpoint.
func (d *Deployment) Kind() Kind { return d.spec.Kind }

// Shards returns a copy of the shards as last discovered, in the order of their lowest slot, then of their address.
func (d *Deployment) Shards() []Shard {
	d.mu.Lock()
	defer d.mu.Unlock()
	return cloneShards(d.shards)
}

// Failed returns a copy of the list of nodes that the cluster had marked as failed at the last discovery and that are in no shard:
// replicas that are down, and primaries that were replaced.
func (d *Deployment) Failed() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.failed)
}

// PrimaryOf returns the primary that owns a slot, and false where none does. A standalone endpoint has one primary for all slots.
func (d *Deployment) PrimaryOf(slot uint16) (Node, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := int32(0)
	if d.owners != nil {
		if int(slot) >= keyspace.Slots {
			return Node{}, false
		}
		i = d.owners[slot]
	}
	if i < 0 || int(i) >= len(d.shards) {
		return Node{}, false
	}
	return d.shards[i].Primary, true
}

// Server returns the facts of one node. It reads them once; Refresh discards them.
func (d *Deployment) Server(ctx context.Context, addr string) (Server, error) {
	d.mu.Lock()
	s, ok := d.servers[addr]
	d.mu.Unlock()
	if ok {
		return s, nil
	}
	c, err := d.Client(ctx, addr, 0)
	if err != nil {
		return Server{}, err
	}
	// INFO is asked as a whole: before 2.8 servers know no sections.
	info, err := Info(ctx, c)
	if err != nil {
		return Server{}, fmt.Errorf("facts of %s: %w", addr, err)
	}
	if s, err = serverOf(addr, info); err != nil {
		return Server{}, err
	}
	s.Databases, s.DatabasesKnown = s.databases(ctx, c)
	d.mu.Lock()
	d.servers[addr] = s
	d.mu.Unlock()
	return s, nil
}

// databases asks CONFIG for the number of databases, which managed services and restricted users refuse. A cluster has one
// database, except that Valkey since 9.0 has a configured number.
func (s Server) databases(ctx context.Context, c rueidis.Client) (n int, known bool) {
	name := "databases"
	if s.Cluster {
		if own, err := ParseVersion(s.Version); err == nil && (s.Flavor != "valkey" || own < 90000) {
			return 1, true
		}
		name = "cluster-databases"
	}
	m, err := c.Do(ctx, c.B().Arbitrary("CONFIG", "GET", name).Build()).AsStrMap()
	if err == nil {
		if _, err := fmt.Sscan(m[name], &n); err == nil && n > 0 {
			return n, true
		}
	}
	if s.Cluster {
		return 1, err == nil
	}
	return 16, false
}

// Client returns a client of ONE node with the database selected. It is made once per address and database, and closed by Close. It
// speaks RESP2, so that every version since 2.8 gives the same replies. It caches nothing and retries nothing; MOVED is returned as
// an error.
//
// Do and DoMulti of concurrent callers share one connection, which is good for small commands. A caller that sends values should
// take a connection of its own by client.Dedicate(): then a large value delays nobody else, and a pipeline is answered as a whole.
// Each connection costs two buffers of 256 KiB. At most 1024 connections are dedicated at a time, and Dedicate waits until one is
// returned.
func (d *Deployment) Client(ctx context.Context, addr string, db int) (rueidis.Client, error) {
	if d.spec.IsFile() {
		return nil, fmt.Errorf("%s is a file, so there is no server to ask", addr)
	}
	return d.clientOf(ctx, clientKey{addr, max(db, 0)})
}

func (d *Deployment) clientOf(ctx context.Context, key clientKey) (rueidis.Client, error) {
	d.mu.Lock()
	c, ok := d.clients[key]
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("client of %s: %w", key.addr, rueidis.ErrClosing)
	}
	if ok {
		return c, nil
	}
	c, err := d.newClient(ctx, key)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if other, ok := d.clients[key]; ok || d.closed { // another goroutine was first, or Close was called
		c.Close()
		if d.closed {
			return nil, fmt.Errorf("client of %s: %w", key.addr, rueidis.ErrClosing)
		}
		return other, nil
	}
	d.clients[key] = c
	return c, nil
}

func (d *Deployment) newClient(ctx context.Context, key clientKey) (rueidis.Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", key.addr, err)
	}
	c, err := rueidis.NewClient(d.clientOption(key))
	return opened(c, err, key)
}

func (d *Deployment) clientOption(key clientKey) rueidis.ClientOption {
	user, password := d.spec.Username, d.password(key.addr)
	if key.db == sentinelDB {
		user, password = d.spec.SentinelUsername, d.spec.SentinelPassword
	}
	return rueidis.ClientOption{
		InitAddress:         []string{key.addr},
		Username:            user,
		Password:            password,
		SelectDB:            max(key.db, 0),
		ForceSingleClient:   true,
		DisableCache:        true,
		DisableRetry:        true,
		AlwaysRESP2:         true,
		ClientSetInfo:       rueidis.DisableClientSetInfo,
		PipelineMultiplex:   -1, // one shared connection
		RingScaleEachConn:   ringScale,
		ReadBufferEachConn:  bufferBytes,
		WriteBufferEachConn: bufferBytes,
		BlockingPoolSize:    poolSize,
		BlockingPoolCleanup: time.Minute,
		ConnWriteTimeout:    replyTimeout,
		Dialer:              net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive},
		DialCtxFn: func(ctx context.Context, addr string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.dialQuiet(ctx, addr)
		},
	}
}

// opened passes on the result of NewClient, with an error that says which action failed.
func opened(c rueidis.Client, err error, key clientKey) (rueidis.Client, error) {
	if err == nil {
		return c, nil
	}
	if c != nil {
		c.Close()
	}
	if Code(err) != "" {
		return nil, fmt.Errorf("log in to %s, database %d: %w", key.addr, key.db, err)
	}
	return nil, err
}

// ErrBroken is the error of every command on a connection of Connect that has failed before.
var ErrBroken = errors.New("the connection has failed before")

// Connect opens one connection to one node, with database 0 selected. It belongs to the caller, who closes it. It never reconnects,
// so that what was set on it holds for every command: SELECT, READONLY. It speaks RESP2, caches nothing and retries nothing.
//
// Use it to read many values: it costs the server one connection, whereas Client with Dedicate costs two (rueidis opens a second
// one for subscriptions with each RESP2 connection that is returned).
func (d *Deployment) Connect(ctx context.Context, addr string) (rueidis.Client, error) {
	key := clientKey{addr: addr}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	option := d.clientOption(key)
	option.BlockingPipeline = -1 // a pipeline of any length goes over this connection
	var dialed atomic.Bool
	option.DialCtxFn = func(dialing context.Context, addr string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
		if dialed.Swap(true) {
			return nil, fmt.Errorf("%s: %w", addr, ErrBroken)
		}
		dialing, cancel := context.WithCancelCause(dialing)
		defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
		defer cancel(nil)
		return d.dialQuiet(dialing, addr)
	}
	c, err := rueidis.NewClient(option)
	return opened(c, err, key)
}

// Close closes every client. Connections of DialReplica belong to their callers, but those through a bastion end with it.
func (d *Deployment) Close() {
	d.mu.Lock()
	clients := d.clients
	d.clients, d.closed = map[clientKey]rueidis.Client{}, true
	d.mu.Unlock()
	d.watch.end()
	for _, c := range clients {
		c.Close()
	}
	d.route.close()
}
