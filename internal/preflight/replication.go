package preflight

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// snapshotRate is the assumed rate of making and sending a snapshot. It is low, to be on the safe side.
	snapshotRate = 50 << 20 // bytes per second
	// leastPile is how much of the stream may always accumulate during a full phase: a burst of writes while the snapshot is made.
	leastPile = 1 << 20
	// reconnectTime is how long a link may be down and still be able to continue.
	reconnectTime = time.Minute
)

// fullPhase estimates what the full phase of one link will require of its source.
type fullPhase struct {
	data     int64         // memory of the data; the snapshot is smaller
	rate     float64       // bytes per second that clients write
	duration time.Duration // at snapshotRate
	pile     int64         // bytes of the stream that wait while the snapshot is made and sent
}

func estimate(data int64, rate float64) fullPhase {
	p := fullPhase{data: data, rate: rate, duration: time.Duration(float64(data) / snapshotRate * float64(time.Second))}
	p.pile = max(int64(rate*p.duration.Seconds()), leastPile)
	return p
}

func (p fullPhase) String() string {
	return fmt.Sprintf("copying %s of data at %s/s takes %v, and clients write %s/s", bytesText(p.data), bytesText(snapshotRate),
		p.duration.Round(time.Second), bytesText(int64(p.rate)))
}

// phaseOf estimates the full phase for a node.
func (n *node) phaseOf() (fullPhase, string) {
	data, ok := n.dataBytes()
	if !ok {
		return fullPhase{}, fmt.Sprintf("INFO memory is not available: %v", n.infoErr)
	}
	return estimate(data, n.written), ""
}

// bufferLimit is one class of client-output-buffer-limit. A value of 0 means no limit.
type bufferLimit struct {
	hard, soft  int64
	softSeconds int64
}

func (l bufferLimit) String() string {
	if l.hard == 0 && l.soft == 0 {
		return "no limit"
	}
	text := "no hard limit"
	if l.hard > 0 {
		text = bytesText(l.hard) + " at once"
	}
	if l.soft > 0 {
		text += fmt.Sprintf(", %s for %d s", bytesText(l.soft), l.softSeconds)
	}
	return text
}

// parseBufferLimit reads the limit of replicas from "normal 0 0 0 slave 268435456 67108864 60 pubsub ...".
func parseBufferLimit(text string) (bufferLimit, error) {
	words := strings.Fields(text)
	for i := 0; i+3 < len(words); i += 4 {
		if words[i] != "slave" && words[i] != "replica" {
			continue
		}
		var n [3]int64
		for j := range n {
			v, err := strconv.ParseInt(words[i+1+j], 10, 64)
			if err != nil {
				return bufferLimit{}, fmt.Errorf("client-output-buffer-limit %q: %q is not a number", text, words[i+1+j])
			}
			n[j] = v
		}
		return bufferLimit{n[0], n[1], n[2]}, nil
	}
	return bufferLimit{}, fmt.Errorf("client-output-buffer-limit %q has no limit for replicas", text)
}

func outputBuffer(_ context.Context, r *run) []Check {
	return perNode(&r.source, r.readers(), func(n *node) Check {
		const wanted = "room for the writes that accumulate during the full phase"
		phase, reason := n.phaseOf()
		if reason != "" {
			return skip("", reason, wanted)
		}
		text, reason := n.setting("client-output-buffer-limit")
		if reason != "" {
			return skip("", reason, wanted)
		}
		limit, err := parseBufferLimit(text)
		if err != nil {
			return skip("", err.Error(), wanted)
		}
		return judgeBuffer(n.addr, limit, phase)
	})
}

