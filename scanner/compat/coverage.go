package compat

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"surecut/internal/command"
)

// coverage says what was examined, and what that cannot show.
func (t *Tally) coverage() Coverage {
	c := Coverage{Evidence: []Evidence{}, Blind: []string{}}
	has := map[string]bool{}
	for _, e := range t.evidence {
		c.Evidence = append(c.Evidence, *e)
		has[e.Kind] = has[e.Kind] || e.Calls > 0
	}
	say := func(when bool, format string, args ...any) {
		if when {
			c.Blind = append(c.Blind, fmt.Sprintf(format, args...))
		}
	}
	seen := has[FromMonitor] || has[FromCapture]
	writes := has[FromAOF] || has[FromStream]
	say(len(t.evidence) == 0 || !slices.ContainsFunc(t.evidence, func(e *Evidence) bool { return e.Calls > 0 }), "No call was looked at.")
	say(has[FromStats], "INFO commandstats counts calls, not keys, and since the server's start or the last CONFIG RESETSTAT only; calls made inside scripts count like those of clients.")
	say(has[FromStats] && !seen, "Whether the keys of one call lie in one slot was not seen for reads: MONITOR shows it (Tally.Monitor, or Tally.Capture).")
	say(seen, "MONITOR shows what ran while it was on: jobs of other hours and rare paths are not in it. Commands of administrators and AUTH are hidden.")
	say(writes, "A write stream shows no reads (MGET, SUNION, XREAD, KEYS, SCAN, WATCH), and blocking commands and scripts only by what they did.")
	say(has[FromCode] && !seen, "Source code shows what may be called, not how often, and no names that are put together at run time.")
	say(t.malformed > 0, "%d calls fitted no form of their command that is known here and were not looked at.", t.malformed)
	say(t.orphans > 0, "%d calls of scripts came without the call of their script and were not looked at.", t.orphans)
	say(t.skipped > 0, "%d times something was left out because there was too much to remember.", t.skipped)
	say(t.pairs.dropped > 0, "%d keys were left out of the groups of templates, of which there were too many.", t.pairs.dropped)
	c.Blind = append(c.Blind, t.o.Profile.Gaps...)
	return c
}

// housekeeping are commands that libraries, monitoring, administrators and surecut itself send: they prove nothing about an
// application.
var housekeeping = []string{"ACL", "ASKING", "AUTH", "BGREWRITEAOF", "BGSAVE", "CLIENT", "CLUSTER", "COMMAND", "COMMANDLOG", "CONFIG", "DEBUG", "ECHO", "FAILOVER",
	"FUNCTION LIST", "FUNCTION STATS", "HELLO", "INFO", "LASTSAVE", "LATENCY", "MEMORY", "MODULE", "MONITOR", "PING", "PSYNC", "QUIT", "READONLY", "READWRITE",
	"REPLCONF", "REPLICAOF", "RESET", "ROLE", "SAVE", "SELECT", "SLAVEOF", "SLOWLOG", "SYNC", "TIME"}

// add counts calls of a command. A command that tools also send proves something about an application only where the call itself
// was seen.
func (e *Evidence) add(name string, calls int64) {
	e.Calls += calls
	if e.Kind == FromStats && command.SentByTools(name) {
		return
	}
	container, _, _ := strings.Cut(name, " ")
	if !slices.Contains(housekeeping, name) && !slices.Contains(housekeeping, container) {
		e.told += calls
	}
}

// Lasts sets how much time the evidence covers.
func (e *Evidence) Lasts(d time.Duration) { e.Seconds = d.Seconds() }
