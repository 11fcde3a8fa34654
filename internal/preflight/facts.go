package preflight

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/profile"
	"surecut/internal/reply"
	"surecut/internal/retry"
)

// side is one endpoint with the facts of its nodes.
type side struct {
	name  endpoint.Side
	spec  endpoint.Spec
	d     *endpoint.Deployment
	err   error // why it could not be opened
	nodes []*node
}

func (s *side) open() bool { return s.d != nil }

// sharded says that each server holds different keys, so that all keys of one command must be on the same server.
func (s *side) sharded() bool { return s.open() && s.d.Sharded() }

// throughProxy says that the side is written through a proxy, so that the servers behind it need not be reached for writing.
func (s *side) throughProxy() bool {
	return s.name == endpoint.Target && (s.spec.Kind == endpoint.Codis || s.spec.ViaProxy)
}

// fronted returns the profile of the proxy that stands in front of all nodes of a cluster, or nil where there is none.
func (s *side) fronted() *profile.Profile { return command.ProxyOf(s.spec.Proxy) }

func (s *side) cluster() bool { return s.spec.Kind == endpoint.Cluster }

// node is one server with its facts. If err is set, there are no facts.
type node struct {
	addr    string
	shard   int  // index into Shards
	primary bool // by the topology
	client  rueidis.Client
	err     error // why the node does not answer
	moves   bool  // the node is a replica that redirects reads at an offset to its primary (in clusters of 3.2 to 5.0)

	server  endpoint.Server
	info    map[string]string
	modules []string // names of the modules, sorted
	dbs     map[int]endpoint.Database
	infoErr error             // why INFO is refused
	config  map[string]string // those of configNames that the server knows
	confErr error             // why CONFIG GET is refused
	skew    time.Duration     // the node's clock minus the local one
	skewErr error
	first   endpoint.Counters // counters of the first reading
	written float64           // bytes per second that clients write
}

// configNames are the settings that the checks read. A server leaves out those that it does not know.
var configNames = []string{"maxmemory", "maxmemory-policy", "client-output-buffer-limit", "repl-backlog-size", "repl-timeout",
	"repl-diskless-sync", "dir", "save", bulkSetting, querySetting, "stop-writes-on-bgsave-error", "min-replicas-to-write", "min-slaves-to-write", verbatimSetting}

// gather asks all nodes of both sides at the same time.
func gather(ctx context.Context, cfg Config) *run {
	whole := ctx // without the timeout: a file may be large
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	r := &run{cfg: cfg}
	r.source = newSide(endpoint.Source, cfg.Source)
	r.target = newSide(endpoint.Target, cfg.Target)
	if r.source.spec.IsFile() && r.source.open() {
		r.inspect(whole)
		r.source.nodes = nil
	}
	var wg sync.WaitGroup
	slot := make(chan struct{}, 16)
	for _, s := range []*side{&r.source, &r.target} {
		for _, n := range s.nodes {
			wg.Go(func() {
				slot <- struct{}{}
				defer func() { <-slot }()
				n.gather(ctx, s.d)
				if s == &r.source && s.cluster() && !n.primary && n.err == nil {
					reads, err := s.d.ReadsAtOffset(ctx, s.d.Shards()[n.shard], n.addr)
					n.moves = err == nil && !reads
				}
			})
		}
	}
	wg.Wait()
	if r.source.open() && !r.source.spec.IsFile() {
		r.source.readWriteRates(ctx, cfg.RateWindow) // before the sample is taken, because that causes traffic of our own
		r.sample = takeSample(ctx, r)
	}
	return r
}

// readWriteRates measures all nodes during the same time.
func (s *side) readWriteRates(ctx context.Context, window time.Duration) {
	if window == 0 {
		return
	}
	var wg sync.WaitGroup
	for _, n := range s.nodes {
		if n.err == nil && n.infoErr == nil {
			wg.Go(func() { n.readWriteRate(ctx, window) })
		}
	}
	wg.Wait()
}

// readWriteRate measures how much clients have written since the first reading. Where the node does not tell, the rate stays 0. A node at
// rest is not measured: the rate is the most that it can be.
func (n *node) readWriteRate(ctx context.Context, window time.Duration) {
	if most, rests := endpoint.AtRest(n.info); rests {
		n.written = most
		return
	}
	if err := retry.Pause(ctx, time.Until(n.first.At.Add(window))); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, endpoint.Silence)
	defer cancel()
	last, err := endpoint.ReadCounters(ctx, n.client)
	if endpoint.IsSilence(err) {
		n.fellSilent()
	}
	if err == nil {
		n.written, _ = endpoint.WriteRate(n.first, last, endpoint.Traffic{})
	}
}

// fellSilent marks a node that has not answered for the longest permitted time as one that does not answer, so that nothing else
// waits for it.
func (n *node) fellSilent() {
	n.err = fmt.Errorf("%s has not answered for %v", n.addr, endpoint.Silence)
}

func newSide(name endpoint.Side, cfg Side) side {
	s := side{name: name, spec: cfg.Spec, d: cfg.Deployment, err: cfg.Err}
	if s.d == nil {
		if s.err == nil {
			s.err = fmt.Errorf("%s was not opened", cfg.Spec)
		}
		return s
	}
	for i, shard := range s.d.Shards() {
		s.nodes = append(s.nodes, &node{addr: shard.Primary.Addr, shard: i, primary: true})
		for _, replica := range shard.Replicas {
			s.nodes = append(s.nodes, &node{addr: replica.Addr, shard: i})
		}
	}
	return s
}

