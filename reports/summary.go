package reports

import (
	"fmt"
	"strings"

	"surecut/internal/preflight"
	"surecut/migrator"
	"surecut/scanner"
	"surecut/verifier"
)

// tone says how good a verdict is, and so chooses its colour.
type tone string

const (
	good tone = "good"
	warn tone = "warn"
	bad  tone = "bad"
)

// summary is what every form of a report shows first.
type summary struct {
	Title    string
	Verdict  string // as in the JSON; for bigkeys, which has no verdict, what was scanned
	Word     string // the verdict for a banner
	Tone     tone
	Headline string // one sentence with figures
	Reasons  []string
	Facts    []fact
}

// fact is one key figure. A fact without a tone is neither good nor bad.
type fact struct {
	Name, Value, Note string
	Tone              tone
}

func summarize(r Report) summary {
	s := summarizeKind(r)
	if h := r.header(); h.Ended != Complete {
		s.unfinished(h)
	}
	return s
}

func summarizeKind(r Report) summary {
	switch r := r.(type) {
	case *Check:
		return summarizeCheck(r)
	case *Verify:
		return summarizeVerify(r)
	case *Migrate:
		return summarizeMigrate(r)
	case *BigKeys:
		return summarizeBigKeys(r)
	case *Compat:
		return summarizeCompat(r)
	case *Gate:
		return summarizeGate(r)
	}
	panic(fmt.Sprintf("reports: no summary of a %T", r))
}

// toneIf returns the tone if n is above 0, otherwise no tone.
func toneIf(n int64, t tone) tone {
	if n > 0 {
		return t
	}
	return ""
}

type checkTally struct{ Pass, Note, Alarm, Accepted, Fail, Skipped int64 } // Alarm counts only alarms that were not accepted.

func tally(c *Check) checkTally {
	var t checkTally
	for _, check := range c.Checks {
		switch {
		case check.Result == preflight.Pass:
			t.Pass++
		case check.Result == preflight.Note:
			t.Note++
		case check.Result == preflight.Alarm && check.Accepted:
			t.Accepted++
		case check.Result == preflight.Alarm:
			t.Alarm++
		case check.Result == preflight.Fail:
			t.Fail++
		case check.Result == preflight.Skipped:
			t.Skipped++
		}
	}
	return t
}

func summarizeCheck(c *Check) summary {
	t := tally(c)
	s := summary{Title: "Preconditions of the migration", Verdict: string(c.Verdict), Word: strings.ToUpper(string(c.Verdict)), Tone: good}
	switch c.Verdict {
	case preflight.Fail:
		s.Tone = bad
	case preflight.Alarm:
		s.Tone = warn
	}
	var parts []string
	for _, p := range []struct {
		n    int64
		word string
	}{{t.Fail, "failed|failed"}, {t.Alarm, "alarm|alarms"}, {t.Accepted, "accepted alarm|accepted alarms"},
		{t.Note, "note|notes"}, {t.Pass, "passed|passed"}, {t.Skipped, "skipped|skipped"}} {
		if p.n > 0 {
			parts = append(parts, plural(p.n, p.word))
		}
	}
	s.Headline = fmt.Sprintf("%s: %s.", plural(int64(len(c.Checks)), "check"), strings.Join(parts, ", "))
	if len(c.Checks) == 0 {
		s.Tone, s.Headline = warn, "Nothing was checked."
	}
	for _, check := range c.Checks {
		if check.Result == preflight.Fail || check.Result == preflight.Alarm && !check.Accepted {
			s.Reasons = append(s.Reasons, visible(fmt.Sprintf("%s (%s): found %s, wanted %s.", check.Title, check.Subject, orNothing(check.Found), orNothing(check.Wanted))))
		}
	}
	s.Facts = []fact{
		{Name: "Failed", Value: count(t.Fail), Note: "stop the migration", Tone: toneIf(t.Fail, bad)},
		{Name: "Alarms", Value: count(t.Alarm), Note: "must be accepted", Tone: toneIf(t.Alarm, warn)},
		{Name: "Accepted", Value: count(t.Accepted), Note: "alarms accepted by the user"},
		{Name: "Notes", Value: count(t.Note), Note: "need no decision"},
		{Name: "Passed", Value: count(t.Pass), Note: "of " + count(int64(len(c.Checks))), Tone: toneIf(t.Pass, good)},
		{Name: "Skipped", Value: count(t.Skipped), Note: "could not be checked"},
	}
	return s
}

var depthWords = map[verifier.Depth]string{
	verifier.DepthKeys:   "existence of keys only",
	verifier.DepthLength: "type and length, not the content",
	verifier.DepthValue:  "type, every byte of the value, expiry",
}

