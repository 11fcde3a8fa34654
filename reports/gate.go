package reports

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"surecut/internal/preflight"
	"surecut/verifier"
)

// The verdicts of a gate.
const (
	Go   = "GO"
	NoGo = "NO-GO"
)

// Gate is the report of surecut gate: what the policy makes of the inputs. Reasons are full sentences: of a NO-GO
// everything that stands against GO, of a GO what it rests on.
type Gate struct {
	Header
	Verdict string      `json:"verdict"`
	Reasons []string    `json:"reasons"`
	Inputs  []GateInput `json:"inputs"`
	Policy  Policy      `json:"policy"`
}

// GateInput is one report that was judged.
type GateInput struct {
	Path        string   `json:"path"`
	SHA256      string   `json:"sha256"`
	Kind        string   `json:"kind"`
	GeneratedAt string   `json:"generated_at"`
	Source      string   `json:"source"`
	Target      string   `json:"target"`
	Verdict     string   `json:"verdict"` // the report's own
	Summary     string   `json:"summary"`
	Against     []string `json:"against"` // the reasons that this input gives against GO
}

// Evaluate judges the inputs by the policy, now. The header's Version is left for the caller to set.
func Evaluate(p Policy, inputs ...Loaded) *Gate { return evaluateAt(time.Now(), p, inputs) }

func evaluateAt(now time.Time, p Policy, inputs []Loaded) *Gate {
	g := &Gate{Header: NewHeader(KindGate, "", "", ""), Policy: p, Reasons: []string{}, Inputs: []GateInput{}}
	g.GeneratedAt = now.UTC().Format(time.RFC3339)
	var against, grounds []string
	for _, kind := range p.Require {
		if !slices.ContainsFunc(inputs, func(l Loaded) bool { return l.Report.Kind() == kind }) {
			against = append(against, fmt.Sprintf("The policy requires a %s report and none was given.", kind))
		}
	}
	if len(inputs) == 0 {
		against = append(against, "No report was given, so nothing is proved.")
	}
	if p.SameEndpoints {
		against = append(against, differentEndpoints(inputs)...)
	}
	for _, l := range inputs {
		own := judge(now, p, l.Report)
		h, s := l.Report.header(), summarize(l.Report)
		g.Inputs = append(g.Inputs, GateInput{
			Path: l.Path, SHA256: l.SHA256, Kind: l.Report.Kind(), GeneratedAt: h.GeneratedAt,
			Source: h.Source, Target: h.Target, Verdict: s.Verdict, Summary: s.Headline, Against: own,
		})
		if g.Target == "" {
			g.Source, g.Target = h.Source, h.Target
		}
		for _, reason := range own {
			against = append(against, l.Path+": "+reason)
		}
		if len(own) == 0 {
			grounds = append(grounds, fmt.Sprintf("%s: %s", l.Path, s.Headline))
		}
	}
	g.Verdict, g.Reasons = Go, append(g.Reasons, grounds...)
	if len(against) > 0 {
		g.Verdict, g.Reasons = NoGo, against
	}
	return g
}

// differentEndpoints holds the two-sided reports against the first of them. Bigkeys and compat reports have a
// source only; that may also be a file, which no other report names.
func differentEndpoints(inputs []Loaded) []string {
	var against []string
	var first *Loaded
	for i, l := range inputs {
		h := l.Report.header()
		switch {
		case oneSided(l.Report):
		case h.Source == "" || h.Target == "":
			against = append(against, fmt.Sprintf("%s does not name its source and target, so it cannot be told what it proves.", l.Path))
		case first == nil:
			first = &inputs[i]
		case h.Source != first.Report.header().Source || h.Target != first.Report.header().Target:
			f := first.Report.header()
			against = append(against, fmt.Sprintf("%s speaks of %s -> %s, but %s of %s -> %s.",
				l.Path, h.Source, h.Target, first.Path, f.Source, f.Target))
		}
	}
	for _, l := range inputs {
		source := l.Report.header().Source
		if oneSided(l.Report) && first != nil && strings.HasPrefix(source, "redis") && source != first.Report.header().Source {
			against = append(against, fmt.Sprintf("%s is of %s, but %s has the source %s.",
				l.Path, source, first.Path, first.Report.header().Source))
		}
	}
	return against
}

// oneSided: the report speaks of a source only.
func oneSided(r Report) bool { return r.Kind() == KindBigKeys || r.Kind() == KindCompat }

// clockSlack is how far the clocks of the machines that make and judge reports may be apart.
const clockSlack = 5 * time.Minute

