package preflight

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/retry"
)

// Side is one endpoint of the migration, whether or not it could be opened.
type Side struct {
	Spec       endpoint.Spec
	Deployment *endpoint.Deployment // nil where it could not be opened
	Err        error                // why it could not be opened
}

// Connect opens an endpoint for Run. It never fails: the connectivity check reports what went wrong.
func Connect(ctx context.Context, spec endpoint.Spec) Side {
	d, err := endpoint.Open(ctx, spec)
	return Side{Spec: spec, Deployment: d, Err: err}
}

// ConnectWithin is Connect for a server that may be paused (CLIENT PAUSE), stopped or busy: while it accepts connections and does not
// answer, it is tried again, for at least 10 seconds and up to most. The log tells of that.
func ConnectWithin(ctx context.Context, spec endpoint.Spec, most time.Duration, log *slog.Logger) Side {
	begun := time.Now()
	told := time.AfterFunc(toldAfter, func() {
		log.Warn("waiting for a server that has not answered yet", "server", spec.String(), "since", begun.Format(time.TimeOnly), "at most", most)
	})
	defer told.Stop()
	var last Side
	for bounded, tries := ctx, 0; ; tries++ {
		if tries > 0 {
			var cancel context.CancelFunc
			bounded, cancel = context.WithDeadline(ctx, begun.Add(most))
			defer cancel()
		}
		s := Connect(bounded, spec)
		if tries > 0 && bounded.Err() != nil { // it was cut short, and says less than the one before
			s = last
		}
		waited := time.Since(begun)
		if !endpoint.IsSilence(s.Err) || ctx.Err() != nil {
			return s
		}
		if waited >= most || bounded.Err() != nil {
			s.Err = fmt.Errorf("%w; it was waited for since %s (%v)", s.Err, begun.Format(time.TimeOnly), waited.Round(time.Second))
			return s
		}
		log.Warn("still waiting for a server that does not answer", "server", spec.String(), "since", begun.Format(time.TimeOnly), "why", oneLine(s.Err))
		last = s
		_ = retry.Pause(ctx, 100*time.Millisecond) // the next try notices the end of ctx
	}
}

// toldAfter is how long a server may keep silent without a word of it.
const toldAfter = 3 * time.Second

// Opened returns the Side of a deployment that is open already.
func Opened(d *endpoint.Deployment) Side { return Side{Spec: d.Spec(), Deployment: d} }

// Close closes the deployment, if there is one.
func (s Side) Close() {
	if s.Deployment != nil {
		s.Deployment.Close()
	}
}

// Config says what the checks must know about the migration.
type Config struct {
	Source, Target Side

	OnExisting string // fail, replace or keep
	Scans      bool   // the source is scanned instead of replicated
	ReadFrom   string // replica (where there is one) or primary
	Filter     keyspace.Filter
	StateDir   string // directory of the spool; "" where it is not known yet
	Resume     string // ID of the migration that is resumed; "" for a new one

	BigValue   int64 // bytes above which a value is big
	SampleKeys int   // keys looked at on the source

	// RateWindow is how long a source that is not at rest is observed to measure how much clients write. 0: not at all, and the rate of
	// writes counts as 0.
	RateWindow time.Duration

	Accept       []string // IDs of checks whose alarms are accepted
	AcceptAlarms bool     // every alarm is accepted
}

// DefaultConfig returns a Config without its sides.
func DefaultConfig() Config {
	return Config{OnExisting: "fail", ReadFrom: "replica", BigValue: 16 << 20, SampleKeys: 10000, RateWindow: endpoint.RateWindow}
}

// Validate returns all problems of the configuration as one joined error.
func (c Config) Validate() error {
	var errs []error
	if !slices.Contains([]string{"fail", "replace", "keep"}, c.OnExisting) {
		errs = append(errs, fmt.Errorf("Config.OnExisting %q: must be fail, replace or keep", c.OnExisting))
	}
	if !slices.Contains([]string{"replica", "primary"}, c.ReadFrom) {
		errs = append(errs, fmt.Errorf("Config.ReadFrom %q: must be replica or primary", c.ReadFrom))
	}
	if c.BigValue <= 0 {
		errs = append(errs, fmt.Errorf("Config.BigValue %d: must be more than 0", c.BigValue))
	}
	if c.SampleKeys <= 0 {
		errs = append(errs, fmt.Errorf("Config.SampleKeys %d: must be more than 0", c.SampleKeys))
	}
	for _, id := range c.Accept {
		if !Known(id) {
			errs = append(errs, fmt.Errorf("Config.Accept %q: there is no such check; the checks are %v", id, IDs()))
		}
	}
	return errors.Join(errs...)
}

// selection returns the part of the keys that the migration copies, and nil where it copies all of them.
func (c Config) selection() *keyspace.Selection {
	f := c.Filter
	if c.Source.Spec.Kind == endpoint.Cluster { // a cluster has one database, so that naming it selects nothing
		f.DBs = nil
	}
	return f.Selection(keyspace.NamedDatabases{Source: c.Source.Spec.NamedDB(), Target: c.Target.Spec.NamedDB()})
}

// filter returns the filter of the migration, including the database that the source's URL names.
func (c Config) filter() keyspace.Filter { return c.Filter.From(c.Source.Spec.NamedDB()) }

// reads says whether a source database takes part in the migration.
func (c Config) reads(db int) bool {
	f := c.filter()
	return f.MatchDB(db)
}
