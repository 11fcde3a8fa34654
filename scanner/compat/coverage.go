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
	say(len(t.evidence) == 0 || !slices.ContainsFunc(t.evidence, func(e *Evidence) bool { return e.Calls > 0 }), "No call was examined.")
	say(has[FromStats], "INFO commandstats counts calls, not keys, and only since the server's start or the last CONFIG RESETSTAT. Calls made inside scripts count like those of clients.")
	say(has[FromStats] && !seen, "For reads it was not seen whether the keys of one call are in the same slot; MONITOR shows this (Tally.Monitor, or Tally.Capture).")
	say(seen, "MONITOR shows only what ran while it was on; jobs at other hours and rare calls are missing. It hides commands of administrators, and AUTH.")
	say(writes, "A write stream contains no reads (MGET, SUNION, XREAD, KEYS, SCAN, WATCH), and of blocking commands and scripts only what they changed.")
	say(has[FromCode] && !seen, "Source code shows what may be called, but not how often, and no names that are built at run time.")
	say(t.malformed > 0, "%d calls have arguments that surecut does not know for their command, and were not examined.", t.malformed)
	say(t.orphans > 0, "%d calls were made by scripts whose own call was not seen, and were not examined.", t.orphans)
	say(t.skipped > 0, "%d times, something was left out because there was too much to remember.", t.skipped)
	say(t.pairs.dropped > 0, "%d keys were left out of the groups of templates, because there were too many templates.", t.pairs.dropped)
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
