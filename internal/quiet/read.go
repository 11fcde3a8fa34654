package quiet

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/retry"
)

// Read asks every primary of the deployment, according to the last discovery. For a node that does not answer, the reading says so;
// the only error is that of ctx.
func Read(ctx context.Context, d *endpoint.Deployment) ([]Reading, error) {
	shards := d.Shards()
	readings := make([]Reading, len(shards))
	if d.Spec().Proxy != "" {
		for i, s := range shards {
			readings[i] = Reading{Addr: s.Primary.Addr, Silent: "a proxy hides its servers, and answers INFO for any one of them"}
		}
		return readings, ctx.Err()
	}
	var wg sync.WaitGroup
	for i, s := range shards {
		wg.Go(func() {
			var err error
			if readings[i], err = readNode(ctx, d, s.Primary.Addr); err != nil {
				readings[i] = Reading{Addr: s.Primary.Addr, Silent: err.Error()}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return readings, nil
}

func readNode(ctx context.Context, d *endpoint.Deployment, addr string) (Reading, error) {
	c, err := d.Client(ctx, addr, 0)
	if err != nil {
		return Reading{}, err
	}
	info, err := endpoint.Info(ctx, c, "server", "replication", "persistence", "stats", "commandstats")
	if err != nil {
		return Reading{}, err
	}
	return parseReading(addr, info), nil
}

// parseReading makes a reading of the fields of INFO.
func parseReading(addr string, info map[string]string) Reading {
	r := Reading{Addr: addr, RunID: info["run_id"], Role: info["role"], ReplID: info["master_replid"], Earlier: info["master_replid2"], Changes: -1, LastSave: info["rdb_last_save_time"]}
	if n, err := strconv.ParseInt(info["master_repl_offset"], 10, 64); err == nil {
		r.Offset = n
	}
	if n, err := strconv.ParseInt(info["rdb_changes_since_last_save"], 10, 64); err == nil {
		r.Changes = n
	}
	r.Evicted, _ = strconv.ParseInt(info["evicted_keys"], 10, 64)
	counts := endpoint.CallCounts(info)
	if len(counts) > 0 {
		r.Calls, r.Unknown = map[string]int64{}, map[string]int64{}
	}
	r.Info = counts["info"].All
	for name, c := range counts {
		switch name = strings.ToLower(name); {
		case writesData(name):
			r.Calls[name] = c.All // a failed call counts, too: its sender is a writer that is still active
		case !inTable(name):
			r.Unknown[name] = c.All
		}
	}
	return r
}

// pollEvery is how often a source is asked during its quiet time, so that a writer is noticed soon.
const pollEvery = 500 * time.Millisecond

// toldAfter is how long it takes until CLIENT LIST, which counts idle time in whole seconds, can tell a writer from the connections
// over which surecut itself has just read the source.
const toldAfter = 2500 * time.Millisecond

// Watch waits for the quiet time, or until it sees a write. The report covers the whole time since the readings in before, which
// the caller takes when a comparison begins. The result still says that the source was written during the quiet time itself, and
// not only during the comparison. A server that does not answer, or that was restarted, ends the wait, too; what was written there
// is then not known.
func Watch(ctx context.Context, d *endpoint.Deployment, before []Reading, quietFor time.Duration) (r Report, still bool, err error) {
	begun := time.Now()
	first, err := Read(ctx, d)
	if err != nil {
		return r, false, err
	}
	last, seen := first, Report{}
	for time.Since(begun) < quietFor {
		if err := retry.Pause(ctx, min(pollEvery, quietFor-time.Since(begun))); err != nil {
			return r, false, err
		}
		if last, err = Read(ctx, d); err != nil {
			return r, false, err
		}
		if seen = Compare(first, last); !seen.Quiet {
			still = seen.Written()
			break
		}
	}
	if still { // CLIENT LIST can tell writers from the connections of the comparison only after a while
		if err := retry.Pause(ctx, min(toldAfter, quietFor)-time.Since(begun)); err != nil {
			return r, false, err
		}
	}
	r = Compare(before, last)
	r.include(seen)
	r.ForMs = quietFor.Milliseconds()
	for i := range r.Nodes {
		if r.Nodes[i].Reason != "" {
			nameWriters(ctx, d, &r.Nodes[i], time.Since(begun))
		}
	}
	return r, still, nil
}