var proofWords = map[verifier.Proof]string{
	verifier.ProofRounds: "assumes that the target follows fast enough",
	verifier.ProofOffset: "both sides were compared at one offset",
}

func summarizeVerify(v *Verify) summary {
	t := v.Totals
	differences := t.Different + t.Missing + t.Extra
	s := summary{Title: "Comparison of source and target", Verdict: string(v.Verdict), Word: strings.ToUpper(string(v.Verdict)), Reasons: visibleAll(v.Reasons)}
	switch v.Verdict {
	case verifier.Same:
		s.Tone = good
		what := "key"
		if v.Selection.Part() != "" {
			what = "selected key"
		}
		s.Headline = fmt.Sprintf("%s compared at depth %s: no difference.", plural(t.Same, what), v.Depth)
	case verifier.Different:
		s.Tone = bad
		s.Headline = fmt.Sprintf("%s of %s compared at depth %s: %s different, %s missing, %s extra; %s unchecked.",
			plural(differences, "key is not the same|keys are not the same"), count(t.Same+differences), v.Depth,
			count(t.Different), count(t.Missing), count(t.Extra), count(t.Unchecked))
	default:
		s.Tone = warn
		s.Headline = fmt.Sprintf("%s compared at depth %s; %s unchecked, so nothing is proven.",
			plural(t.Same+differences, "key"), v.Depth, count(t.Unchecked))
	}
	if t.Same+differences+t.Unchecked == 0 {
		s.Tone, s.Headline = warn, "No key was compared, which proves nothing."
	}
	s.Facts = []fact{
		{Name: "Keys on the source", Value: count(t.SourceKeys)},
		{Name: "Keys on the target", Value: count(t.TargetKeys)},
		{Name: "Same", Value: count(t.Same), Note: percent(t.Same, t.Same+differences+t.Unchecked), Tone: toneIf(t.Same, good)},
		{Name: "Different", Value: count(t.Different), Note: "on both sides, but not equal", Tone: toneIf(t.Different, bad)},
		{Name: "Missing", Value: count(t.Missing), Note: "on the source only", Tone: toneIf(t.Missing, bad)},
		{Name: "Extra", Value: count(t.Extra), Note: "on the target only", Tone: toneIf(t.Extra, bad)},
		{Name: "Unchecked", Value: count(t.Unchecked), Note: "no verdict", Tone: toneIf(t.Unchecked, warn)},
		{Name: "Depth", Value: string(v.Depth), Note: depthWords[v.Depth]},
		{Name: "Proof", Value: string(v.Proof), Note: proofWords[v.Proof]},
		{Name: "Rounds", Value: count(int64(v.Rounds)), Note: "in " + span(historyMs(v))},
	}
	return s
}

func historyMs(v *Verify) (ms int64) {
	for _, r := range v.History {
		ms += r.DurationMs
	}
	return ms
}

func visibleAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = visible(s)
	}
	return out
}

// sum is one counter of a migration, and the parts that it consists of.
type sum struct {
	Name  string
	Total int64
	Parts []part
}

type part struct {
	Name, Note string
	N          int64
	Tone       tone
}

// Sum returns the sum of the parts.
func (s sum) Sum() (n int64) {
	for _, p := range s.Parts {
		n += p.N
	}
	return n
}

// moved returns the counters that a migrate report shows first, which are those of all runs. A report from before the migration
// began has no runs, and its own counters are returned.
func moved(m *Migrate) migrator.Counters {
	if m.AllRuns.Runs == 0 {
		return m.Counters
	}
	return m.AllRuns.Counters
}

// runsWords says how many runs the figures include, and what the last run did. It returns "" if there was only one run.
func runsWords(m *Migrate) string {
	if m.AllRuns.Runs < 2 {
		return ""
	}
	words := fmt.Sprintf("The migration was started %s; the last run brought %s of the snapshot and %s of the stream.",
		plural(int64(m.AllRuns.Runs), "time"), plural(m.Counters.SnapshotApplied, "key"), plural(m.Counters.CommandsApplied, "command"))
	if !m.AllRuns.Exact {
		words += " A run that failed or was killed could not count everything, so the figures of all runs are approximate; those of the last run are exact."
	}
	return words
}

// sums shows how the counters add up: over all runs, or over the last run if an earlier one could not count to its end.
func sums(m *Migrate) []sum {
	if !m.AllRuns.Exact {
		return sumsOf(m.Counters)
	}
	return sumsOf(moved(m))
}

