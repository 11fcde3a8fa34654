package reports

import (
	"slices"
	"strings"

	"surecut/migrator"
)

// contradictionsOfMigrate checks that the counters add up for this run and for all runs, that the links add up to the totals, and
// that the state of the migration matches the phases of its links.
func contradictionsOfMigrate(m *Migrate) []string {
	var no contradicted
	if least := slices.Min(append(figures(m.Counters), figures(m.AllRuns.Counters)...)); least < 0 {
		no.found("It counts %s keys or commands", count(least))
		return no
	}
	live := m.State == "caught_up" || m.State == "running"
	if m.State == "failed" && m.Error == "" || m.State != "failed" && m.Error != "" {
		no.found("Its state is %s, and its error is %s", m.State, orNothing(visible(m.Error)))
	}
	if m.AllRuns.Runs < 1 {
		no.found("It is the report of a run, and counts %s", plural(int64(m.AllRuns.Runs), "run"))
	}
	contradictionsOfLinks(m, &no)
	if live || m.State == "failed" { // Some commands are, or were, still on their way, so the sums do not match.
		return no
	}
	var keys, commands int64
	for _, l := range m.Links {
		keys, commands = keys+l.Keys, commands+l.Commands
	}
	c := m.Counters
	if keys != sumsOf(c)[0].Sum() || commands != c.Commands {
		no.found("Its links count %s and %s, but its totals are %s and %s", plural(keys, "key"), plural(commands, "command"), count(sumsOf(c)[0].Sum()), count(c.Commands))
	}
	if m.AllRuns.Exact {
		for _, s := range sumsOf(m.AllRuns.Counters) {
			if s.Total != s.Sum() {
				no.found("%s over all runs: %s received, but %s accounted for", s.Name, count(s.Total), count(s.Sum()))
			}
		}
	}
	return no
}

func contradictionsOfLinks(m *Migrate, no *contradicted) {
	all, this := figures(m.AllRuns.Counters), figures(m.Counters)
	for i := range this {
		if one := m.AllRuns.Runs == 1; all[i] < this[i] || one && m.AllRuns.Exact && all[i] != this[i] {
			no.found("Its counters of %s do not go together with those of its last run", plural(int64(m.AllRuns.Runs), "run"))
			break
		}
	}
	seen := map[string]bool{}
	for _, l := range m.Links {
		shard := visible(l.Shard)
		if seen[l.Shard] {
			no.found("It has two links of %s", shard)
		}
		seen[l.Shard] = true
		if !slices.Contains(phases, l.Phase) {
			no.found("The link of %s is in the phase %q, which does not exist", shard, visible(l.Phase))
		} else if wanted := phaseOf[m.State]; wanted != "" && l.Phase != wanted {
			no.found("The migration is %s, but the link of %s is in the phase %s", strings.ReplaceAll(m.State, "_", " "), shard, strings.ReplaceAll(l.Phase, "_", " "))
		}
		if min(l.Keys, l.Bytes, l.SnapshotBytes, l.SnapshotTotal, l.Commands, l.LagBytes, l.CutBytes) < 0 || l.LagSeconds < 0 {
			no.found("The link of %s has negative figures", shard)
		}
		if ended := m.State == "done" || m.State == "stopped"; ended && l.LagBytes != max(l.Offset-l.AppliedOffset, l.SourceOffset-l.AppliedOffset, 0) {
			no.found("The link of %s lags by %s bytes, although it received up to %s of %s and applied up to %s", shard, count(l.LagBytes), count(l.Offset), count(max(l.Offset, l.SourceOffset)), count(l.AppliedOffset))
		}
	}
}

// phaseOf maps a state of the migration to the phase that every link must be in.
var phaseOf = map[string]string{"caught_up": "caught_up", "done": "done", "stopped": "done"}

// figures returns all counters.
func figures(c migrator.Counters) []int64 {
	return []int64{c.SnapshotKeys, c.SnapshotApplied, c.SnapshotFiltered, c.SnapshotKept, c.SnapshotExpired, c.SnapshotEmpty, c.SnapshotReported,
		c.Commands, c.CommandsApplied, c.CommandsFiltered, c.CommandsControl, c.CommandsRepaired, c.CommandsReported}
}
