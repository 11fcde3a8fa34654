package target

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Learn notes the expiries that the target holds from before this run. Until that is done, and allPassed, any key that is not known
// may have expired. links returns the number of links.
func (e *Expiring) Learn(ctx context.Context, links func() int) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for learnt := false; ; {
		if !learnt {
			err := e.learnOnce(ctx)
			if learnt = err == nil; !learnt && ctx.Err() == nil {
				e.nodes.log.Warn("the expiries of the target's keys could not be read; trying again", "error", err)
				tick.Reset(5 * time.Second)
			} else {
				tick.Reset(100 * time.Millisecond)
			}
		}
		if learnt && e.allPassed(links()) {
			e.unknown.Store(false)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (e *Expiring) learnOnce(ctx context.Context) error {
	for _, addr := range e.nodes.Primaries() {
		dbs, err := e.nodes.Databases(ctx, addr)
		if err != nil {
			return err
		}
		for _, db := range dbs {
			if err := e.learnOn(ctx, addr, db); err != nil {
				return fmt.Errorf("target %s: read the expiries of database %d: %w", addr, db, err)
			}
		}
	}
	return nil
}

func (e *Expiring) learnOn(ctx context.Context, addr string, db int) error {
	client, err := e.nodes.d.Client(ctx, addr, db)
	if err != nil {
		return err
	}
	dc, release := client.Dedicate()
	defer release()
	for cursor := uint64(0); ; {
		page, err := dc.Do(ctx, arbitrary(dc, "SCAN", strconv.FormatUint(cursor, 10), "COUNT", "500")).AsScanEntry()
		if err != nil {
			return err
		}
		cmds := make([]rueidis.Completed, len(page.Elements))
		for i, name := range page.Elements {
			cmds[i] = arbitrary(dc, "PTTL", name)
		}
		now := time.Now().UnixMilli()
		for i, r := range dc.DoMulti(ctx, cmds...) {
			ttl, err := r.AsInt64()
			if err != nil {
				return err
			}
			if ttl >= 0 {
				e.Note(db, page.Elements[i], now+ttl)
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}
