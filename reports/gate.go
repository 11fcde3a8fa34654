package reports

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"surecut/internal/preflight"
)

// The verdicts of a gate.
const (
	Go   = "GO"
	NoGo = "NO-GO"
)

// Gate is the report of surecut gate: the judgement of the policy on the inputs. Reasons are full sentences. For a NO-GO they are
// everything that stands against GO, for a GO they are what it rests on.
type Gate struct {
	Header
	Verdict string      `json:"verdict"`
	Reasons []string    `json:"reasons"`
	Inputs  []GateInput `json:"inputs"`
	Policy  Policy      `json:"policy"`
}

// GateInput is one report that the gate judged.
type GateInput struct {
	Path        string   `json:"path"`
	SHA256      string   `json:"sha256"`
	Kind        string   `json:"kind"`
	GeneratedAt string   `json:"generated_at"`
	Source      string   `json:"source"`
	Target      string   `json:"target"`
	Verdict     string   `json:"verdict"` // the verdict of the report itself
	Summary     string   `json:"summary"`
	Against     []string `json:"against"` // reasons in this report against GO
}

// Evaluate judges reports that were loaded from files by the policy, as of now.
func Evaluate(p Policy, inputs ...Loaded) *Gate { return evaluateAt(time.Now(), p, inputs) }

// Judge judges reports that this program has made by the policy, as of now.
func Judge(p Policy, own ...Report) *Gate {
	var inputs []Loaded
	for _, r := range own {
		inputs = append(inputs, Loaded{Path: r.Kind() + " of this run", Report: r})
	}
	return Evaluate(p, inputs...)
}

func evaluateAt(now time.Time, p Policy, inputs []Loaded) *Gate {
	g := &Gate{Header: NewHeader(KindGate, moduleVersion(), "", ""), Policy: p, Reasons: []string{}, Inputs: []GateInput{}}
	g.GeneratedAt = now.UTC().Format(time.RFC3339)
	var against, grounds []string
	for _, kind := range p.Require {
		if !slices.ContainsFunc(inputs, func(l Loaded) bool { return l.Report.Kind() == kind }) {
			against = append(against, fmt.Sprintf("The policy requires a %s report, but none was given.", kind))
		}
	}
	if len(inputs) == 0 {
		against = append(against, "No report was given, so nothing is proven.")
	}
	if p.SameEndpoints {
		against = append(against, samePair(p, inputs)...)
	}
	against = append(against, sameSelection(p, inputs)...)
	against = append(against, staleVerification(p, inputs)...)
	for _, l := range inputs {
		own := judge(now, p, l.Report)
		h, s := l.Report.header(), summarize(l.Report)
		g.Inputs = append(g.Inputs, GateInput{
			Path: l.Path, SHA256: l.SHA256, Kind: l.Report.Kind(), GeneratedAt: h.GeneratedAt,
			Source: h.Source, Target: h.Target, Verdict: s.Verdict, Summary: s.Headline, Against: own,
		})
		if g.Target == "" {
			g.Source = h.Source
			g.Target = h.Target
			g.SourceServers = h.SourceServers
			g.TargetServers = h.TargetServers
		}
		for _, reason := range own {
			against = append(against, l.Path+": "+reason)
		}
		if len(own) == 0 {
			grounds = append(grounds, fmt.Sprintf("%s: %s%s", l.Path, s.Headline, toleratedIn(p, l.Report)))
		}
	}
	g.Verdict, g.Reasons = Go, append(g.Reasons, grounds...)
	if len(against) > 0 {
		g.Verdict, g.Reasons = NoGo, against
	}
	return g
}

// toleratedIn returns a sentence on the keys of a report that did not prevent a GO because the policy tolerates them, or "".
func toleratedIn(p Policy, r Report) string {
	if v, ok := r.(*Verify); ok {
		return toleratedBy(p.Verify, v).sentence()
	}
	return ""
}

// maxContradictions is how many contradictions a gate lists for one report. A single wrong figure can contradict many others.
const maxContradictions = 10

// clockSlack is how far apart the clocks of the machines that make reports and judge them may be.
const clockSlack = 5 * time.Minute

// judge returns the reasons in one report against GO.
func judge(now time.Time, p Policy, r Report) []string {
	against := []string{}
	made, err := time.Parse(time.RFC3339, r.header().GeneratedAt)
	switch age := now.Sub(made); {
	case err != nil:
		against = append(against, "The time at which it was generated cannot be read.")
	case age < -clockSlack:
		against = append(against, fmt.Sprintf("It was generated at %s, which is in the future, so its age is not known.", r.header().GeneratedAt))
	case p.MaxAge > 0 && age > time.Duration(p.MaxAge):
		against = append(against, fmt.Sprintf("It is %s old; the policy allows %s.", span(age.Milliseconds()), p.MaxAge))
	}
	if h := r.header(); h.Ended != Complete {
		return append(against, endedWords(h))
	}
	against = append(against, wantedSites(p, r)...)
	if no := contradictions(r); len(no) > maxContradictions {
		against = append(append(against, no[:maxContradictions]...), fmt.Sprintf("%s more.", plural(int64(len(no)-maxContradictions), "contradiction|contradictions")))
	} else {
		against = append(against, no...)
	}
	switch r := r.(type) {
	case *Check:
		return append(against, judgeCheck(p.Check, r)...)
	case *Verify:
		return append(against, judgeVerify(p.Verify, r)...)
	case *Migrate:
		return append(against, judgeMigrate(p.Migrate, r)...)
	case *BigKeys:
		if part := partOfScan(p, r); part != "" {
			against = append(against, partWords(p, part))
		}
		return append(against, judgeBigKeys(p.BigKeys, r)...)
	case *Compat:
		return append(against, judgeCompat(p.Compat, r)...)
	}
	return append(against, fmt.Sprintf("A %s report is not evidence; use check, verify, migrate, bigkeys and compat reports.", r.Kind()))
}

func judgeCheck(p CheckPolicy, c *Check) []string {
	var against []string
	if len(c.Checks) == 0 {
		return []string{"It contains no checks, so nothing was checked."}
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

func sentence(s string) string {
	if s == "" {
		return "no reason is given."
	}
	return strings.TrimSuffix(s, ".") + "."
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
