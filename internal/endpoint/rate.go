package endpoint

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/command"
)

// RateWindow is how long a rate of writes is measured at the least.
const RateWindow = 2 * time.Second

// Counters are what a server has counted up to one moment.
type Counters struct {
	At      time.Time
	Stream  int64 // bytes of its replication stream
	Streams bool  // the server makes a replication stream, so that Stream counts every write
	NetIn   int64 // bytes that clients have sent, including ours; -1 where the server does not count them
	Calls   int64 // commands that were run, including ours
	Writes  int64 // those of the calls that write
}

// Bounds of what clients send to a server that is at rest. What a check itself asks counts as well, and stays below.
const (
	restBytes = 16 << 10 // per second
	restCalls = 64       // per second; a script may write more than it takes to call it
)

// AtRest says whether clients send a server next to nothing, by its own account of the last 1.6 seconds (since 3.0) in the fields of
// INFO. If so, perSecond is the most that they may write, in bytes.
func AtRest(info map[string]string) (perSecond float64, rests bool) {
	field := func(name string) float64 {
		n, err := strconv.ParseFloat(info[name], 64)
		if err != nil {
			return math.Inf(1)
		}
		return n
	}
	kib := field("instantaneous_input_kbps")
	if _, apart := info["instantaneous_input_repl_kbps"]; apart { // since 7.0, what a replica receives of its primary is counted apart
		kib += field("instantaneous_input_repl_kbps")
	}
	perSecond = kib * 1024
	return perSecond, perSecond <= restBytes && field("instantaneous_ops_per_sec") <= restCalls
}

// Traffic counts what we have sent to a server ourselves.
type Traffic struct{ Calls, Bytes int64 }

// ReadCounters asks a server for its counters.
func ReadCounters(ctx context.Context, client rueidis.Client) (Counters, error) {
	info, err := Info(ctx, client, "stats", "replication", "commandstats")
	if err != nil {
		return Counters{}, err
	}
	return CountersOf(info, time.Now()), nil
}

// CountersOf reads the stream's offset and the numbers of calls from the fields of INFO. A replica counts its primary's stream. A
// primary makes no stream before its first replica connects (repl_backlog_active); since 7.0 its offset then grows by one for each
// write.
func CountersOf(info map[string]string, at time.Time) Counters {
	number := func(field string, otherwise int64) int64 {
		if n, err := strconv.ParseInt(info[field], 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	c := Counters{At: at, NetIn: number("total_net_input_bytes", -1)}
	if info["role"] == "slave" {
		c.Stream = number("slave_repl_offset", -1)
		c.Streams = c.Stream >= 0
	} else {
		c.Stream = number("master_repl_offset", -1)
		c.Streams = c.Stream >= 0 && (info["repl_backlog_active"] == "1" || number("connected_slaves", 0) > 0)
	}
	for name, n := range CommandCalls(info) {
		c.Calls += n
		if writing(name) {
			c.Writes += n
		}
	}
	return c
}

// writing says whether a command, as INFO commandstats names it, writes. Commands of modules are not known and count as writes.
func writing(name string) bool {
	if spec, ok := command.LookupName(name); ok {
		return spec.Write
	}
	return strings.Contains(name, ".")
}

// These are the bytes that calls take on the wire, for servers that count the bytes of all calls in one figure.
const (
	readBytes  = 64 // about the bytes of a read by another client
	writeBytes = 32 // the least bytes of a write
)

// WriteRate returns the bytes per second that clients wrote between two readings. The result exact says that the replication stream
// counted them. For a server without a stream the rate is an estimate from the bytes that clients sent, without our own and without
// those of reads, and it is 0 where nobody wrote.
func WriteRate(first, last Counters, own Traffic) (perSecond float64, exact bool) {
	seconds := last.At.Sub(first.At).Seconds()
	if seconds <= 0 {
		return 0, false
	}
	if first.Streams && last.Streams {
		return max(0, float64(last.Stream-first.Stream)/seconds), true
	}
	writes := last.Writes - first.Writes
	if writes <= 0 {
		return 0, false
	}
	least := writeBytes * writes
	if first.NetIn < 0 || last.NetIn < 0 {
		return float64(least) / seconds, false
	}
	reads := max(0, last.Calls-first.Calls-writes-own.Calls)
	return float64(max(least, last.NetIn-first.NetIn-own.Bytes-readBytes*reads)) / seconds, false
}
