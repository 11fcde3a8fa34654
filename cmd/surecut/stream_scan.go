package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
	"surecut/internal/profile"
	"surecut/reports"
	"surecut/scanner/compat"
)

// scanRules gives the rules of migrate --scan: those of the target's kind, or of the kind that --scan-to names.
func scanRules(c *cli.Context, target endpoint.Spec) (*profile.Profile, error) {
	kind := c.String("scan-to")
	switch {
	case !c.Bool("scan") && kind != "":
		return nil, errors.New("--scan-to says nothing without --scan")
	case !c.Bool("scan"):
		return nil, nil
	case kind == "":
		kind = target.Rules()
	}
	if kind == "" {
		return nil, fmt.Errorf("--scan: %s runs whatever it is sent; say with --scan-to what else to hold it against: %s", target, strings.Join(profile.Names(), ", "))
	}
	p, err := profile.Get(kind)
	if err != nil {
		return nil, fmt.Errorf("--scan-to: %w", err)
	}
	return p, nil
}

// streamScan looks at the commands that pass through a migration.
type streamScan struct {
	mu      sync.Mutex
	t       *compat.Tally             // guarded by mu
	streams map[string]*compat.Writes // by shard; guarded by mu
}

func newStreamScan(rules *profile.Profile) *streamScan {
	return &streamScan{t: compat.NewTally(compat.Options{Profile: rules, Tag: "{}"}), streams: map[string]*compat.Writes{}}
}

// observe is migrator.Config.Observe.
func (s *streamScan) observe(shard string, db int, args [][]byte, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.streams[shard]
	if w == nil {
		w = s.t.Writes(compat.FromStream, shard)
		s.streams[shard] = w
	}
	w.Add(db, args, at)
}

func (s *streamScan) report(o MigrateOptions) *reports.Compat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &reports.Compat{Header: reports.NewHeader(reports.KindCompat, Version, o.Endpoints.Source.String(), ""), Result: *s.t.Result()}
}
