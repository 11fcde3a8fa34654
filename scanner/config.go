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

// Config configures a scan for big keys. Begin with DefaultConfig.
type Config struct {
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

// DefaultConfig returns a Config with default values.
func DefaultConfig() Config {
	return Config{Top: 100, Prefixes: 100, Samples: 5, ReadFrom: FromReplica, Cutover: 24 * time.Hour, Block: 100 * time.Millisecond,
		TargetShare: 10, CopyRate: 50 << 20}
}

// Validate returns all problems of the configuration as one joined error. Each part names the field and its value.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		name      string
		value     int
		low, high int
	}{
		{"Config.Top", c.Top, 1, 100_000},
		{"Config.Prefixes", c.Prefixes, 1, prefixLimit},
		{"Config.Samples", c.Samples, 0, 1 << 30},
		{"Config.Rate", c.Rate, 0, 1 << 30},
		{"Config.TargetShards", c.TargetShards, 0, keyspace.Slots},
	} {
		if f.value < f.low || f.value > f.high {
			errs = append(errs, fmt.Errorf("%s %d: must be %d to %d", f.name, f.value, f.low, f.high))
		}
	}
	if c.TargetShare <= 0 || c.TargetShare > 100 {
		errs = append(errs, fmt.Errorf("Config.TargetShare %v: must be a percentage over 0", c.TargetShare))
	}
	for name, v := range map[string]time.Duration{"Config.Cutover": c.Cutover, "Config.Block": c.Block} {
		if v < 0 {
			errs = append(errs, fmt.Errorf("%s %v: must be 0 or more", name, v))
		}
	}
	if c.TargetMemory < 0 {
		errs = append(errs, fmt.Errorf("Config.TargetMemory %d: must be 0 or more bytes", c.TargetMemory))
	}
	if c.CopyRate < 1 {
		errs = append(errs, fmt.Errorf("Config.CopyRate %d: must be 1 or more bytes per second", c.CopyRate))
	}
	for _, db := range c.DBs {
		if db < 0 {
			errs = append(errs, fmt.Errorf("Config.DBs %d: must be 0 or more", db))
		}
	}
	if c.ReadFrom != FromReplica && c.ReadFrom != FromPrimary {
		errs = append(errs, fmt.Errorf("Config.ReadFrom %q: must be %s or %s", c.ReadFrom, FromReplica, FromPrimary))
	}
	return errors.Join(errs...)
}

func (c Config) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

func (c Config) wantsDB(db int) bool {
	if len(c.DBs) == 0 {
		return true
	}
	for _, want := range c.DBs {
		if db == want {
			return true
		}
	}
	return false
}
