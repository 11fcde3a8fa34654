package preflight

import (
	"context"
	"fmt"
	"math"

	"surecut/internal/endpoint"
)

// cached is what the caches of the source's primaries hold for EVALSHA. Each primary has a cache of its own.
type cached struct {
	scripts int64  // the most on one primary
	bytes   int64  // of the texts there; 0: it does not tell (before 7.0)
	stays   string // why they do not travel; "": they do
	unknown string // why their number is not known
}

// cachedScripts counts the scripts that applications call by EVALSHA.
func cachedScripts(_ context.Context, r *run) []Check {
	var c cached
	for _, n := range r.source.primaries() {
		scripts := int64(n.num("number_of_cached_scripts", -1))
		switch {
		case n.err != nil || n.infoErr != nil || scripts < 0:
			c.unknown = n.addr + " does not tell how many scripts it has cached"
		case scripts >= c.scripts:
			c.scripts, c.bytes = scripts, int64(n.num("used_memory_scripts_eval", 0))
		}
		if n.server.Number >= 70000 {
			c.stays = "since Redis 7.0 a source does not send them"
		}
	}
	switch target := r.target.spec; {
	case r.cfg.Scans:
		c.stays = "a source that is scanned does not send them"
	case target.Kind == endpoint.Codis || target.ViaProxy:
		c.stays = "a proxy gives no access to the caches of its servers"
	}
	return []Check{c.judge()}
}

func (c cached) judge() Check {
	const wanted = "each application loads its scripts at the target (SCRIPT LOAD), or answers NOSCRIPT by EVAL, as most client libraries do"
	found := fmt.Sprintf("%d cached scripts", c.scripts)
	if c.bytes > 0 {
		found += fmt.Sprintf(" (%s)", bytesText(c.bytes))
	}
	switch {
	case c.stays == "":
		return pass("source", "cached scripts are copied with the data", wanted)
	case c.scripts == 0 && c.unknown != "":
		return skip("source", c.unknown, wanted)
	case c.scripts == 0:
		return pass("source", "no cached scripts", wanted)
	}
	return note("source", found+"; "+c.stays+", so after the cutover EVALSHA fails with NOSCRIPT until somebody has loaded the script", wanted, "have each application load its scripts at the target before the cutover: redis-cli script load \"$(cat script.lua)\"")
}

// verbatimSetting says how a server replicates scripts: "no" as they were called, "yes" by what they write. Servers of 5.0 to 6.2 have it, and
// begin with "yes"; older ones replicate them as they were called, and newer ones by what they write.
const verbatimSetting = "lua-replicate-commands"

// verbatimScripts looks whether the source sends scripts as they were called, which may write something else on a newer target. It says
// nothing where it does not.
func verbatimScripts(r *run) (checks []Check) {
	if r.cfg.Scans || !r.target.open() {
		return nil
	}
	target := math.MaxInt // a proxy does not tell
	for _, n := range r.target.primaries() {
		if n.err == nil && n.server.Number > 0 {
			target = min(target, n.server.Number)
		}
	}
	for _, n := range r.source.primaries() {
		if n.err != nil || n.infoErr != nil || n.server.Number >= 70000 || n.server.Number >= 50000 && n.config[verbatimSetting] != "no" {
			continue
		}
		calls, _ := endpoint.AppCalls(n.info)
		if c := judgeVerbatim(calls["eval"]+calls["evalsha"], target); c != nil {
			c.Subject = n.addr
			checks = append(checks, *c)
		}
	}
	return checks
}

// judgeVerbatim judges the calls of scripts that a source sends as they were called to a target of a version; nil: nothing is to be said.
func judgeVerbatim(calls int64, target int) *Check {
	if calls == 0 || target < 50000 {
		return nil
	}
	c := note("", fmt.Sprintf("%d calls of scripts, which this source sends as they were called; the target does not sort what a script reads, nor fix its random numbers", calls),
		"no scripts, or such that write the same on every server",
		"none for scripts that declare their keys (KEYS): those that may write something else are not run on the target, but their keys are copied. Scripts that write keys which they do not declare are reported: verify these keys after the migration. A source since 5.0 stops it: CONFIG SET "+verbatimSetting+" yes")
	return &c
}
