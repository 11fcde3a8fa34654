package verifier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// Depth says how much of a key is compared.
type Depth string

// Each depth includes the ones before it.
const (
	DepthKeys   Depth = "keys"   // presence and type
	DepthLength Depth = "length" // also length and expiry
	DepthValue  Depth = "value"  // also the whole value, field expiries, stream groups
)

// Config says what to compare, and how. Begin with DefaultConfig, and add the Sides.
type Config struct {
	Sides
	ReadFrom     ReadFrom // of a source shard that has replicas; an Applier's links name their nodes themselves
	Depth        Depth
	Rounds       int           // how often a suspect is read before it counts as different
	Interval     time.Duration // between rounds; should be longer than the target may lag behind, unless there is an Applier
	Workers      int           // readers per node; the connections to a node are as many and one more, which lists the keys
	Filter       keyspace.Filter
	TTLTolerance time.Duration // expiries that are no further apart are the same
	BigValue     int64         // bytes; larger values are read in windows, so that memory stays bounded
	MaxFindings  int           // how many findings the report lists; totals count all
	Patience     time.Duration // how long the failures of one node are retried before its keys are unchecked
	Silence      time.Duration // how long one node may leave a command unanswered before its keys are unchecked
	TempDir      string        // for the records of the enumeration, 30 to 50 bytes and the name per key and side; "": os.TempDir
	Applier      Applier       // the migration that feeds the target, or nil
	Progress     func(Progress)
	SourcePaused bool // the source's writes are paused (CLIENT PAUSE WRITE, since 6.2), so that it does not delete keys that expire

	mapping keyspace.Mapping // from the Filter to the databases of the target; made when the run begins
}

// Sides are the two deployments.
type Sides = endpoint.Sides

// ReadFrom says which node of a shard is read.
type ReadFrom string

// A shard without replicas is always read from its primary.
const (
	FromPrimary ReadFrom = "primary"
	FromReplica ReadFrom = "replica"
)

// DefaultConfig returns a Config with default values, to which the Sides are to be added.
func DefaultConfig() Config {
	return Config{
		ReadFrom: FromPrimary, Depth: DepthValue, Rounds: 3, Interval: time.Second, Workers: 4,
		TTLTolerance: time.Second, BigValue: 4 << 20, MaxFindings: 10_000, Patience: 15 * time.Second, Silence: endpoint.Silence,
	}
}

// Validate returns all problems of the configuration as one joined error. Each part names the field and its value.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Depth != DepthKeys && c.Depth != DepthLength && c.Depth != DepthValue, "Config.Depth %q: must be keys, length or value", c.Depth)
	bad(c.ReadFrom != FromPrimary && c.ReadFrom != FromReplica, "Config.ReadFrom %q: must be primary or replica", c.ReadFrom)
	bad(c.Rounds < 1, "Config.Rounds %d: must be 1 or more", c.Rounds)
	bad(c.Interval < 0, "Config.Interval %v: must be 0 or more", c.Interval)
	bad(c.Workers < 1 || c.Workers > 32, "Config.Workers %d: must be 1 to 32", c.Workers)
	bad(c.TTLTolerance < 0, "Config.TTLTolerance %v: must be 0 or more", c.TTLTolerance)
	bad(c.BigValue < 64<<10, "Config.BigValue %d: must be 65536 bytes or more", c.BigValue)
	bad(c.Silence < time.Second, "Config.Silence %v: must be 1s or more", c.Silence)
	bad(c.MaxFindings < 1, "Config.MaxFindings %d: must be 1 or more", c.MaxFindings)
	return errors.Join(errs...)
}

// Applier is the migration that feeds the target, where one runs in this process or can be reached.
type Applier interface {
	Links() []AppliedLink // one per source shard
	// Applied returns the position of the link's source up to which the target has applied the stream at the moment of the call.
	Applied(ctx context.Context, link int) (Position, error)
	Freeze(ctx context.Context, link int) (Frame, error) // stops applying this link's stream between two commands
}

// Position is a point of a server's replication stream.
type Position struct {
	ReplID string
	Offset int64
}

// AppliedLink is one source shard on its way into the target.
type AppliedLink struct {
	Shard string              // address of the shard's primary
	Reads string              // address of the node whose offsets the link counts
	Slots keyspace.SlotRanges // slots of the source; nil: all
}

// Frame is a link that is stopped.
type Frame interface {
	// ApplyTo returns when the target holds exactly what the source held at the offset. The keys in ahead are exceptions, for which the
	// target may hold what the source held later. They are named by the source's database and the target's name.
	ApplyTo(ctx context.Context, offset int64) (ahead []keyspace.Key, err error)
	// Release lets the link continue.
	Release()
}

// Phase is one step of a run.
type Phase string

// The phases follow each other in this order.
const (
	PhaseEnumerate Phase = "enumerate"
	PhaseJoin      Phase = "join"
	PhaseResolve   Phase = "resolve"
	PhaseLocate    Phase = "locate"
	PhaseDone      Phase = "done"
)

// Progress says how far a run has come. Totals are estimates, because they come from DBSIZE.
type Progress struct {
	Phase       Phase   `json:"phase"`
	SourceKeys  int64   `json:"source_keys"`
	SourceTotal int64   `json:"source_total"`
	TargetKeys  int64   `json:"target_keys"`
	TargetTotal int64   `json:"target_total"`
	Round       int     `json:"round"`
	Suspects    int64   `json:"suspects"`
	Settled     int64   `json:"settled"`
	Seconds     float64 `json:"seconds"`
}
