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

// counters is what a node's INFO says about writes at one instant.
type counters struct {
	position Position
	info     map[string]string
	writes   string // calls of commands that may write, "" where INFO commandstats is refused
	swaps    string // calls of SWAPDB
	groups   string // calls that may change the groups of a stream, see changesGroups
}

// restFields do not change while nobody writes: whatever changes a key counts in rdb_changes_since_last_save, which a save resets.
// Keys and fields that expire or are evicted have counters of their own.
var restFields = []string{"run_id", "master_replid", "rdb_changes_since_last_save", "rdb_last_save_time", "master_repl_offset", "expired_keys",
	"expired_subkeys", "expired_fields", "evicted_keys", "role"}

// countersOf asks a node for INFO all, which includes the command statistics in every version.
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
	if id, offset, err := endpoint.StreamPosition(info); err == nil { // without a position, nothing is compared at an offset
		c.position = Position{ReplID: id, Offset: offset}
	}
	return c, nil
}

// changesGroups says whether a command may change the groups of a stream, its pending entries or its last ID, judging by its name
// in INFO commandstats. Such commands invalidate no key for CLIENT TRACKING (observed from Redis 6.0 to 8.0, and in Valkey 8.1),
// whereas commands that change its entries do. An unknown command on streams may be of either kind. Before 7.0, XGROUP appears
// without its subcommand.
func changesGroups(name string) bool {
	command, _, _ := strings.Cut(name, "|")
	switch command {
	case "xadd", "xdel", "xtrim", "xlen", "xrange", "xrevrange", "xread", "xinfo", "xpending":
		return false
	}
	return strings.HasPrefix(command, "x")
}

// mayWrite says whether a command, as INFO commandstats names it, may change data. An unknown command may.
func mayWrite(name string) bool {
	spec, ok := table.LookupName(name)
	return !ok || spec.Write || spec.Class == table.Script && !strings.HasSuffix(spec.Name, "_RO")
}

// atRest says that a node ran no write between two instants. It returns false for a node that does not count changes.
func atRest(before, after *counters) bool {
	if before == nil || after == nil || before.info["rdb_changes_since_last_save"] == "" || before.info["run_id"] == "" {
		return false
	}
	return maps.Equal(before.info, after.info) && before.writes == after.writes
}
