package quiet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"surecut/internal/command"
	"surecut/internal/keyspace"
)

// Reading is what a primary says about its writes at one moment.
type Reading struct {
	Addr     string
	RunID    string
	Role     string           // master or slave, as INFO names them
	ReplID   string           // "" before 4.0
	Earlier  string           // master_replid2: the ID before the last promotion; only zeros where there was none
	Evicted  int64            // evicted_keys
	Offset   int64            // master_repl_offset
	Calls    map[string]int64 // by name in lower case: calls of commands that write; nil where the server does not count calls
	Unknown  map[string]int64 // the same of commands that are not in the table, such as those of modules: whether they write is not known
	Info     int64            // calls of INFO, which every reading makes: a lower number shows that the counters were reset
	Changes  int64            // rdb_changes_since_last_save; -1: the server does not tell
	LastSave string           // rdb_last_save_time: a save resets Changes
	Silent   string           // why the node did not answer; "" where it did
}

// Report says what was found on a deployment between the beginning of a comparison and the end of the quiet time after it.
type Report struct {
	ForMs    int64  `json:"for_ms"`    // the quiet time that was asked for
	PausedMs int64  `json:"paused_ms"` // the longest time for which the source's writes were paused; 0: they were not paused
	Quiet    bool   `json:"quiet"`     // nothing was written to any node, and nobody but the migration has changed the target
	Nodes    []Node `json:"nodes"`

	// Target are the nodes of the target that may not hold any more what was compared.
	Target []Changed `json:"target,omitempty"`
}

// Node is one primary of the deployment.
type Node struct {
	Addr          string   `json:"addr"`
	OffsetBegin   int64    `json:"offset_begin"`   // when the comparison began
	OffsetEnd     int64    `json:"offset_end"`     // at the end of the quiet time
	AppliedOffset int64    `json:"applied_offset"` // offset that the target had applied at the end; 0 where the source is not replicated
	Writes        int64    `json:"writes"`         // calls of commands that write, or changes of the data where calls were not counted
	Reason        string   `json:"reason"`         // why the node does not count as quiet; empty where it does
	Writers       []Client `json:"writers"`        // clients that may have written: ten at most
}

// Reasons says for every node that is not quiet why it is not, and who is connected.
func (r *Report) Reasons() []string {
	var reasons []string
	for _, n := range r.Nodes {
		if n.Reason == "" {
			continue
		}
		text := fmt.Sprintf("%s: %s", n.Addr, n.Reason)
		var who []string
		for _, c := range n.Writers {
			who = append(who, c.String())
		}
		if len(who) > 0 {
			text += "; connected: " + strings.Join(who, ", ")
		}
		reasons = append(reasons, text+".")
	}
	return reasons
}

// TargetReasons says for every node of the target that may have changed why that is so.
func (r *Report) TargetReasons() []string {
	var reasons []string
	for _, n := range r.Target {
		reasons = append(reasons, fmt.Sprintf("%s: %s.", n.Addr, n.Reason))
	}
	return reasons
}

// Written says that some node is known to have been written.
func (r *Report) Written() bool {
	return slices.ContainsFunc(r.Nodes, func(n Node) bool { return n.Writes > 0 })
}

// Compare judges two readings of all primaries of a deployment.
func Compare(before, after []Reading) Report {
	r := Report{Quiet: len(before) > 0}
	for _, b := range before {
		n := Node{Addr: b.Addr, OffsetBegin: b.Offset}
		if i := slices.IndexFunc(after, func(a Reading) bool { return a.Addr == b.Addr }); i < 0 {
			n.Reason = "it is no longer a primary of the source, so it is not known whether it was written"
		} else {
			n.OffsetEnd = after[i].Offset
			n.Writes, n.Reason = judge(b, after[i])
		}
		r.Nodes = append(r.Nodes, n)
	}
	for _, a := range after {
		if !slices.ContainsFunc(before, func(b Reading) bool { return a.Addr == b.Addr }) {
			r.Nodes = append(r.Nodes, Node{Addr: a.Addr, OffsetEnd: a.Offset, Reason: "it has become a primary of the source since, so it is not known whether it was written before"})
		}
	}
	for _, n := range r.Nodes {
		r.Quiet = r.Quiet && n.Reason == ""
	}
	return r
}

