package dataset

import (
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

// Side is one deployment: a standalone server, or a cluster.
type Side struct {
	Cluster bool
	Valkey  bool
	Number  int // Redis-compatible version: 7.0.15 is 70015
	Own     int // the flavor's own version, of a Valkey too
	DBs     int // databases that exist; 1 on a cluster

	addrs     []string
	password  string
	primaries []string
	commands  map[string]bool

	mu      sync.Mutex
	clients map[string]rueidis.Client // by "db" for the whole side, by "addr" for one node; guarded by mu
}

// Open connects to a deployment by the address of at least one of its nodes.
func Open(ctx context.Context, addrs []string, password string) (*Side, error) {
	s := &Side{addrs: addrs, password: password, clients: map[string]rueidis.Client{}, DBs: 1}
	if err := s.discover(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("open %s: %w", strings.Join(addrs, ","), err)
	}
	return s, nil
}

// Close closes every connection.
func (s *Side) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.Close()
	}
	clear(s.clients)
}

func (s *Side) discover(ctx context.Context) error {
	c, err := s.node(s.addrs[0])
	if err != nil {
		return err
	}
	info, err := c.Do(ctx, c.B().Info().Build()).ToString()
	if err != nil {
		return fmt.Errorf("INFO: %w", err)
	}
	s.Cluster = field(info, "cluster_enabled") == "1"
	s.Valkey = field(info, "valkey_version") != ""
	if s.Number, err = version(field(info, "redis_version")); err != nil {
		return err
	}
	if s.Own = s.Number; s.Valkey {
		if s.Own, err = version(field(info, "valkey_version")); err != nil {
			return err
		}
	}
	if err := s.listCommands(ctx, c); err != nil {
		return err
	}
	if s.Cluster {
		return s.findPrimaries(ctx, c)
	}
	s.primaries = s.addrs[:1]
	databases, err := c.Do(ctx, c.B().Arbitrary("CONFIG", "GET", "databases").Build()).AsStrSlice()
	if err != nil || len(databases) != 2 {
		return fmt.Errorf("CONFIG GET databases: %w", err)
	}
	s.DBs, err = strconv.Atoi(databases[1])
	return err
}

func version(text string) (number int, err error) {
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return 0, fmt.Errorf("version %q: %w", text, err)
		}
		number = number*100 + n
	}
	return number, nil
}

func (s *Side) listCommands(ctx context.Context, c rueidis.Client) error {
	rows, err := c.Do(ctx, c.B().Arbitrary("COMMAND").Build()).ToArray()
	if err != nil {
		return fmt.Errorf("COMMAND: %w", err)
	}
	s.commands = make(map[string]bool, len(rows))
	for _, row := range rows {
		fields, err := row.ToArray()
		if err != nil {
			return fmt.Errorf("COMMAND: %w", err)
		}
		name, err := fields[0].ToString()
		if err != nil {
			return fmt.Errorf("COMMAND: %w", err)
		}
		s.commands[strings.ToUpper(name)] = true
	}
	return nil
}

func (s *Side) findPrimaries(ctx context.Context, c rueidis.Client) error {
	ranges, err := c.Do(ctx, c.B().ClusterSlots().Build()).ToArray()
	if err != nil {
		return fmt.Errorf("CLUSTER SLOTS: %w", err)
	}
	for _, r := range ranges {
		fields, err := r.ToArray()
		if err != nil || len(fields) < 3 {
			return fmt.Errorf("CLUSTER SLOTS: %w", err)
		}
		primary, err := fields[2].ToArray()
		if err != nil || len(primary) < 2 {
			return fmt.Errorf("CLUSTER SLOTS: %w", err)
		}
		host, err1 := primary[0].ToString()
		port, err2 := primary[1].AsInt64()
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("CLUSTER SLOTS: %w", err)
		}
		addr := net.JoinHostPort(host, strconv.FormatInt(port, 10))
		if !slices.Contains(s.primaries, addr) {
			s.primaries = append(s.primaries, addr)
		}
	}
	return nil
}

