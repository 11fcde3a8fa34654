package main

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/profile"
	"surecut/reports"
	"surecut/scanner"
	"surecut/scanner/compat"
)

// scanRules returns the rules for migrate --scan, which are those of the target's kind or of the kind that --scan-to names. It
// returns nil if the target runs every command, so that only big keys are looked for.
func scanRules(c *cli.Context, target endpoint.Spec) (*profile.Profile, error) {
	kind := c.String("scan-to")
	switch {
	case !c.Bool("scan") && kind != "":
		return nil, errors.New("--scan-to has no meaning without --scan")
	case !c.Bool("scan"):
		return nil, nil
	case kind == "":
		kind = target.Rules()
	}
	if kind == "" {
		return nil, nil
	}
	p, err := profile.Get(kind)
	if err != nil {
		return nil, fmt.Errorf("--scan-to: %w", err)
	}
	return p, nil
}

// streamScan examines the snapshots and the commands that pass through a migration.
type streamScan struct {
	keys *scanner.Collector

	mu      sync.Mutex
	t       *compat.Tally             // nil if commands are not checked; guarded by mu
	streams map[string]*compat.Writes // by shard; guarded by mu
}

// newStreamScan looks for keys that are big for the target, and checks commands by the rules unless these are nil.
func newStreamScan(rules *profile.Profile, target *endpoint.Deployment) *streamScan {
	o := scanner.DefaultConfig()
	if target != nil && target.Kind() == endpoint.Cluster {
		o.TargetShards = len(target.Shards())
	}
	s := &streamScan{keys: scanner.NewCollector(o), streams: map[string]*compat.Writes{}}
	if rules != nil {
		s.t = compat.NewTally(compat.Config{Profile: rules, Tag: "{}"})
	}
	return s
}

// observe is the function for migrator.Config.Observe.
func (s *streamScan) observe(shard string, db int, args [][]byte, at time.Time) {
	s.keys.Write(shard, db, args, at)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.t == nil {
		return
	}
	w := s.streams[shard]
	if w == nil {
		w = s.t.Writes(compat.FromStream, shard)
		s.streams[shard] = w
	}
	w.Add(db, args, at)
}

// reports returns the reports of the scan. If there is no report of big keys, it says so on stderr.
func (s *streamScan) reports(o MigrateOptions, moved *keyspace.Selection, stderr io.Writer) (list []reports.Report) {
	header := func(kind string) reports.Header {
		return reports.NewHeader(kind, Version, o.Endpoints.Source.String(), "")
	}
	if keys := s.keys.Result(); keys != nil {
		keys.Selection = moved
		list = append(list, &reports.BigKeys{Header: header(reports.KindBigKeys), BigKeys: *keys})
	} else {
		fmt.Fprintln(stderr, "surecut: --scan: this run did not receive a complete snapshot, so there is no report of big keys; use surecut scan bigkeys")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.t != nil {
		list = append(list, &reports.Compat{Header: header(reports.KindCompat), Result: *s.t.Result()})
	}
	return list
}