// include adds what a report of a part of the time has shown: a save in the time before may hide it from the readings at both ends.
func (r *Report) include(part Report) {
	for _, p := range part.Nodes {
		i := slices.IndexFunc(r.Nodes, func(n Node) bool { return n.Addr == p.Addr })
		if p.Reason == "" || i < 0 {
			continue
		}
		r.Quiet = false
		if n := &r.Nodes[i]; n.Reason == "" || n.Writes == 0 && p.Writes > 0 {
			n.Writes, n.Reason = p.Writes, p.Reason
		}
	}
}

// judge returns how often a node was written between two readings, and why it does not count as quiet, or "" where it does.
func judge(before, after Reading) (writes int64, reason string) {
	switch {
	case before.Silent != "", after.Silent != "":
		why := after.Silent
		if why == "" {
			why = before.Silent
		}
		return 0, "it did not report whether it was written: " + strings.TrimSuffix(why, ".")
	case before.RunID != after.RunID:
		return 0, "it was restarted, so it is not known whether it was written before"
	case after.Role != "master":
		return 0, "it is not a primary, so it is not known whether its primary is written"
	case before.ReplID != after.ReplID:
		return 0, "its replication ID has changed, so there was a failover, and it is not known whether it was written"
	}
	changes, told := changesBetween(before, after)
	calls, counted := callsBetween(before, after, told && changes == 0)
	switch {
	case calls > 0:
		return calls, fmt.Sprintf("it is still written (%d calls of commands that write)", calls)
	case told && changes > 0: // by a module, whose calls are not counted, or while the counters of calls were reset
		return changes, fmt.Sprintf("it is still written (%d changes of its data)", changes)
	case !told && calledMore(before.Unknown, after.Unknown) != "":
		return 0, fmt.Sprintf("it is not known whether it was written: %s was called, which surecut does not know, and it saved its data, which resets its count of changes",
			keyspace.Printable(strings.ToUpper(calledMore(before.Unknown, after.Unknown))))
	case !told && !counted:
		return 0, "it is not known whether it was written: it does not count calls of commands (or CONFIG RESETSTAT has reset the counters), and it saved its data, which resets its count of changes"
	}
	return 0, ""
}

// changesBetween returns how many changes the data set has seen. The result told is false where a save has reset the counter.
func changesBetween(before, after Reading) (n int64, told bool) {
	if before.Changes < 0 || after.Changes < before.Changes || before.LastSave != after.LastSave {
		return 0, false
	}
	return after.Changes - before.Changes, true
}

// mayRead are commands that servers count as writing because some of their forms write; other forms only read.
var mayRead = []string{"sort", "georadius", "georadiusbymember", "bitfield", "getex"}

// callsBetween returns how often commands that write were called. The result counted is false where the counters are missing or
// were reset. Where the data is known to be unchanged, commands that may only have read are left out.
func callsBetween(before, after Reading, unchanged bool) (n int64, counted bool) {
	calls, counted := callsByName(before, after)
	for name, more := range calls {
		if !unchanged || !slices.Contains(mayRead, name) {
			n += more
		}
	}
	return n, counted
}

// callsByName returns how often each command that writes was called.
func callsByName(before, after Reading) (calls map[string]int64, counted bool) {
	if before.Calls == nil || after.Calls == nil || after.Info <= before.Info {
		return nil, false
	}
	calls, counted = map[string]int64{}, true
	for name, n := range after.Calls {
		switch more := n - before.Calls[name]; {
		case more < 0:
			counted = false
		case more > 0:
			calls[name] = more
		}
	}
	for name, n := range before.Unknown {
		if after.Unknown[name] < n {
			counted = false
		}
	}
	for name, n := range before.Calls {
		if _, still := after.Calls[name]; !still && n > 0 {
			counted = false
		}
	}
	return calls, counted
}

// calledMore returns the first command, by its name, that was called between two readings, or "".
func calledMore(before, after map[string]int64) string {
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if after[name] > before[name] {
			return name
		}
	}
	return ""
}

// writesData says whether a command, as INFO commandstats and CLIENT LIST name it ("set", "xgroup|create"), may change data.
// Most commands of modules are not in the table: their writes show in the changes of the data, until a save resets their number.
func writesData(name string) bool {
	spec, known := command.LookupName(name)
	return known && spec.Write
}

func inTable(name string) bool {
	_, known := command.LookupName(name)
	return known
}
