package scanner

import (
	"errors"
	"fmt"
	"time"

	"surecut/internal/keyspace"
)

// These say where a live scan reads.
const (
	FromReplica = "replica" // a replica of each shard that has one, else its primary
	FromPrimary = "primary"
)

// Options configures a big-key scan.
type Options struct {
	Top      int    // number of keys in each list of the largest keys
	Prefixes int    // number of prefixes that are listed
	DBs      []int  // databases; none: all that hold keys, or the one that the endpoint names
	Samples  int    // live: elements of each collection that MEMORY USAGE looks at, at most 10,000; 0 stands for 10,000
	ReadFrom string // live: FromReplica or FromPrimary
	Rate     int    // live: keys per second over all shards; 0: as fast as the servers reply
	Touch    bool   // live: count elements even where that makes keys look used (before 7.2, on a primary that evicts by use)

	Slots keyspace.SlotRanges // RDB: the slots that its node owned; keys of other slots are foreign. None: all slots

	Cutover      time.Duration // keys that will have expired after this time are summed up
	Block        time.Duration // a command that would block a server for longer is a risk
	TargetShards int           // number of shards of a cluster for which the distribution of slots is projected; 0: none
	TargetMemory int64         // bytes that one shard of the target has; 0: not known
	TargetShare  float64       // per cent of TargetMemory that one key may take
	CopyRate     int64         // bytes per second that a full phase is assumed to copy

	// Progress, if set, is called now and then, by one goroutine at a time, with the amount that was read so far and the total, in keys
	// (live; approximate) or in bytes of the file.
	Progress func(done, total int64)

	// Each, if set, is called for every key with its size, by one goroutine at a time.
	Each func(db int, name string, bytes int64)

	// Now is the clock; nil stands for that of the machine. An RDB that tells when it was written is judged by that time.
	Now func() time.Time
}

// DefaultOptions returns the options that a scan uses by default.
func DefaultOptions() Options {
	return Options{Top: 100, Prefixes: 100, Samples: 5, ReadFrom: FromReplica, Cutover: 24 * time.Hour, Block: 100 * time.Millisecond,
		TargetShare: 10, CopyRate: 50 << 20}
}

// Validate returns all problems of the options as one joined error.
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