func sumsOf(c migrator.Counters) []sum {
	keys := []part{
		{"applied", "written to the target", c.SnapshotApplied, good},
		{"filtered", "left out by --include, --exclude, --db", c.SnapshotFiltered, ""},
		{"kept", "not changed, because the target already had them", c.SnapshotKept, ""},
		{"expired", "had already expired", c.SnapshotExpired, ""},
	}
	if c.SnapshotEmpty > 0 { // only very old servers have such keys
		keys = append(keys, part{"empty", "held no element, so that no client finds them", c.SnapshotEmpty, ""})
	}
	return []sum{
		{"Keys of the snapshot", c.SnapshotKeys, append(keys, part{"reported", "not written; each is a problem", c.SnapshotReported, bad})},
		{"Commands of the stream", c.Commands, []part{
			{"applied", "run on the target", c.CommandsApplied, good},
			{"filtered", "left out by --include, --exclude, --db", c.CommandsFiltered, ""},
			{"control", "PING, SELECT, REPLCONF, MULTI, EXEC", c.CommandsControl, ""},
			{"repaired", "their keys were copied from the source", c.CommandsRepaired, warn},
			{"reported", "not applied; each is a problem", c.CommandsReported, bad},
		}},
	}
}

func summarizeMigrate(m *Migrate) summary {
	c := moved(m)
	reported := c.SnapshotReported + c.CommandsReported
	s := summary{Title: "Migration", Verdict: m.State, Word: strings.ToUpper(strings.ReplaceAll(m.State, "_", " ")), Tone: good}
	if m.State == "running" || m.State == "stopped" {
		s.Tone = warn
	}
	if m.State == "failed" || m.Error != "" || reported > 0 {
		s.Tone = bad
	}
	var bytes, lag int64
	var seconds float64
	for _, l := range m.Links {
		bytes = bytes + l.Bytes
		lag = lag + l.LagBytes
		seconds = max(seconds, l.LagSeconds)
	}
	s.Headline = fmt.Sprintf("%s of the snapshot and %s of the stream arrived over %s; %s.",
		plural(c.SnapshotApplied, "key"), plural(c.CommandsApplied, "command"), plural(int64(len(m.Links)), "link"),
		plural(reported, "is reported as a problem|are reported as problems"))
	if m.Error != "" {
		s.Reasons = append(s.Reasons, visible(sentence(m.Error)))
	}
	if words := runsWords(m); words != "" {
		s.Reasons = append(s.Reasons, words)
	}
	if reasons := quietReasons(m); len(reasons) > 0 {
		s.Tone, s.Reasons = bad, append(s.Reasons, visibleAll(reasons)...)
	}
	for _, u := range sums(m) {
		if u.Sum() != u.Total {
			s.Tone = bad
			s.Reasons = append(s.Reasons, fmt.Sprintf("%s: %s received, but %s accounted for.", u.Name, count(u.Total), count(u.Sum())))
		}
	}
	s.Facts = []fact{
		{Name: "Keys applied", Value: count(c.SnapshotApplied), Note: "of " + count(c.SnapshotKeys) + " in the snapshot", Tone: toneIf(c.SnapshotApplied, good)},
		{Name: "Commands applied", Value: count(c.CommandsApplied), Note: "of " + count(c.Commands) + " in the stream", Tone: toneIf(c.CommandsApplied, good)},
		{Name: "Loaded", Value: size(bytes), Note: "snapshot"},
		{Name: "Lag", Value: size(lag), Note: fmt.Sprintf("%.1f s", seconds), Tone: toneIf(lag, warn)},
		{Name: "Problems", Value: count(reported), Note: "did not arrive as they were sent", Tone: toneIf(reported, bad)},
		{Name: "Level", Value: strings.ReplaceAll(m.Level, "_", " "), Note: levelWords[m.Level]},
	}
	return s
}

var levelWords = map[string]string{
	"exactly_once": "every command was applied once",
	"repaired":     "keys in doubt were copied again",
}

