package verifier

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"surecut/internal/keyspace"
)

// besides is what one side holds apart from the keys that are compared.
type besides struct {
	libraries map[string]bool // function libraries (since 7.0), by name
	modules   map[string]bool // loaded modules, by name
	scripts   int64           // scripts in the cache of EVALSHA; of several servers the largest number
	own       int64           // keys of surecut itself
}

// leftOut names what was not compared, in one sentence for each kind that either side holds.
func (v *verification) leftOut(ctx context.Context) []string {
	source, target := v.source.besides(ctx), v.target.besides(ctx)
	out := slices.Concat([]string{}, v.source.dbs.notLookedAt(), v.target.dbs.notLookedAt())
	counted := func(what string, source, target int64) {
		if source+target > 0 {
			out = append(out, fmt.Sprintf("%s are not compared: the source has %d and the target has %d.", what, source, target))
		}
	}
	counted("Function libraries", int64(len(source.libraries)), int64(len(target.libraries)))
	counted("Cached scripts (for EVALSHA)", source.scripts, target.scripts)
	counted("surecut's own keys (names that begin with "+keyspace.Prefix+")", source.own, target.own)
	if len(source.modules)+len(target.modules) > 0 {
		out = append(out, fmt.Sprintf("Data that modules keep outside of keys, such as indexes, is not compared: the source has %s, the target has %s.",
			namesIn(source.modules), namesIn(target.modules)))
	}
	return out
}

func namesIn(set map[string]bool) string {
	if len(set) == 0 {
		return "no modules"
	}
	return strings.Join(slices.Sorted(maps.Keys(set)), ", ")
}

// besides asks every node that was read. What a node refuses to tell or does not know counts as nothing.
func (s *side) besides(ctx context.Context) besides {
	b := besides{libraries: map[string]bool{}, modules: map[string]bool{}, own: s.own.Load()}
	for _, n := range s.known() {
		info, err := n.info(ctx)
		if err != nil || s.dep.Spec().Proxy != "" {
			continue
		}
		cached, _ := strconv.ParseInt(info["number_of_cached_scripts"], 10, 64)
		b.scripts = max(b.scripts, cached)
		if n.facts.Number >= 70000 {
			s.collectNames(ctx, n, b.libraries, "library_name", "FUNCTION", "LIST")
		}
		s.collectNames(ctx, n, b.modules, "name", "MODULE", "LIST")
	}
	return b
}

// collectNames adds one field of each entry that a command's reply lists.
func (s *side) collectNames(ctx context.Context, n *node, to map[string]bool, field string, command ...string) {
	r := s.borrow(n, 0)
	defer s.giveBack(r)
	reply, err := r.one(ctx, command...)
	if err != nil {
		return
	}
	entries, err := reply.ToArray()
	if err != nil {
		return
	}
	for _, e := range entries {
		if fields, err := e.AsMap(); err == nil {
			if m, ok := fields[field]; ok {
				name, _ := m.ToString()
				to[name] = true
			}
		}
	}
}
