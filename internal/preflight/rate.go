package preflight

import (
	"context"
	"strconv"
	"strings"
	"time"

	"surecut/internal/command"
	"surecut/internal/endpoint"
)

// rateWindow is how long the rate of writes is measured.
const rateWindow = 2 * time.Second

// counters is what a server has counted up to one moment.
type counters struct {
	at      time.Time
	stream  int64 // bytes of its replication stream
	streams bool  // it makes a replication stream, so that stream counts every write
	netIn   int64 // bytes that clients have sent, ours included; -1 where the server does not count them
	calls   int64 // commands run, ours included
	writes  int64 // of those, writing ones
}

// countersOf reads what INFO says of the stream, and INFO commandstats of the calls. A replica counts its primary's stream. A
// primary makes none before its first replica comes (repl_backlog_active); since 7.0 its offset goes on by one for each write then.
func countersOf(info map[string]string, at time.Time) counters {
	number := func(field string, otherwise int64) int64 {
		if n, err := strconv.ParseInt(info[field], 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	c := counters{at: at, netIn: number("total_net_input_bytes", -1)}
	if info["role"] == "slave" {
		c.stream = number("slave_repl_offset", -1)
		c.streams = c.stream >= 0
	} else {
		c.stream = number("master_repl_offset", -1)
		c.streams = c.stream >= 0 && (info["repl_backlog_active"] == "1" || number("connected_slaves", 0) > 0)
	}
	for name, n := range endpoint.CommandCalls(info) {
		c.calls += n
		if writing(name) {
			c.writes += n
		}
	}
	return c
}

// writing says whether a command, as INFO commandstats names it, writes. Of a module's command that is not known; it counts.
func writing(name string) bool {
	var args [][]byte
	for word := range strings.SplitSeq(name, "|") {
		args = append(args, []byte(word))
	}
	if spec, ok := command.Lookup(args); ok {
		return spec.Write
	}
	return strings.Contains(name, ".")
}

// What calls take on the wire, where the server counts the bytes of all of them in one figure.
const (
	readBytes  = 64 // a read, about
	writeBytes = 32 // a write, at least
)

// writeRate is the bytes per second that clients wrote between two readings. Of a server that makes no replication stream it is
// an estimate from the bytes that clients sent: those of reads, ours among them, are left out, and where nobody wrote it is 0.
func writeRate(first, last counters) float64 {
	seconds := last.at.Sub(first.at).Seconds()
	if seconds <= 0 {
		return 0
	}
	if first.streams && last.streams {
		return max(0, float64(last.stream-first.stream)/seconds)
	}
	writes := last.writes - first.writes
	if writes <= 0 {
		return 0
	}
	least := writeBytes * writes
	if first.netIn < 0 || last.netIn < 0 {
		return float64(least) / seconds
	}
	reads := max(0, last.calls-first.calls-writes)
	return float64(max(least, last.netIn-first.netIn-readBytes*reads)) / seconds
}

// readCounters asks a node for its counters.
func (n *node) readCounters(ctx context.Context) (counters, error) {
	info, err := endpoint.Info(ctx, n.client, "stats", "replication", "commandstats")
	if err != nil {
		return counters{}, err
	}
	return countersOf(info, time.Now()), nil
}

// readWriteRate measures how much clients write from the first reading on. Where the node does not tell it stays 0.
func (n *node) readWriteRate(ctx context.Context, first counters) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(time.Until(first.at.Add(rateWindow))):
	}
	last, err := n.readCounters(ctx)
	if err == nil {
		n.written = writeRate(first, last)
	}
}