func summarizeBigKeys(b *BigKeys) summary {
	t := b.Totals
	var risky int64
	for _, k := range b.Top {
		if len(k.Risks) > 0 {
			risky++
		}
	}
	s := summary{Title: "Big keys", Verdict: plural(t.Keys, "key") + " scanned", Word: "NO RISKS", Tone: good}
	s.Reasons = bigKeysReasons(b)
	if len(s.Reasons) > 0 {
		s.Tone, s.Word = warn, "RISKS"
	}
	if risky > 0 {
		s.Tone, s.Word = warn, strings.ToUpper(plural(risky, "key at risk|keys at risk"))
	}
	if t.Errors > 0 {
		s.Tone = warn
		s.Reasons = append(s.Reasons, plural(t.Errors, "key could|keys could")+" not be read, and are not counted anywhere else.")
	}
	s.Headline = fmt.Sprintf("%s with %s and %s, measured by %s.", plural(t.Keys, "key"), plural(t.Elements, "element"), size(t.Bytes), sizeWords(t.SizeBy))
	if risky > 0 {
		s.Reasons = append(s.Reasons, fmt.Sprintf("%s among the %s listed may disturb the migration; see the column Risks.",
			plural(risky, "key"), count(int64(len(b.Top)))))
	}
	if b.Cutover.Keys > 0 {
		s.Reasons = append(s.Reasons, capital(cutoverWords(b))+".")
	}
	s.Reasons = append(s.Reasons, visibleAll(b.Notes)...)
	var largest string
	if len(b.Top) > 0 {
		largest = size(b.Top[0].Bytes)
	}
	s.Facts = []fact{
		{Name: "Keys", Value: count(t.Keys)},
		{Name: "Bytes", Value: size(t.Bytes), Note: sizeWords(t.SizeBy)},
		{Name: "Elements", Value: count(t.Elements)},
		{Name: "Largest key", Value: orDash(largest)},
		{Name: "At risk", Value: count(risky), Note: "of those listed", Tone: toneIf(risky, warn)},
		{Name: "Serialized", Value: size(t.Serialized), Note: serializedWords(t.SizeBy)},
		{Name: "Never expire", Value: count(t.NoTTL), Note: percent(t.NoTTL, t.Keys)},
		{Name: "Not counted", Value: count(t.Expired + t.Foreign), Note: "expired, or in slots of other nodes"},
		{Name: "Vanished", Value: count(t.Vanished), Note: "while being scanned"},
		{Name: "Errors", Value: count(t.Errors), Note: "keys that could not be read", Tone: toneIf(t.Errors, warn)},
	}
	return s
}

// bigKeysReasons returns the risks of servers and shards.
func bigKeysReasons(b *BigKeys) (reasons []string) {
	for _, o := range b.OutputBuffer {
		if o.Risk != "" {
			reasons = append(reasons, visible(o.Node+": "+o.Risk+". Remedy: "+o.Remedy+"."))
		}
	}
	for _, s := range b.TargetShards {
		if s.Risk != "" {
			reasons = append(reasons, visible(fmt.Sprintf("Shard %d of %d, slots %d to %d, %s. Remedy: %s.", s.Shard, len(b.TargetShards), s.FirstSlot, s.LastSlot, s.Risk, s.Remedy)))
		}
	}
	return reasons
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func serializedWords(by string) string {
	if by == scanner.SizeByModel {
		return "in the RDB"
	}
	return "approximately, in an RDB"
}

func sizeWords(by string) string {
	switch by {
	case scanner.SizeByMemoryUsage:
		return "MEMORY USAGE"
	case scanner.SizeByModel:
		return "a model of MEMORY USAGE"
	case scanner.SizeByEstimate:
		return "an estimate from element counts"
	}
	return visible(by)
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func summarizeGate(g *Gate) summary {
	s := summary{Title: "Gate", Verdict: g.Verdict, Word: g.Verdict, Tone: good, Reasons: visibleAll(g.Reasons)}
	var against int64
	for _, in := range g.Inputs {
		if len(in.Against) > 0 {
			against++
		}
	}
	s.Headline = fmt.Sprintf("%s met the policy. You can cut over.", plural(int64(len(g.Inputs)), "report"))
	if part := g.Policy.Selection.Part(); part != "" {
		s.Headline = fmt.Sprintf("%s met the policy for only a part of the keys (%s). You can cut over this part.", plural(int64(len(g.Inputs)), "report"), visible(part))
	}
	if g.Verdict != Go {
		s.Tone = bad
		s.Headline = fmt.Sprintf("Do not cut over: %s against it.", plural(int64(len(g.Reasons)), "reason speaks|reasons speak"))
	}
	s.Facts = []fact{
		{Name: "Reports", Value: count(int64(len(g.Inputs))), Note: "judged"},
		{Name: "Against", Value: count(against), Note: "reports that do not meet the policy", Tone: toneIf(against, bad)},
		{Name: "Required depth", Value: string(g.Policy.Verify.MinDepth)},
		{Name: "Allowed differences", Value: count(g.Policy.Verify.MaxDifferences)},
		{Name: "Allowed unchecked keys", Value: count(g.Policy.Verify.MaxUnchecked)},
		{Name: "Allowed age", Value: ageWord(g.Policy.MaxAge)},
	}
	return s
}

func ageWord(d Duration) string {
	if d == 0 {
		return "any"
	}
	return d.String()
}

// place names the endpoints of a report in one line.
func place(h *Header) string {
	if h.Target == "" {
		return visible(h.Source)
	}
	return visible(h.Source) + " -> " + visible(h.Target)
}
