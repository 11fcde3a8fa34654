package target

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// proxy is the way to a target that is written through a proxy.
type proxy struct {
	t    *Target
	kind endpoint.Kind
	addr atomic.Pointer[string] // address of the proxy that is used

	// Lengths of names, in bytes: the longest that the proxy passed, and the shortest that it did not pass (0: unknown).
	passed, refused atomic.Int64
}

// openProxied prepares for writing through a proxy. The DUMP of probe keys, which expire within a minute, tells which RDB version the
// servers behind it take.
func (t *Target) openProxied(ctx context.Context, from *endpoint.Deployment) error {
	if source := from.Spec(); source.Kind == endpoint.AOF {
		return fmt.Errorf("%s: an AOF cannot be migrated through a proxy, since keys in doubt cannot be copied again from a file: make an RDB of it first", source)
	}
	p := &proxy{t: t, kind: t.d.Kind()}
	t.goBy(p)
	t.Can = Abilities{}
	if err := p.Refresh(ctx); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if err := p.probeDump(ctx); err != nil {
		return fmt.Errorf("target %s: %w", p.at(), err)
	}
	t.Can.Tells = p.tells(ctx)
	t.Bounds = boundsOf(t.Number, nil)
	t.Dialect = command.DialectOf(t.Number, 0)
	if p.kind == endpoint.Codis {
		t.Dialect = t.Dialect.ThroughCodis()
	} else {
		t.Dialect = t.Dialect.ThroughTwemproxy()
	}
	return t.learnSource(ctx, from)
}

// dumpSince lists RDB versions, with the first Redis version that writes each.
var dumpSince = []struct{ rdb, number int }{{13, 80400}, {12, 70400}, {11, 70200}, {10, 70000}, {9, 50000}, {8, 40000}, {7, 30200}, {6, 20800}}

// probeDump finds the lowest version of the servers behind the proxy, as far as the RDB version tells it.
func (p *proxy) probeDump(ctx context.Context) error {
	c, err := p.t.d.Client(ctx, p.at(), 0)
	if err != nil {
		return err
	}
	for i := range probes {
		name := keyspace.ProbePrefix + p.t.id + ":" + strconv.Itoa(i)
		if err := c.Do(ctx, arbitrary(c, "SETEX", name, "60", "x")).Error(); err != nil {
			return fmt.Errorf("SETEX: %w", err)
		}
		payload, err := c.Do(ctx, arbitrary(c, p.Reading("DUMP", name)...)).AsBytes()
		if err == nil && len(payload) < 10 {
			err = fmt.Errorf("its payload has only %d bytes", len(payload))
		}
		if err != nil {
			return fmt.Errorf("DUMP: %w", err)
		}
		if err := c.Do(ctx, arbitrary(c, "DEL", name)).Error(); err != nil {
			return fmt.Errorf("DEL: %w", err)
		}
		if version := int(binary.LittleEndian.Uint16(payload[len(payload)-10:])); p.t.Payloads.Version == 0 || version < p.t.Payloads.Version {
			p.t.Payloads.Version = version
		}
	}
	i := slices.IndexFunc(dumpSince, func(s struct{ rdb, number int }) bool { return s.rdb <= p.t.Payloads.Version })
	if i < 0 {
		return fmt.Errorf("the servers behind the proxy write RDB version %d, but 6 is the oldest version that is supported", p.t.Payloads.Version)
	}
	p.t.Number = dumpSince[i].number
	return nil
}

// at returns the address of the proxy.
func (p *proxy) at() string { return *p.addr.Load() }

func (p *proxy) PrimaryOf(uint16) (endpoint.Node, bool) { return endpoint.Node{Addr: p.at()}, true }

// Refresh chooses a proxy that answers.
func (p *proxy) Refresh(ctx context.Context) error {
	addr, err := p.t.d.Proxy(ctx)
	if err == nil {
		p.addr.Store(&addr)
	}
	return err
}

func (p *proxy) NewWriter(of Writing) Writer {
	return &proxied{Writing: of, connections: &connections{t: p.t, open: map[string]*conn{}}, p: p}
}

// Reading returns a command that reads one key, in the form in which it is sent. Codis may send reads to replicas, which lag, but sends
// a script to the primary.
func (p *proxy) Reading(args ...string) []string {
	if p.kind != endpoint.Codis {
		return args
	}
	return append([]string{"EVAL", "return redis.call(unpack(ARGV))", "1", args[1]}, args...)
}

// form returns the command of a call in the form in which it is sent. Codis has SLOTSRESTORE in place of RESTORE; its arguments are the
// same, and it overwrites.
func (p *proxy) form(c *Call) []string {
	switch {
	case c.asks:
		return slices.Concat([]string{"EVAL", ifThere, strconv.Itoa(len(c.needs))}, c.needs)
	case len(c.needs) > 0:
		return slices.Concat([]string{"EVAL", ifThere, strconv.Itoa(len(c.needs))}, c.needs, c.Args)
	case p.kind == endpoint.Codis && c.Args[0] == "RESTORE" && len(c.Args) == 4:
		return append([]string{"SLOTSRESTORE"}, c.Args[1:]...)
	case c.Args[0] == "EXISTS", c.Args[0] == "PTTL":
		return p.Reading(c.Args...)
	}
	return c.Args
}

// restoreCalls returns the commands that write a value in place of whatever a key holds. Each must be answered before the next is sent.
func (p *proxy) restoreCalls(name, payload string, expireAt int64) [][]string {
	calls := [][]string{{"RESTORE", name, "0", payload}}
	if p.kind != endpoint.Codis {
		calls = [][]string{{"DEL", name}, calls[0]}
	}
	if expireAt > 0 {
		calls = append(calls, []string{"PEXPIREAT", name, strconv.FormatInt(expireAt, 10)})
	}
	return calls
}

// shortName is a length of names that nutcracker passes on with every configuration: its smallest buffers have 512 bytes.
const shortName = 400

// refuses says whether a name of a call's keys is too long for the proxy. The limit is an option of the proxy, so refuses tries it out.
func (p *proxy) refuses(ctx context.Context, c *Call) bool {
	longer := func(text string) bool { return len(text) > shortName }
	if p.kind != endpoint.Twemproxy || !slices.ContainsFunc(c.Args, longer) {
		return false
	}
	return slices.ContainsFunc(c.Keys(), func(k keyspace.Key) bool { return longer(k.Name) && !p.passes(ctx, int64(len(k.Name))) })
}

// passes says whether the proxy passes names of n bytes on. If that cannot be found out, it says yes, and the call itself will tell.
func (p *proxy) passes(ctx context.Context, n int64) bool {
	if refused := p.refused.Load(); n <= p.passed.Load() || refused > 0 && n >= refused {
		return n <= p.passed.Load()
	}
	exists := func(n int64) bool {
		client, err := p.t.d.Client(ctx, p.at(), 0)
		if err != nil {
			return false
		}
		dc, release := client.Dedicate()
		defer release()
		return dc.Do(ctx, arbitrary(dc, "EXISTS", strings.Repeat("k", int(n)))).NonRedisError() == nil
	}
	switch {
	case exists(n):
		p.passed.Store(max(n, p.passed.Load()))
	case exists(1):
		p.refused.Store(n)
		return false
	}
	return true
}