// judge gives the reasons of one report against GO.
func judge(now time.Time, p Policy, r Report) []string {
	against := []string{}
	made, err := time.Parse(time.RFC3339, r.header().GeneratedAt)
	switch age := now.Sub(made); {
	case err != nil:
		against = append(against, "Its time of generation cannot be read.")
	case age < -clockSlack:
		against = append(against, fmt.Sprintf("It was generated at %s, which lies in the future, so its age cannot be told.", r.header().GeneratedAt))
	case p.MaxAge > 0 && age > time.Duration(p.MaxAge):
		against = append(against, fmt.Sprintf("It is %s old; the policy allows %s.", span(age.Milliseconds()), p.MaxAge))
	}
	if h := r.header(); h.Ended != Complete {
		return append(against, endedWords(h))
	}
	switch r := r.(type) {
	case *Check:
		return append(against, judgeCheck(p.Check, r)...)
	case *Verify:
		return append(against, judgeVerify(p.Verify, r)...)
	case *Migrate:
		return append(against, judgeMigrate(p.Migrate, r)...)
	case *BigKeys:
		return append(against, judgeBigKeys(p.BigKeys, r)...)
	case *Compat:
		return append(against, judgeCompat(p.Compat, r)...)
	}
	return append(against, fmt.Sprintf("A %s report is no evidence; give check, verify, migrate, bigkeys and compat reports.", r.Kind()))
}

func judgeCheck(p CheckPolicy, c *Check) []string {
	var against []string
	if len(c.Checks) == 0 {
		return []string{"It holds no checks, so nothing was checked."}
	}
	var skipped int64
	for _, check := range c.Checks {
		on := fmt.Sprintf("%s (%s)", check.ID, check.Subject)
		switch {
		case check.Result == preflight.Fail:
			against = append(against, fmt.Sprintf("Check %s failed: found %s, wanted %s.", on, orNothing(check.Found), orNothing(check.Wanted)))
		case check.Result == preflight.Skipped:
			skipped++
		case check.Result == preflight.Alarm && !check.Accepted && !p.AcceptAlarms && !slices.Contains(p.Accept, check.ID):
			against = append(against, fmt.Sprintf("Check %s raised an alarm that nobody accepted: found %s, wanted %s.", on, orNothing(check.Found), orNothing(check.Wanted)))
		}
	}
	if c.Verdict == preflight.Fail && tally(c).Fail == 0 {
		against = append(against, "Its verdict is fail, although no check in it failed: the report contradicts itself.")
	}
	if p.MaxSkipped >= 0 && skipped > p.MaxSkipped {
		against = append(against, fmt.Sprintf("%s skipped; the policy allows %s.", plural(skipped, "check was|checks were"), count(p.MaxSkipped)))
	}
	return against
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return strings.TrimSuffix(s, ".")
}

func judgeVerify(p VerifyPolicy, v *Verify) []string {
	t := v.Totals
	differences := t.Different + t.Missing + t.Extra
	compared := t.Same + differences
	against := contradictions(v)
	if v.Selection != nil && v.Selection.Repaired {
		against = append(against, "It compared only keys that were repaired; give the report of a verification of all keys.")
	}
	if slices.Index(depths, v.Depth) < slices.Index(depths, p.MinDepth) {
		against = append(against, fmt.Sprintf("It compared at depth %s; the policy demands %s.", v.Depth, p.MinDepth))
	}
	if slices.Index(proofs, v.Proof) < slices.Index(proofs, p.MinProof) {
		against = append(against, fmt.Sprintf("Its proof is by %s; the policy demands proof by %s.", v.Proof, p.MinProof))
	}
	if len(v.History) > 0 && v.Rounds < p.MinRounds { // where nothing was in doubt there is no round to make
		against = append(against, fmt.Sprintf("It made %s over the keys in doubt; the policy demands %d.", plural(int64(v.Rounds), "round"), p.MinRounds))
	}
	if compared <= 0 && !p.AllowEmpty {
		against = append(against, fmt.Sprintf("It compared no key (source %s, target %s), which proves nothing.", count(t.SourceKeys), count(t.TargetKeys)))
	}
	if differences > p.MaxDifferences {
		against = append(against, fmt.Sprintf("%s of %s compared (%s different, %s missing, %s extra); the policy allows %s.",
			plural(differences, "key is not the same|keys are not the same"), count(compared), count(t.Different), count(t.Missing), count(t.Extra), count(p.MaxDifferences)))
	}
	if t.Unchecked > p.MaxUnchecked {
		against = append(against, fmt.Sprintf("%s unchecked; the policy allows %s.", plural(t.Unchecked, "key stayed|keys stayed"), count(p.MaxUnchecked)))
	}
	if v.Verdict == verifier.Unchecked && t.Unchecked == 0 {
		against = append(against, "The run as a whole stayed unchecked: "+sentence(strings.Join(v.Reasons, " ")))
	}
	return against
}

