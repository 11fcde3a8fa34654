package migrator

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// mostLanes bounds Config.Lanes, so that a Deployment has enough connections to one node for all links.
const mostLanes = 64

// Modes of a migration.
const (
	ModeFullIncremental = "full+incremental" // snapshot, then the stream until the migration is told to stop
	ModeFull            = "full"             // ends when the snapshot is in
	ModeIncremental     = "incremental"      // from the checkpoint that an earlier run left
)

// How a source is followed.
const (
	CapturePSYNC = "psync" // by replication
	CaptureScan  = "scan"  // not followed: its keys are scanned, and those that change meanwhile are copied again in rounds
)

// What to do with a key, or a function library, of the snapshot that the target holds already.
const (
	ExistingFail    = "fail"    // stop
	ExistingReplace = "replace" // the source's value wins
	ExistingKeep    = "keep"    // the target's value stays; later writes of the source apply to it
)

// Sides are the two deployments of a migration.
type Sides = endpoint.Sides

// Config configures a migration. Begin with DefaultConfig.
type Config struct {
	Sides      Sides
	Mode       string
	StateDir   string // spool and progress; giving it again resumes
	ReadFrom   string // replica (where there is one) or primary
	OnExisting string
	Filter     keyspace.Filter

	Lanes      int           // connections per target node, for the snapshot and for the stream
	BigValue   int64         // bytes in the snapshot above which a value is written in chunks
	SpoolLimit int64         // bytes of snapshot and stream on disk
	HoldExpiry time.Duration // keys that expire within this time are held without expiry until the link has caught up
	MaxLag     time.Duration // a link whose lag is below this has caught up
	RetryFor   time.Duration // how long a lost source or target is tried again

	RateBytes  int64 // per second; 0: unlimited
	RateOps    int64 // per second; 0: unlimited
	TuneSource bool
	Capture    string
	AcceptCut  bool // an AOF whose end is no whole command is applied without that end, instead of being refused

	Log *slog.Logger // gets the messages of the run; nil: they are discarded
	// Progress, if set, is called by one goroutine with the report of the run: ten times a second, and a last time when the run has ended.
	// It must not wait for the end of the run.
	Progress func(Report)

	// Observe, if set, is called with every command of the stream of each shard, as the source sent it, in the order of the stream. at is
	// when it was received. After a lost connection some commands may come again. There is one goroutine for each link. The arguments are
	// valid during the call.
	Observe func(shard string, db int, args [][]byte, at time.Time)
	// Snapshots, if set, is shown the entries of every snapshot that is loaded.
	Snapshots Snapshots
}

// Snapshots is shown the snapshots of the links, each by one goroutine. It is not called with CaptureScan.
type Snapshots interface {
	Begin(shard string) // also called when a snapshot is loaded again; the entries before it do not count then
	// Entry is called with each key that the filters select, and with the shape of its value, and with each fact about the server. e is
	// valid during the call.
	Entry(shard string, e *rdb.Entry)
	End(shard string)
}

// selection returns the part of the source that is moved; nil: all of it.
func (c Config) selection() *keyspace.Selection {
	f := c.Filter
	if c.Sides.Source == nil || c.Sides.Target == nil {
		return f.Selection(keyspace.NamedDatabases{Source: endpoint.AllDBs, Target: endpoint.AllDBs})
	}
	source, target := c.Sides.Source.Spec(), c.Sides.Target.Spec()
	if source.Kind == endpoint.Cluster { // a cluster has one database, so that naming it leaves nothing out
		f.DBs = nil
	}
	return f.Selection(keyspace.NamedDatabases{Source: source.NamedDB(), Target: target.NamedDB()})
}

// keepApplied returns how many bytes of the stream stay in the spool after the target has applied them: a replica of the target that is
// promoted may lack the last of them.
func (c Config) keepApplied() int64 { return min(64<<20, c.SpoolLimit/4) }

// DefaultConfig returns a Config with default values, to which Sides and StateDir are to be added.
func DefaultConfig() Config {
	return Config{
		Mode: ModeFullIncremental, Capture: CapturePSYNC, ReadFrom: "replica", OnExisting: ExistingFail,
		Lanes: 4, BigValue: 16 << 20, SpoolLimit: 64 << 30,
		HoldExpiry: time.Hour, MaxLag: time.Second, RetryFor: 5 * time.Minute, Log: slog.New(slog.DiscardHandler),
	}
}

// Validate returns all problems of the configuration as one error. Each names its field and value.
func (c Config) Validate() error {
	var errs []error
	oneOf := func(name, value string, allowed ...string) {
		for _, a := range allowed {
			if value == a {
				return
			}
		}
		errs = append(errs, fmt.Errorf("%s %q: must be one of %v", name, value, allowed))
	}
	oneOf("Config.Mode", c.Mode, ModeFullIncremental, ModeFull, ModeIncremental)
	oneOf("Config.Capture", c.Capture, CapturePSYNC, CaptureScan)
	if c.Capture == CaptureScan && c.OnExisting == ExistingKeep {
		errs = append(errs, errors.New("Config.OnExisting keep: with Config.Capture scan, a key that was kept cannot be distinguished from one that is out of date"))
	}
	oneOf("Config.ReadFrom", c.ReadFrom, "replica", "primary")
	oneOf("Config.OnExisting", c.OnExisting, ExistingFail, ExistingReplace, ExistingKeep)
	atLeast := func(name string, value, least int64) {
		if value < least {
			errs = append(errs, fmt.Errorf("%s %d: must be at least %d", name, value, least))
		}
	}
	atLeast("Config.Lanes", int64(c.Lanes), 1)
	if c.Lanes > mostLanes {
		errs = append(errs, fmt.Errorf("Config.Lanes %d: must be at most %d", c.Lanes, mostLanes))
	}
	atLeast("Config.BigValue", c.BigValue, 64<<10)
	atLeast("Config.SpoolLimit", c.SpoolLimit, 16<<20)
	atLeast("Config.RateBytes", c.RateBytes, 0)
	atLeast("Config.RateOps", c.RateOps, 0)
	if c.StateDir == "" {
		errs = append(errs, errors.New("Config.StateDir: name a directory for the spool"))
	}
	for name, value := range map[string]time.Duration{"Config.HoldExpiry": c.HoldExpiry, "Config.RetryFor": c.RetryFor} {
		if value < 0 {
			errs = append(errs, fmt.Errorf("%s %v: must be 0 or more", name, value))
		}
	}
	if c.MaxLag <= 0 {
		errs = append(errs, fmt.Errorf("Config.MaxLag %v: must be more than 0", c.MaxLag))
	}
	return errors.Join(errs...)
}
