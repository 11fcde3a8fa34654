package scanner

import (
	"errors"
	"fmt"
	"time"
)

// Where a live scan reads.
const (
	FromReplica = "replica" // a replica of each shard that has one, else its primary
	FromPrimary = "primary"
)

// Options configures a big-key scan.
type Options struct {
	Top      int    // how many of the largest keys are listed
	Prefixes int    // how many prefixes are listed
	DBs      []int  // databases; none: all that hold keys, or the one that the endpoint names
	Samples  int    // live: elements that MEMORY USAGE looks at in each collection; 0: all
	ReadFrom string // live: FromReplica or FromPrimary
	Rate     int    // live: keys a second over all shards; 0: as fast as the servers answer

	// Progress, if set, is called now and then from one goroutine at a time with what was read so far and
	// what there is, in keys (live; roughly) or in bytes of the file.
	Progress func(done, total int64)

	// Now is the clock; nil: the machine's. An RDB that records when it was written is judged by that time.
	Now func() time.Time
}

// DefaultOptions gives what a scan uses unless told otherwise.
func DefaultOptions() Options {
	return Options{Top: 100, Prefixes: 100, Samples: 5, ReadFrom: FromReplica}
}

// Validate joins every problem of the options.
func (o Options) Validate() error {
	var errs []error
	for _, f := range []struct {
		name      string
		value     int
		low, high int
	}{
		{"top", o.Top, 1, 100_000},
		{"prefixes", o.Prefixes, 1, prefixLimit},
		{"samples", o.Samples, 0, 1 << 30},
		{"rate", o.Rate, 0, 1 << 30},
	} {
		if f.value < f.low || f.value > f.high {
			errs = append(errs, fmt.Errorf("%s is %d, want %d to %d", f.name, f.value, f.low, f.high))
		}
	}
	for _, db := range o.DBs {
		if db < 0 {
			errs = append(errs, fmt.Errorf("db is %d, want 0 or more", db))
		}
	}
	if o.ReadFrom != FromReplica && o.ReadFrom != FromPrimary {
		errs = append(errs, fmt.Errorf("read-from is %q, want %s or %s", o.ReadFrom, FromReplica, FromPrimary))
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