func sentence(s string) string {
	if s == "" {
		return "it gives no reason."
	}
	return strings.TrimSuffix(s, ".") + "."
}

// contradictions finds figures of a verify report that cannot all be true; such a report proves nothing.
func contradictions(v *Verify) []string {
	t := v.Totals
	var against []string
	for _, n := range []int64{t.SourceKeys, t.TargetKeys, t.Same, t.Different, t.Missing, t.Extra, t.Unchecked} {
		if n < 0 {
			return []string{"It counts fewer than no keys: the report contradicts itself."}
		}
	}
	if bad := t.Different + t.Missing + t.Extra; v.Verdict == verifier.Same && bad+t.Unchecked > 0 {
		against = append(against, fmt.Sprintf("Its verdict is same, although %s not the same and %s unchecked: the report contradicts itself.",
			plural(bad, "key is|keys are"), count(t.Unchecked)))
	} else if v.Verdict == verifier.Different && bad == 0 {
		against = append(against, "Its verdict is different, although it counts no difference: the report contradicts itself.")
	}
	found := map[verifier.Verdict]int64{}
	for _, f := range v.Findings {
		found[f.Verdict]++
	}
	for _, c := range []struct {
		verdict verifier.Verdict
		total   int64
	}{{verifier.Different, t.Different}, {verifier.Missing, t.Missing}, {verifier.Extra, t.Extra}, {verifier.Unchecked, t.Unchecked}} {
		if found[c.verdict] > c.total {
			against = append(against, fmt.Sprintf("It lists %s of verdict %s but counts %s: the report contradicts itself.",
				plural(found[c.verdict], "finding"), c.verdict, count(c.total)))
		}
	}
	if judged := t.Same + t.Different + t.Missing + t.Extra + t.Unchecked; judged < max(t.SourceKeys, t.TargetKeys) {
		against = append(against, fmt.Sprintf("It enumerated %s on the source and %s on the target, but judged only %s.",
			plural(t.SourceKeys, "key"), count(t.TargetKeys), count(judged)))
	}
	return against
}

func judgeMigrate(p MigratePolicy, m *Migrate) []string {
	var against []string
	if !slices.Contains(p.States, m.State) {
		against = append(against, fmt.Sprintf("The migration is %s; the policy allows %s.", strings.ReplaceAll(m.State, "_", " "),
			strings.ReplaceAll(strings.Join(p.States, ", "), "_", " ")))
	}
	if m.Error != "" {
		against = append(against, "The migration ended with an error: "+sentence(m.Error))
	}
	if len(m.Links) == 0 {
		against = append(against, "The migration has no link, so nothing was copied.")
	}
	if p.MinLevel == "exactly_once" && m.Level != p.MinLevel {
		against = append(against, fmt.Sprintf("The migration ran at level %s; the policy demands exactly_once.", m.Level))
	}
	c := m.Counters
	if reported := max(c.SnapshotReported+c.CommandsReported, int64(len(m.Problems))); reported > p.MaxReported {
		against = append(against, fmt.Sprintf("%s reported instead of applied (%s of the snapshot, %s of the stream, %s listed); the policy allows %s.",
			plural(reported, "key or command was|keys and commands were"), count(c.SnapshotReported), count(c.CommandsReported),
			plural(int64(len(m.Problems)), "problem"), count(p.MaxReported)))
	}
	for i, s := range sumsOf(m.Counters) {
		if live := m.State == "caught_up" && i > 0; s.Total != s.Sum() && !live { // of a live stream some commands are on their way
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

func judgeBigKeys(p BigKeysPolicy, b *BigKeys) []string {
	var against []string
	if p.MaxErrors >= 0 && b.Totals.Errors > p.MaxErrors {
		against = append(against, fmt.Sprintf("%s not be read; the policy allows %s.", plural(b.Totals.Errors, "key could|keys could"), count(p.MaxErrors)))
	}
	if p.MaxKeyBytes > 0 {
		for _, k := range b.Top {
			if k.Bytes > p.MaxKeyBytes {
				against = append(against, fmt.Sprintf("Key %s of database %d takes %s (%s bytes); the policy allows %s.",
					visible(shorten(k.Key, 80)), k.DB, size(k.Bytes), count(k.Bytes), size(p.MaxKeyBytes)))
			}
		}
	}
	return against
}
