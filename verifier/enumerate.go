package verifier

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

const (
	batchKeys  = 512
	batchBytes = 256 << 10 // of names
)

// enumeration lists the keys of one side and puts a record per key into a spill.
type enumeration struct {
	*side
	to *spill
}

// enumerate lists the keys of the side.
func (s *side) enumerate(ctx context.Context, to *spill) error { return (&enumeration{s, to}).run(ctx) }

// run scans every node of the side and puts a record per key into the spill. Where a node refuses a command or
// fails, the side notes a shortfall instead of returning an error: the run goes on and ends unchecked.
func (e *enumeration) run(ctx context.Context) error {
	if e.isFile() {
		return e.files(ctx)
	}
	watch := e.watchSlots()
	g, gctx := errgroup.WithContext(ctx)
	for _, n := range e.known() {
		g.Go(func() error { return e.node(gctx, n) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	watch.heldStill(ctx)
	watch.servedByNobody()
	return nil
}

func (e *enumeration) node(ctx context.Context, n *node) error {
	dbs, before, err := n.keyspace(ctx)
	if err != nil {
		e.short.add("%s %s did not report which databases hold keys: %v", e.name, n.addr(), err)
		return context.Cause(ctx)
	}
	tallies := map[int]*scanTally{}
	var order []int
	for db, info := range dbs {
		if _, ok := e.pairDB(db); ok {
			e.total.Add(info.Keys)
			order = append(order, db)
		}
	}
	slices.Sort(order)
	e.dbs.add(dbs)
	e.dbs.passOver(dbs)
	for _, db := range order {
		t := &scanTally{}
		tallies[db] = t
		if err := e.database(ctx, n, db, t); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			e.short.add("not all keys of %s %s, database %d, could be listed: %v", e.name, n.addr(), db, err)
		}
	}
	var after map[int]endpoint.Database
	var infoAfter map[string]string
	err = n.retry(ctx, e.cfg.Patience, func() (err error) { // a server that was restarted has closed the connection
		after, infoAfter, err = n.keyspace(ctx)
		return err
	})
	if err != nil {
		e.short.add("%s %s did not report how many keys it holds: %v", e.name, n.addr(), err)
		return context.Cause(ctx)
	}
	e.dbs.add(after)
	if was, is := before["run_id"], infoAfter["run_id"]; was != is && e.dep.Spec().Proxy == "" {
		// Only the process itself knows how far its SCAN has come, and what it counted since its start explains nothing from
		// before.
		e.short.add("%s %s was restarted, or replaced by another server, while its keys were listed; verify again", e.name, n.addr())
	} else {
		n.said = &account{begun: before, listed: infoAfter, dbs: order, keys: keysIn(after, order)}
	}
	allowance := changes(before, infoAfter)
	for _, db := range order {
		e.weigh(n, db, dbs[db], after[db], tallies[db], allowance)
	}
	return nil
}

// scanTally counts the keys that the scan of one database returned. A key that SCAN returned twice counts twice,
// because duplicates cannot be told here.
type scanTally struct {
	scanned  atomic.Int64
	expiring atomic.Int64 // keys that were read with an expiry
}

// weigh compares the number of scanned keys with DBSIZE. A lower number is explained by keys that expired, were
// evicted or were written meanwhile. On a replica, or on a primary whose writes are paused, it is also explained by
// keys that have expired: the server still holds them but does not list them.
func (e *enumeration) weigh(n *node, db int, before, after endpoint.Database, t *scanTally, allowance int64) {
	missing := min(before.Keys, after.Keys) - t.scanned.Load() - allowance
	if n.facts.Role == "slave" || e.name == endpoint.Source && e.cfg.SourcePaused {
		missing -= max(0, after.Expires-t.expiring.Load())
	}
	e.short.spare(max(0, -missing))
	if missing > 0 {
		e.short.add("%s %s, database %d: SCAN returned %d keys, but DBSIZE is %d; there is no explanation for %d of the missing keys",
			e.name, n.addr(), db, t.scanned.Load(), min(before.Keys, after.Keys), missing)
	}
}

// changes bounds how many keys may have come or gone between two replies of INFO.
func changes(before, after map[string]string) int64 {
	delta := func(field string) int64 { return growth(field, before, after) }
	// Every change takes at least 16 bytes of the replication stream, whose offset counts on when a save resets the other
	// counter.
	written := max(delta("rdb_changes_since_last_save"), delta("master_repl_offset")/16)
	return written + delta("expired_keys") + delta("evicted_keys")
}

func (e *enumeration) database(ctx context.Context, n *node, db int, t *scanTally) error {
	g, ctx := errgroup.WithContext(ctx)
	batches := make(chan []string, e.cfg.Workers)
	g.Go(func() error {
		defer close(batches)
		return e.scan(ctx, n, db, t, batches)
	})
	for range e.cfg.Workers {
		g.Go(func() error {
			r := e.borrow(n, db)
			defer e.giveBack(r)
			for names := range batches {
				if err := e.record(ctx, r, names, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// scan lists the keys of one database and sends them in batches.
func (e *enumeration) scan(ctx context.Context, n *node, db int, t *scanTally, batches chan<- []string) error {
	c := e.borrow(n, db)
	defer e.giveBack(c)
	cursor := "0"
	batch := make([]string, 0, batchKeys)
	bytes := 0
	send := func() error {
		select {
		case batches <- batch:
			batch, bytes = make([]string, 0, batchKeys), 0
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	pages := newPager(unknownSize, -1, batchBytes)
	for {
		var page []string
		err := n.retry(ctx, e.cfg.Patience, func() error {
			next, names, err := c.scanNames(ctx, cursor, pages)
			if err == nil {
				cursor, page = next, names
			}
			return err
		})
		if err != nil {
			return err
		}
		t.scanned.Add(int64(len(page)))
		for _, name := range page {
			if strings.HasPrefix(name, keyspace.Prefix) {
				e.own.Add(1)
				continue
			}
			if _, ok := e.compared(db, name); !ok {
				continue
			}
			if !e.strays.belongs(n, name) {
				if err := e.findAstray(n, db, name); err != nil {
					return err
				}
				continue
			}
			bytes += len(name)
			if batch = append(batch, name); len(batch) == batchKeys || bytes >= batchBytes {
				if err := send(); err != nil {
					return err
				}
			}
		}
		if cursor == "0" {
			break
		}
	}
	if len(batch) > 0 {
		return send()
	}
	return nil
}

// record reads a batch and puts its records into the spill. A key that could not be read gets a record that says so.
func (e *enumeration) record(ctx context.Context, r *reader, names []string, t *scanTally) error {
	out := make([]reading, len(names))
	if err := r.read(ctx, names, out, 0); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i := range out {
			out[i] = reading{Err: err}
		}
	}
	for i, name := range names {
		if !out[i].present() && out[i].Err == nil {
			continue // it expired or was deleted after SCAN returned it
		}
		id, _ := e.compared(r.db, name)
		rec := record{keyID: id}
		rec.hold(&out[i])
		if out[i].Err != nil {
			rec.flags = unread
		}
		if rec.expireAt != 0 {
			t.expiring.Add(1)
		}
		if err := e.to.add(&rec); err != nil {
			return err
		}
		e.keys.Add(1)
	}
	return nil
}

// findAstray notes a key that does not belong to the node. In a cluster it becomes a suspect, too: it may have moved here with its
// slot since the topology was read, and its new node may have been listed before it arrived.
func (e *enumeration) findAstray(n *node, db int, name string) error {
	e.strays.add(n, db, name)
	if !e.strays.strict() {
		return nil
	}
	id, _ := e.compared(db, name)
	return e.to.add(&record{keyID: id, flags: unread | astray})
}

// files puts a record per key of the files into the spill.
func (e *enumeration) files(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, shard := range e.dep.Shards() {
		g.Go(func() error {
			return e.eachKey(ctx, shard.Primary.Addr, 0, nil, func(k fileKey) error {
				id, _ := e.compared(k.db, k.name)
				rec := record{keyID: id}
				rec.hold(k.reading)
				if k.Err != nil {
					rec.flags = unread
				}
				e.keys.Add(1)
				e.total.Add(1)
				return e.to.add(&rec)
			})
		})
	}
	return g.Wait()
}