func (n *node) gather(ctx context.Context, d *endpoint.Deployment) {
	ctx, cancel := context.WithTimeout(ctx, endpoint.Silence)
	defer cancel()
	defer func() {
		if n.err == nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			n.fellSilent()
		}
	}()
	if n.client, n.err = d.Client(ctx, n.addr, 0); n.err != nil {
		return
	}
	if err := n.client.Do(ctx, n.client.B().Ping().Build()).Error(); err != nil && endpoint.Code(err) == "" {
		n.err = fmt.Errorf("PING to %s: %w", n.addr, err)
		return
	}
	n.infoErr = n.readInfo(ctx)
	n.first = endpoint.CountersOf(n.info, time.Now())
	n.readConfig(ctx)
	n.readClock(ctx)
	if n.infoErr != nil {
		return
	}
	n.server, n.infoErr = d.Server(ctx, n.addr)
}

func (n *node) readInfo(ctx context.Context) error {
	n.info = map[string]string{}
	for _, section := range []string{"", "commandstats", "modules"} { // before 7.0, INFO accepts only one section at a time
		cmd := n.client.B().Arbitrary("INFO")
		if section != "" {
			cmd = cmd.Args(section)
		}
		text, err := n.client.Do(ctx, cmd.Build()).ToString()
		if section != "" && endpoint.Code(err) == "ERR" { // before 2.6 INFO has no sections
			continue
		}
		if err != nil {
			return err
		}
		maps.Copy(n.info, endpoint.ParseInfo(text))
		if section == "modules" {
			n.modules = parseModules(text)
		}
	}
	var err error
	n.dbs, err = endpoint.Keyspace(n.info)
	return err
}

// parseModules reads the lines "module:name=bf,ver=80001,..." of INFO modules (since 5.0.5).
func parseModules(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "module:name=")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, ",")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (n *node) readConfig(ctx context.Context) {
	n.config = map[string]string{}
	cmds := make([]rueidis.Completed, len(configNames))
	for i, name := range configNames {
		cmds[i] = n.client.B().Arbitrary("CONFIG", "GET", name).Build()
	}
	for _, resp := range n.client.DoMulti(ctx, cmds...) {
		m, err := resp.AsStrMap()
		if err != nil {
			n.confErr = err
			continue
		}
		maps.Copy(n.config, m)
	}
}

func (n *node) readClock(ctx context.Context) {
	sent := time.Now()
	m, err := n.client.Do(ctx, n.client.B().Time().Build()).ToMessage()
	back := time.Now()
	var told time.Time
	if err == nil {
		told, err = reply.Time(&m)
	}
	n.skew, n.skewErr = told.Sub(sent.Add(back.Sub(sent)/2)), err // relative to the middle between sending and receiving
}

// num returns a field of INFO as a number.
func (n *node) num(field string, otherwise float64) float64 {
	v, err := strconv.ParseFloat(n.info[field], 64)
	if err != nil {
		return otherwise
	}
	return v
}

// setting returns a value of CONFIG GET, or why there is none.
func (n *node) setting(names ...string) (value, reason string) {
	for _, name := range names {
		if v, ok := n.config[name]; ok {
			return v, ""
		}
	}
	if n.confErr != nil {
		return "", fmt.Sprintf("CONFIG GET %s: %v", names[0], n.confErr)
	}
	return "", fmt.Sprintf("the server has no setting %s", names[0])
}

// number returns a setting that is a number of bytes or seconds.
func (n *node) number(name string) (value int64, reason string) {
	text, reason := n.setting(name)
	if reason != "" {
		return 0, reason
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Sprintf("CONFIG GET %s gave %q", name, text)
	}
	return v, ""
}

// primaries returns the primaries of a side, including those that do not answer.
func (s *side) primaries() []*node {
	var out []*node
	for _, n := range s.nodes {
		if n.primary {
			out = append(out, n)
		}
	}
	return out
}

// readers returns the nodes that the links will read from. For each shard that is a replica, where ReadFrom allows it and one
// answers and can be read at an offset, else the primary.
func (r *run) readers() []*node {
	chosen := map[int]*node{}
	for _, n := range r.source.nodes {
		have := chosen[n.shard]
		if have == nil || r.cfg.ReadFrom == "replica" && have.primary && !n.primary && n.err == nil && !n.moves {
			chosen[n.shard] = n
		}
	}
	var out []*node
	for _, i := range slices.Sorted(maps.Keys(chosen)) {
		out = append(out, chosen[i])
	}
	return out
}

// dataBytes returns how much memory the data of a node takes, without the server's own overhead.
func (n *node) dataBytes() (int64, bool) {
	used := n.num("used_memory", -1)
	if used < 0 {
		return 0, false
	}
	for _, other := range []string{"used_memory_startup", "mem_replication_backlog", "mem_clients_slaves", "mem_clients_normal", "mem_aof_buffer"} {
		used -= n.num(other, 0)
	}
	return max(int64(used), 0), true
}

// sourceData returns the sum of the data of all primaries of the source, or the reason why it is not known.
func (r *run) sourceData() (total int64, reason string) {
	for _, n := range r.source.primaries() {
		data, ok := n.dataBytes()
		switch {
		case n.err != nil:
			return 0, n.addr + " does not answer"
		case !ok:
			return 0, fmt.Sprintf("INFO memory of %s is not available: %v", n.addr, n.infoErr)
		}
		total += data
	}
	return total, ""
}

// bytesText returns a number of bytes for people, such as "1.5 GiB".
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 && n > -1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, i := float64(n)/1024, 0
	for ; (v >= 1024 || v <= -1024) && i < len(units)-1; i++ {
		v /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
