package quiet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Changed is a node of the target that may not hold any more what was compared.
type Changed struct {
	Addr   string `json:"addr"`
	Reason string `json:"reason"`
}

// Own says what the migration itself has written to the target between two readings.
type Own struct {
	Keys     map[string]int64 // calls that wrote surecut's own keys, by the name of the command: at most as many were run
	Commands int64            // commands of the stream that were applied; of a quiet source they only delete what has expired or was evicted

	// Unknown says that there may have been other writes, by the migration or in databases and keys that it does not cover, so that calls of
	// commands tell nothing.
	Unknown bool
}

// deletions are the commands by which a source deletes what has expired or was evicted. Each is one call.
var deletions = []string{"del", "unlink", "hdel"}

// checkpoint is the command that writes a checkpoint, at most one with each command of the stream.
const checkpoint = "hset"

// mostFields is how many changes of the data one call of the migration's own may count as.
const mostFields = 16

// ChangedTarget returns the nodes of the target of which it is not known that they still hold what they held at the first reading, but for
// what the migration has written since.
func ChangedTarget(before, after []Reading, own Own) (changed []Changed) {
	add := func(addr, reason string) {
		if reason != "" {
			changed = append(changed, Changed{addr, reason})
		}
	}
	left := &unexplained{keys: maps.Clone(own.Keys), deletions: own.Commands, checkpoints: own.Commands}
	for _, b := range before {
		i := slices.IndexFunc(after, func(a Reading) bool { return a.Addr == b.Addr })
		if i < 0 {
			add(b.Addr, "it is no longer a primary of the target")
			continue
		}
		add(b.Addr, changedNode(b, after[i], own, left))
	}
	for _, a := range after {
		if !slices.ContainsFunc(before, func(b Reading) bool { return a.Addr == b.Addr }) {
			add(a.Addr, "it has become a primary of the target since")
		}
	}
	return changed
}

// unexplained are calls of the migration that have not been found at any node so far.
type unexplained struct {
	keys                   map[string]int64
	deletions, checkpoints int64
}

// changedNode does it for one node, and takes from left what the migration's own calls explain.
func changedNode(before, after Reading, own Own, left *unexplained) string {
	switch {
	case before.Silent != "", after.Silent != "":
		return "it did not report whether it was changed: " + strings.TrimSuffix(cmp.Or(after.Silent, before.Silent), ".")
	case before.RunID != after.RunID:
		return "it was restarted, or replaced by another server"
	case after.Role != "master":
		return "it has become a replica"
	case before.ReplID != after.ReplID && strings.Trim(after.Earlier, "0") != "": // the first replica changes the ID, too, and leaves no earlier one
		return "it was a replica for a while, and was promoted again"
	case after.Evicted > before.Evicted:
		return fmt.Sprintf("it has evicted %d keys", after.Evicted-before.Evicted)
	case own.Unknown:
		return ""
	}
	return foreign(before, after, own, left)
}

// foreign says whether anybody other than the migration has written to a node. It takes the migration's calls from left.
func foreign(before, after Reading, own Own, left *unexplained) string {
	most := own.Commands
	for _, n := range own.Keys {
		most += n
	}
	changes, told := changesBetween(before, after)
	few := told && changes <= mostFields*most
	calls, counted := callsByName(before, after)
	var names []string
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		n := calls[name]
		if few && slices.Contains(mayRead, name) {
			continue
		}
		if explained := min(n, left.keys[name]); explained > 0 {
			n -= explained
			left.keys[name] -= explained
		}
		switch {
		case slices.Contains(deletions, name):
			explained := min(n, left.deletions)
			n -= explained
			left.deletions -= explained
		case name == checkpoint:
			explained := min(n, left.checkpoints)
			n -= explained
			left.checkpoints -= explained
		}
		if n > 0 {
			names = append(names, fmt.Sprintf("%s (%d)", strings.ToUpper(name), n))
		}
	}
	switch {
	case len(names) > 0:
		return "somebody other than the migration has written to it: calls of " + strings.Join(names, ", ")
	case told && !few:
		return fmt.Sprintf("somebody other than the migration has written to it: it counts %d changes of its data", changes)
	case !told && !counted:
		return "it is not known whether somebody other than the migration has written to it: it does not count calls of commands (or CONFIG RESETSTAT has reset the counters), and it saved its data, which resets its count of changes"
	}
	return ""
}
