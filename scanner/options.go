package scanner

import (
	"errors"
	"fmt"
	"time"

	"surecut/internal/keyspace"
)

// Where a live scan reads.
const (
	FromReplica = "replica" // a replica of each shard that has one, else its primary
	FromPrimary = "primary"
)

// Options configures a big-key scan.
type Options struct {
	Top      int    // how many keys each list of the largest has
	Prefixes int    // how many prefixes are listed
	DBs      []int  // databases; none: all that hold keys, or the one that the endpoint names
	Samples  int    // live: elements that MEMORY USAGE looks at in each collection, at most 10,000; 0: that many
	ReadFrom string // live: FromReplica or FromPrimary
	Rate     int    // live: keys a second over all shards; 0: as fast as the servers answer
	Touch    bool   // live: count elements also where that makes keys look used (before 7.2, on a primary that evicts by use)

	Slots keyspace.SlotRanges // of an RDB: those that its node owned; keys of others are foreign. None: all

	Cutover      time.Duration // what will have expired after it is summed
	Block        time.Duration // a command that blocks a server for longer is a risk
	TargetShards int           // project the slots on a cluster of so many; 0: do not
	TargetMemory int64         // bytes of one shard of the target; 0: not known
	TargetShare  float64       // per cent of TargetMemory that one key may take
	CopyRate     int64         // bytes a second that a full phase is taken to move

	// Progress, if set, is called now and then from one goroutine at a time with what was read so far and
	// what there is, in keys (live; roughly) or in bytes of the file.
	Progress func(done, total int64)

	// Each, if set, is called for every key with its size, from one goroutine at a time.
	Each func(db int, name string, bytes int64)

	// Now is the clock; nil: the machine's. An RDB that records when it was written is judged by that time.
	Now func() time.Time
}

// DefaultOptions returns what a scan uses unless told otherwise.
func DefaultOptions() Options {
	return Options{Top: 100, Prefixes: 100, Samples: 5, ReadFrom: FromReplica, Cutover: 24 * time.Hour, Block: 100 * time.Millisecond,
		TargetShare: 10, CopyRate: 50 << 20}
}

// Validate joins every problem of the options.
func (o Options) Validate() error {
	var errs []error
	for _, f := range []struct {
		name      string
		value     int
		low, high int
	}{
		{"Options.Top", o.Top, 1, 100_000},
		{"Options.Prefixes", o.Prefixes, 1, prefixLimit},
		{"Options.Samples", o.Samples, 0, 1 << 30},
		{"Options.Rate", o.Rate, 0, 1 << 30},
		{"Options.TargetShards", o.TargetShards, 0, keyspace.Slots},
	} {
		if f.value < f.low || f.value > f.high {
			errs = append(errs, fmt.Errorf("%s is %d, want %d to %d", f.name, f.value, f.low, f.high))
		}
	}
	if o.TargetShare <= 0 || o.TargetShare > 100 {
		errs = append(errs, fmt.Errorf("Options.TargetShare is %v, want a percentage over 0", o.TargetShare))
	}
	for name, v := range map[string]int64{"Options.Cutover": int64(o.Cutover), "Options.Block": int64(o.Block), "Options.TargetMemory": o.TargetMemory, "Options.CopyRate": o.CopyRate - 1} {
		if v < 0 {
			errs = append(errs, fmt.Errorf("%s is less than it can be", name))
		}
	}
	for _, db := range o.DBs {
		if db < 0 {
			errs = append(errs, fmt.Errorf("Options.DBs is %d, want 0 or more", db))
		}
	}
	if o.ReadFrom != FromReplica && o.ReadFrom != FromPrimary {
		errs = append(errs, fmt.Errorf("Options.ReadFrom is %q, want %s or %s", o.ReadFrom, FromReplica, FromPrimary))
	}
	return errors.Join(errs...)
}

func (o Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

func (o Options) wantsDB(db int) bool {
	if len(o.DBs) == 0 {
		return true
	}
	for _, want := range o.DBs {
		if db == want {
			return true
		}
	}
	return false
}
