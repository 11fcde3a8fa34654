package dataset

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/rueidis"
)

// ReadAll reads type, expiry and value of every key of database 0 as fast as pipelines and the number of connections
// allow, and throws them away: what any comparison has to spend at least, on one side. It gives the number of keys.
func (s *Side) ReadAll(ctx context.Context, connections int) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pages := make(chan []string, 2*connections)
	errs := make([]error, connections)
	counts := make([]int64, connections)
	var wg sync.WaitGroup
	for w := range connections {
		wg.Go(func() {
			if errs[w] = s.readPages(ctx, pages, &counts[w]); errs[w] != nil {
				cancel()
			}
		})
	}
	err := eachKeys(ctx, s, 0, func(keys []string) error {
		select {
		case pages <- keys:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	close(pages)
	wg.Wait()
	var total int64
	for _, n := range counts {
		total += n
	}
	return total, errors.Join(append(errs, err)...)
}

func (s *Side) readPages(ctx context.Context, pages <-chan []string, count *int64) error {
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: s.addrs, Password: s.password, ForceSingleClient: !s.Cluster, DisableCache: true, DisableRetry: true, AlwaysRESP2: true,
		ClientSetInfo: rueidis.DisableClientSetInfo, PipelineMultiplex: -1,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	for keys := range pages {
		values := make([]value, len(keys))
		cmds := make([]rueidis.Completed, 0, 2*len(keys))
		for _, k := range keys {
			cmds = append(cmds, c.B().Type().Key(k).Build(), c.B().Pttl().Key(k).Build())
		}
		for i, r := range c.DoMulti(ctx, cmds...) {
			if i%2 == 1 {
				continue
			}
			if values[i/2].kind, err = r.ToString(); err != nil {
				return fmt.Errorf("TYPE: %w", err)
			}
		}
		cmds = cmds[:0]
		for i := range values {
			words, err := values[i].command()
			if err != nil {
				return err
			}
			if words != nil {
				cmds = append(cmds, readCommand(c, words, keys[i]))
			}
		}
		for _, r := range c.DoMulti(ctx, cmds...) {
			if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) && !gone(err) {
				return err
			}
		}
		*count += int64(len(keys))
	}
	return nil
}
