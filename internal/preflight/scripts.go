package preflight

import (
	"context"
	"fmt"

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
