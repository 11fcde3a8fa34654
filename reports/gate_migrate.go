package reports

import (
	"fmt"
	"slices"
	"strings"
)

func judgeMigrate(p MigratePolicy, m *Migrate) []string {
	var against []string
	if !slices.Contains(p.States, m.State) {
		against = append(against, fmt.Sprintf("The migration is %s; the policy allows %s.", strings.ReplaceAll(m.State, "_", " "),
			strings.ReplaceAll(strings.Join(p.States, ", "), "_", " ")))
	}
	if m.Error != "" {
		against = append(against, "The migration ended with an error: "+sentence(m.Error))
	}
	against = append(against, quietReasons(m)...)
	against = append(against, quietContradicts(m)...)
	if len(m.Links) == 0 {
		against = append(against, "The migration has no link, so nothing was copied.")
	}
	if p.MinLevel == "exactly_once" && m.Level != p.MinLevel {
		against = append(against, fmt.Sprintf("The migration ran at level %s; the policy requires exactly_once.", m.Level))
	}
	c := moved(m) // what did not arrive in an earlier run is still missing
	if reported := max(c.SnapshotReported+c.CommandsReported, int64(len(m.Problems))); reported > p.MaxReported {
		against = append(against, fmt.Sprintf("%s reported instead of applied (%s of the snapshot, %s of the stream, %s listed); the policy allows %s.",
			plural(reported, "key or command was|keys and commands were"), count(c.SnapshotReported), count(c.CommandsReported),
			plural(int64(len(m.Problems)), "problem"), count(p.MaxReported)))
	}
	for i, s := range sumsOf(m.Counters) {
		if live := m.State == "caught_up" && i > 0; s.Total != s.Sum() && !live { // commands of a live stream may still be on their way
			against = append(against, fmt.Sprintf("%s: %s received, but %s accounted for.", s.Name, count(s.Total), count(s.Sum())))
		}
	}
	for _, l := range m.Links {
		if whole := max(l.SnapshotBytes, l.SnapshotTotal); l.Bytes < whole {
			against = append(against, fmt.Sprintf("The link of %s has loaded %s of its snapshot's %s bytes.", l.Shard, count(l.Bytes), count(whole)))
		}
		if p.MaxLagBytes >= 0 && l.LagBytes > p.MaxLagBytes {
			against = append(against, fmt.Sprintf("The link of %s lags by %s (%s bytes); the policy allows %s.", l.Shard, size(l.LagBytes), count(l.LagBytes), size(p.MaxLagBytes)))
		}
	}
	return against
}
