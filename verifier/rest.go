package verifier

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	table "surecut/internal/command"
	"surecut/internal/endpoint"
)

// counters is what a node's INFO says of writes at one instant.
type counters struct {
	position Position
	info     map[string]string
	writes   string // calls of commands that may write, "" where INFO commandstats is refused
	swaps    string // calls of SWAPDB
	groups   string // calls that may change the groups of a stream, see changesGroups
}

// restFields stand still while nobody writes: whatever changes a key counts in rdb_changes_since_last_save, which a save resets; keys
// and fields that go by themselves count on their own.
var restFields = []string{"run_id", "rdb_changes_since_last_save", "rdb_last_save_time", "master_repl_offset", "expired_keys",
	"expired_subkeys", "expired_fields", "evicted_keys", "role"}

// countersOf asks a node. INFO all includes the statistics of commands in every version.
func countersOf(ctx context.Context, n *node) (*counters, error) {
	info, err := n.info(ctx, "all")
	if err != nil {
		return nil, err
	}
	c := &counters{info: map[string]string{}}
	for _, f := range restFields {
		c.info[f] = info[f]
	}
	calls := endpoint.CommandCalls(info)
	var writes, groups []string
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if mayWrite(name) {
			writes = append(writes, fmt.Sprintf("%s=%d", name, calls[name]))
		}
		if changesGroups(name) {
			groups = append(groups, fmt.Sprintf("%s=%d", name, calls[name]))
		}
		if name == "swapdb" {
			c.swaps = strconv.FormatInt(calls[name], 10)
		}
	}
	c.groups = strings.Join(groups, " ")
	if c.writes = strings.Join(writes, " "); len(calls) > 0 {
		c.writes += " "
	}
	if id, offset, err := endpoint.StreamPosition(info); err == nil { // where it is not known, nothing is compared at an offset
		c.position = Position{ReplID: id, Offset: offset}
	}
	return c, nil
}

// changesGroups goes by the name in INFO commandstats. The commands that change the groups of a stream, its pending entries or its last
// ID invalidate no key for CLIENT TRACKING (seen from Redis 6.0 to 8.0, and in Valkey 8.1). Those that change its entries do. A command
// on streams that is not known here may be of either kind; XGROUP stands without its subcommand before 7.0.
func changesGroups(name string) bool {
	command, _, _ := strings.Cut(name, "|")
	switch command {
	case "xadd", "xdel", "xtrim", "xlen", "xrange", "xrevrange", "xread", "xinfo", "xpending":
		return false
	}
	return strings.HasPrefix(command, "x")
}

// mayWrite says whether a command, as INFO commandstats names it, may change data: one that is not known may.
func mayWrite(name string) bool {
	spec, ok := table.LookupName(name)
	return !ok || spec.Write || spec.Class == table.Script && !strings.HasSuffix(spec.Name, "_RO")
}

// atRest says that a node ran no write between two instants. A node that counts no changes says nothing.
func atRest(before, after *counters) bool {
	if before == nil || after == nil || before.info["rdb_changes_since_last_save"] == "" || before.info["run_id"] == "" {
		return false
	}
	return maps.Equal(before.info, after.info) && before.writes == after.writes
}