func judgeBuffer(addr string, limit bufferLimit, phase fullPhase) Check {
	wanted := fmt.Sprintf("at least %s, or no limit (%v)", bytesText(phase.pile), phase)
	over := limit.hard > 0 && phase.pile > limit.hard ||
		limit.soft > 0 && phase.pile > limit.soft && phase.duration > time.Duration(limit.softSeconds)*time.Second
	if over {
		return alarm("", limit.String(), wanted, "redis-cli "+cliAddr(addr)+" config set client-output-buffer-limit 'slave 0 0 0'; or set Config.TuneSource")
	}
	return pass("", limit.String(), wanted)
}

func backlog(_ context.Context, r *run) []Check {
	return perNode(&r.source, r.readers(), func(n *node) Check {
		const wanted = "room for one minute of writes, at least 1 MiB"
		size, reason := n.number("repl-backlog-size")
		if reason != "" {
			if size = int64(n.num("repl_backlog_size", -1)); size < 0 {
				return skip("", reason, wanted)
			}
		}
		phase, reason := n.phaseOf()
		if reason != "" {
			return skip("", reason, wanted)
		}
		return judgeBacklog(n.addr, size, phase.rate)
	})
}

func judgeBacklog(addr string, size int64, rate float64) Check {
	need := max(int64(rate*reconnectTime.Seconds()), 1<<20)
	found := "repl-backlog-size " + bytesText(size)
	wanted := fmt.Sprintf("at least %s: %v of writes at %s/s", bytesText(need), reconnectTime, bytesText(int64(rate)))
	if size < need {
		return note("", found+": after a longer interruption, a link must start again with a new snapshot", wanted, fmt.Sprintf("redis-cli %s config set repl-backlog-size %d", cliAddr(addr), need))
	}
	return pass("", found, wanted)
}

func replTimeout(_ context.Context, r *run) []Check {
	return perNode(&r.source, r.readers(), func(n *node) Check {
		const wanted = "at least the time that a snapshot takes, and at least 60 s"
		seconds, reason := n.number("repl-timeout")
		if reason != "" {
			return skip("", reason, wanted)
		}
		phase, reason := n.phaseOf()
		if reason != "" {
			return skip("", reason, wanted)
		}
		return judgeTimeout(n.addr, seconds, phase)
	})
}

func judgeTimeout(addr string, seconds int64, phase fullPhase) Check {
	need := max(int64(phase.duration.Seconds()), 60)
	found := fmt.Sprintf("repl-timeout %d s", seconds)
	wanted := fmt.Sprintf("at least %d s (%s of data at %s/s, and at least a minute)", need, bytesText(phase.data), bytesText(snapshotRate))
	if seconds < need {
		return note("", found, wanted, fmt.Sprintf("redis-cli %s config set repl-timeout %d", cliAddr(addr), need))
	}
	return pass("", found, wanted)
}

func rdbDirectory(_ context.Context, r *run) []Check {
	return perNode(&r.source, r.readers(), func(n *node) Check {
		const wanted = "repl-diskless-sync yes, or a successful last background save"
		if n.infoErr != nil {
			return skip("", "INFO persistence: "+oneLine(n.infoErr), wanted)
		}
		diskless, reason := n.setting("repl-diskless-sync") // setting exists since 2.8.18
		if diskless == "yes" {
			return pass("", "repl-diskless-sync yes", wanted)
		}
		dir, _ := n.setting("dir")
		if dir == "" {
			dir = "unknown (CONFIG is refused)"
		}
		remedy := "redis-cli " + cliAddr(n.addr) + " config set repl-diskless-sync yes; or make the directory writable, and test it with redis-cli bgsave"
		never := n.info["rdb_last_bgsave_time_sec"] == "-1" // no save since the server's start
		switch {
		case n.info["rdb_last_bgsave_status"] == "err":
			return alarm("", "the last background save failed; directory "+dir, wanted, remedy)
		case never && reason == "":
			return note("", "repl-diskless-sync is no, and the server has made no background save since its start, so it is not known whether it can write to "+dir, wanted, remedy)
		case never:
			return skip("", reason+"; the server has made no background save since its start", wanted)
		}
		return pass("", "the last background save succeeded; directory "+dir, wanted)
	})
}