// Has tells whether the server knows a command.
func (s *Side) Has(command string) bool { return s.commands[command] }

// client gives the client of one database of the whole side; on a cluster it routes by slot.
func (s *Side) client(db int) (rueidis.Client, error) {
	return s.cached("db "+strconv.Itoa(db), rueidis.ClientOption{
		InitAddress: s.addrs, SelectDB: db, ForceSingleClient: !s.Cluster,
	})
}

// node gives the client of one node; it does not follow redirections.
func (s *Side) node(addr string) (rueidis.Client, error) {
	return s.cached(addr, rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true})
}

// scanClient gives the client that enumerates one primary's database.
func (s *Side) scanClient(addr string, db int) (rueidis.Client, error) {
	if s.Cluster {
		return s.node(addr)
	}
	return s.client(db)
}

func (s *Side) cached(name string, o rueidis.ClientOption) (rueidis.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[name]; c != nil {
		return c, nil
	}
	o.Password = s.password
	o.DisableCache, o.DisableRetry, o.AlwaysRESP2 = true, true, true
	o.ClientSetInfo = rueidis.DisableClientSetInfo
	o.PipelineMultiplex = -1 // one connection, so that what is sent first is run first
	o.ConnWriteTimeout = time.Minute
	c, err := rueidis.NewClient(o)
	if err != nil {
		return nil, err
	}
	s.clients[name] = c
	return c, nil
}

// UsedDBs lists the databases that hold keys, in order.
func (s *Side) UsedDBs(ctx context.Context) ([]int, error) {
	if s.Cluster {
		return []int{0}, nil
	}
	c, err := s.client(0)
	if err != nil {
		return nil, err
	}
	info, err := c.Do(ctx, c.B().Arbitrary("INFO", "keyspace").Build()).ToString()
	if err != nil {
		return nil, fmt.Errorf("INFO keyspace: %w", err)
	}
	var used []int
	for db := range s.DBs {
		if field(info, "db"+strconv.Itoa(db)) != "" {
			used = append(used, db)
		}
	}
	return used, nil
}

func field(info, name string) string {
	for line := range strings.Lines(info) {
		if n, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && n == name {
			return value
		}
	}
	return ""
}

// batch is a run of commands for one client, sent in pipelines.
type batch struct {
	ctx    context.Context
	client rueidis.Client
	cmds   []rueidis.Completed
	names  []string
	sent   int64
}

// pipelineLength stays below the length from which rueidis takes another connection, which would lose the order.
const pipelineLength = 500

// add queues a command: the words before its keys, the keys, the rest.
func (b *batch) add(words []string, keys []string, args ...string) error {
	b.cmds = append(b.cmds, b.client.B().Arbitrary(words...).Keys(keys...).Args(args...).Build())
	b.names = append(b.names, words[0])
	if len(b.cmds) < pipelineLength {
		return nil
	}
	return b.flush()
}

// key queues a command whose first argument is its only key.
func (b *batch) key(name, key string, args ...string) error {
	return b.add([]string{name}, []string{key}, args...)
}

func (b *batch) flush() error {
	if len(b.cmds) == 0 {
		return nil
	}
	for i, r := range b.client.DoMulti(b.ctx, b.cmds...) {
		if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
			return fmt.Errorf("%s: %w", b.names[i], err)
		}
	}
	b.sent += int64(len(b.cmds))
	b.cmds, b.names = b.cmds[:0], b.names[:0]
	return nil
}

// Int reads a string of database 0 that holds an integer; an absent one is 0.
func (s *Side) Int(ctx context.Context, key string) (int64, error) {
	c, err := s.client(0)
	if err != nil {
		return 0, err
	}
	n, err := c.Do(ctx, c.B().Get().Key(key).Build()).AsInt64()
	if rueidis.IsRedisNil(err) {
		return 0, nil
	}
	return n, err
}

// Client gives the client of one database of the whole side; Close closes it.
func (s *Side) Client(db int) (rueidis.Client, error) { return s.client(db) }
