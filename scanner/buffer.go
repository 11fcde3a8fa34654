package scanner

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/retry"
)

// writeRate returns the bytes per second that clients have written since the first reading, without those that this scan has sent.
// It returns -1 where the server does not tell.
func writeRate(ctx context.Context, client rueidis.Client, first endpoint.Counters, own endpoint.Traffic) (perSecond int64, by string) {
	if first.At.IsZero() {
		return unknown, ""
	}
	_ = retry.Pause(ctx, time.Until(first.At.Add(endpoint.RateWindow))) // if the wait is interrupted, reading the counters fails, too
	last, err := endpoint.ReadCounters(ctx, client)
	if err != nil {
		return unknown, ""
	}
	measured, exact := endpoint.WriteRate(first, last, own)
	if exact {
		return int64(measured), ByStream
	}
	return int64(measured), ByInput
}

// buffer estimates how much output buffer a node needs for the full phase of a replica, and compares it with the limit.
func (l *liveScan) buffer(ctx context.Context, client rueidis.Client, addr string, first endpoint.Counters, own endpoint.Traffic) {
	perSecond, by := writeRate(ctx, client, first, own)
	if perSecond < 0 {
		l.note("%s does not report how much is written to it, so it is not known how large an output buffer the full phase needs.", addr)
		return
	}
	b := Buffer{Node: addr, WriteRate: perSecond, MeasuredBy: by, CopyRate: l.o.CopyRate, HardLimit: unknown}
	l.mu.Lock()
	b.Snapshot = l.t.from(addr).Serialized
	l.mu.Unlock()
	b.reckon(configOf(ctx, client, "client-output-buffer-limit"))
	l.mu.Lock()
	l.buffers = append(l.buffers, b)
	l.mu.Unlock()
}

// defaultLimit is the default client-output-buffer-limit of replicas, for servers that do not tell theirs.
const defaultLimit = "slave 268435456 67108864 60"

// reckon computes the buffer that is needed, and judges it by a setting such as "normal 0 0 0 slave 268435456 67108864 60 pubsub 1
// 1 1".
func (b *Buffer) reckon(setting string) {
	b.Seconds = float64(b.Snapshot) / float64(b.CopyRate)
	b.Needed = int64(float64(b.WriteRate) * b.Seconds)
	told := replicaLimit(setting, b)
	if !told {
		replicaLimit(defaultLimit, b)
	}
	over := ""
	if b.HardLimit > 0 && b.Needed > b.HardLimit {
		over = fmt.Sprintf("the hard limit of %s", size(b.HardLimit))
	} else if b.SoftLimit > 0 && b.Needed > b.SoftLimit && b.Seconds-float64(b.SoftLimit)/float64(max(b.WriteRate, 1)) > float64(b.SoftSeconds) {
		over = fmt.Sprintf("the soft limit of %s for more than %d s", size(b.SoftLimit), b.SoftSeconds)
	}
	if over == "" {
		return
	}
	if !told {
		over += " (the default; the server does not report its setting)"
	}
	b.Risk = fmt.Sprintf("a full phase of %.0f s, with %s/s of writes, needs an output buffer of %s, which is over %s: the source would close the connection of the replica", b.Seconds, size(b.WriteRate), size(b.Needed), over)
	b.Remedy = fmt.Sprintf(`CONFIG SET client-output-buffer-limit "slave %d 0 0" on the source for the migration (surecut migrate --tune-source sets and restores it), or migrate when less is written`, roomFor(b.Needed))
}

// roomFor returns one and a half times n, rounded up to whole MiB.
func roomFor(n int64) int64 { return (n + n/2 + 1<<20 - 1) >> 20 << 20 }

// replicaLimit reads the limit of replicas from a setting. It returns false where the setting has none.
func replicaLimit(setting string, b *Buffer) bool {
	words := strings.Fields(setting)
	for i := 0; i+3 < len(words); i += 4 {
		if words[i] != "slave" && words[i] != "replica" {
			continue
		}
		var n [3]int64
		for j := range n {
			var err error
			if n[j], err = strconv.ParseInt(words[i+1+j], 10, 64); err != nil {
				return false
			}
		}
		b.HardLimit, b.SoftLimit, b.SoftSeconds = n[0], n[1], n[2]
		return true
	}
	return false
}
