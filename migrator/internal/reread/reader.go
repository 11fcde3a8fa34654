package reread

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/reply"
	"surecut/internal/retry"
	"surecut/internal/waiting"
)

// Reader reads keys on the node that the link receives from, at known offsets.
type Reader struct {
	TellsMoves bool // Read returns MOVED and ASK at once, and does not wait until the key is back

	d        *endpoint.Deployment
	node     func() string
	retryFor time.Duration
	names    *keyspace.Filter
	waits    *waiting.Book
}

// NewReader returns a reader of a source. node returns the address of the node to read from, which changes with a failover; a source that
// does not answer is asked again for retryFor. names knows the names of keys on the source.
func NewReader(source *endpoint.Deployment, node func() string, retryFor time.Duration, names *keyspace.Filter) *Reader {
	return &Reader{d: source, node: node, retryFor: retryFor, names: names}
}

// Tell has a book show the waits of the reader.
func (s *Reader) Tell(waits *waiting.Book) { s.waits = waits }

// Copy is one key as the source held it at an offset.
type Copy struct {
	Key      keyspace.Key
	Payload  string // as DUMP returned it; "" where the key is absent, or its value was not asked for
	ExpireAt int64  // Unix ms; 0: never
	Present  bool
	Offset   int64 // replication offset at which the key was read
}

// Read reads keys from the source and returns them in the order of the offsets as of which they were read. It reads them in a transaction
// that also asks for the offset; a cluster refuses transactions over several slots, so there each slot has one of its own. Without values,
// only presence and expiry are read. A source that is lost, or stands before the offset least, is tried again for a while: it may have
// failed over.
func (s *Reader) Read(ctx context.Context, keys []keyspace.Key, values bool, least int64) (out []Copy, err error) {
	again, err := asking{s.retryFor, s.waits}.ask(ctx, s.node, func() (again, err error) {
		out, err = s.readOnce(ctx, s.node(), keys, values)
		if err == nil && len(out) > 0 && out[0].Offset < least {
			err = fmt.Errorf("source %s stands at offset %d, although it has already sent its stream up to offset %d", s.node(), out[0].Offset, least)
		}
		code := endpoint.Code(err)
		if s.TellsMoves && (code == "MOVED" || code == "ASK") {
			return nil, err
		}
		if code == "" || endpoint.Passing(code) {
			return err, nil
		}
		return nil, err
	})
	return out, cmp.Or(again, err)
}

// asking says for how long a source is asked again that may answer soon, and who is told of the wait.
type asking struct {
	most  time.Duration
	waits *waiting.Book
}

// ask repeats try, which asks a node, as retry.Policy.Do does.
func (p asking) ask(ctx context.Context, node func() string, try func() (again, err error)) (again, err error) {
	wait := p.waits.New("the migration", "source "+node())
	defer wait.Over()
	return retry.Policy{First: 100 * time.Millisecond, Most: 100 * time.Millisecond, For: p.most}.Do(ctx, func() (again, err error) {
		begun := time.Now()
		wait.Asked(node())
		if again, err = try(); again != nil {
			wait.Failed(again.Error(), endpoint.SilentSince(again, begun))
		}
		return again, err
	})
}

func (s *Reader) readOnce(ctx context.Context, addr string, keys []keyspace.Key, values bool) (out []Copy, err error) {
	facts, err := s.d.Server(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	client, err := s.d.Client(ctx, addr, 0)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", addr, err)
	}
	dc, release := client.Dedicate()
	defer release()
	var cmds []rueidis.Completed
	if s.d.Kind() == endpoint.Cluster {
		cmds = append(cmds, endpoint.Arbitrary(dc, "READONLY"))
	}
	groups := s.groups(keys)
	ends := make([]int, len(groups))
	for i, g := range groups {
		cmds = s.appendRead(cmds, dc, g, values, facts.OffsetCommand())
		ends[i] = len(cmds)
	}
	res := dc.DoMulti(ctx, cmds...)
	for i, g := range groups {
		replies, err := res[ends[i]-2].ToArray()
		if err != nil {
			return nil, fmt.Errorf("source %s: read %d keys at one offset: %w", addr, len(g), firstRefusal(res, err))
		}
		part, err := parseRead(addr, g, replies, values)
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}

// Position returns the replication offset at which the node of the link stands.
func (s *Reader) Position(ctx context.Context) (int64, error) {
	return s.PositionOf(ctx, s.node())
}

// PositionOf returns the replication offset at which a node stands.
func (s *Reader) PositionOf(ctx context.Context, addr string) (int64, error) {
	facts, err := s.d.Server(ctx, addr)
	if err != nil {
		return 0, fmt.Errorf("source: %w", err)
	}
	client, err := s.d.Client(ctx, addr, 0)
	if err != nil {
		return 0, fmt.Errorf("source %s: %w", addr, err)
	}
	m, err := client.Do(ctx, endpoint.Arbitrary(client, facts.OffsetCommand()...)).ToMessage()
	if err != nil {
		return 0, fmt.Errorf("source %s: ask for its offset: %w", addr, err)
	}
	return endpoint.ParseOffset(m)
}

// groups splits keys into groups that one transaction may read: on a cluster one group for each slot, elsewhere a single one.
func (s *Reader) groups(keys []keyspace.Key) [][]keyspace.Key {
	if s.d.Kind() != endpoint.Cluster {
		return [][]keyspace.Key{keys}
	}
	var groups [][]keyspace.Key
	at := map[uint16]int{}
	for _, k := range keys {
		slot := keyspace.Slot(s.names.SourceName(k.DB, k.Name))
		i, known := at[slot]
		if !known {
			i = len(groups)
			at[slot] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], k)
	}
	return groups
}

// appendRead appends the transaction that reads one group; its EXEC is the last command but one. TIME and PTTL, which counts from it, come
// before the values: DUMP of large values takes a while, in which the clock of TIME goes on, while that of PTTL stands still since 7.0.
func (s *Reader) appendRead(cmds []rueidis.Completed, b endpoint.Builder, keys []keyspace.Key, values bool, offset []string) []rueidis.Completed {
	add := func(args ...string) { cmds = append(cmds, endpoint.Arbitrary(b, args...)) }
	add("MULTI")
	add("TIME")
	read := "TYPE" // not EXISTS: the source counts calls, and preflight would take those for the application's, of several keys
	if values {
		read = "DUMP"
	}
	db := 0
	for _, name := range []string{"PTTL", read} {
		for _, k := range keys {
			if k.DB != db {
				add("SELECT", strconv.Itoa(k.DB))
				db = k.DB
			}
			add(name, s.names.SourceName(k.DB, k.Name))
		}
	}
	add(offset...)
	add("EXEC")
	add("SELECT", "0")
	return cmds
}

// firstRefusal returns the first error reply, which says more than the EXECABORT that follows from it; exec if there is none.
func firstRefusal(res []rueidis.RedisResult, exec error) error {
	for _, r := range res {
		if e := r.Error(); e != nil {
			return e
		}
	}
	return exec
}

func parseRead(addr string, keys []keyspace.Key, replies []rueidis.RedisMessage, values bool) (out []Copy, err error) {
	n := len(replies)
	now, err := reply.Time(&replies[0])
	if err != nil {
		return nil, fmt.Errorf("source %s: TIME: %w", addr, err)
	}
	offset, err := endpoint.ParseOffset(replies[n-1])
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", addr, err)
	}
	i, db := 1, 0
	next := func(k keyspace.Key) *rueidis.RedisMessage {
		if k.DB != db {
			i, db = i+1, k.DB
		}
		i++
		return &replies[i-1]
	}
	out = make([]Copy, len(keys))
	for j, k := range keys {
		ttl, err := next(k).AsInt64()
		if err != nil {
			return nil, fmt.Errorf("source %s: read key %s: %w", addr, keyspace.PrintableShort(k.Name), err)
		}
		out[j] = Copy{Key: k, Offset: offset, Present: ttl != -2}
		if ttl >= 0 {
			out[j].ExpireAt = max(now.UnixMilli()+ttl, 1)
		}
	}
	for j, k := range keys {
		m := next(k)
		var exists bool
		if values {
			out[j].Payload, err = m.ToString()
			if exists = err == nil; rueidis.IsRedisNil(err) {
				err = nil
			}
		} else {
			var kind string
			kind, err = m.ToString()
			exists = kind != "none"
		}
		if err != nil {
			return nil, fmt.Errorf("source %s: read key %s: %w", addr, keyspace.PrintableShort(k.Name), err)
		}
		out[j].Present = out[j].Present && exists
	}
	return out, nil
}

// AwaitOffset waits until the node stands at an offset that the source has sent, or beyond it.
func (s *Reader) AwaitOffset(ctx context.Context, offset int64) error {
	until := time.Now().Add(s.retryFor)
	for {
		at, err := s.Position(ctx)
		switch {
		case err == nil && at >= offset:
			return nil
		case time.Now().After(until):
			return errors.Join(fmt.Errorf("source %s stands at offset %d, although it has already sent its stream up to offset %d", s.node(), at, offset), err)
		}
		if err := retry.Pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}
