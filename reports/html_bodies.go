package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"surecut/internal/keyspace"
	"surecut/internal/preflight"
	"surecut/migrator"
	"surecut/verifier"
)

// bodyOf returns the data for the template of the kind, and the data for the script, which are the slots of the map.
func bodyOf(r Report) (body, data any, err error) {
	switch r := r.(type) {
	case *Check:
		return checkBodyOf(r), nothingForScript, nil
	case *Verify:
		body, err := verifyBodyOf(r)
		return body, verifyData(r), err
	case *Migrate:
		return migrateBodyOf(r), nothingForScript, nil
	case *BigKeys:
		body, err := bigKeysBodyOf(r)
		return body, bigKeysData(r), err
	case *Compat:
		return compatBodyOf(r), nothingForScript, nil
	case *Gate:
		return gateBody{Inputs: r.Inputs, Policy: policyLines(r.Policy)}, nothingForScript, nil
	}
	return nil, nil, fmt.Errorf("no page for a %T", r)
}

// scriptData is the input of assets/report.js. In a verify report a slot is [slot, source keys, target keys, verdict], in a bigkeys
// report it is [slot, keys, bytes]. Findings counts the findings by slot.
type scriptData struct {
	Kind     string         `json:"kind"`
	Slots    [][]any        `json:"slots"`
	Findings map[uint16]int `json:"findings"`
}

var nothingForScript = scriptData{Slots: [][]any{}}

type slotMap struct {
	Title, Note, Label, Hint string
	Legend                   []legendLine // of the verdicts; without a legend the map shows a scale from Least to Most
	Least, Most              string
	SpotsTitle, SpotsMore    string
	Spots                    []spot
}

// spot is a button for a slot that deserves a look.
type spot struct {
	Slot        uint16
	Class, Note string
}

// mapSpots is how many slots the map offers as buttons.
const mapSpots = 28

func mapHint(next string) string {
	return "Point at a slot to see its figures; click it to filter the table of keys. With the keyboard: arrows move, n goes to the next slot " + next + ", Esc clears."
}

type legendLine struct {
	Class, Name, Count string
	N                  int64
}

type verifyBody struct {
	Depth                 verifier.Depth
	DepthWord, ProofWord  string
	Share                 []legendLine
	Map                   slotMap
	Findings              []verifier.Finding
	FindingsNote, Nothing string
	Chips                 []legendLine
	ByReason              []verifier.ReasonTotal
	Charts                []chart
	History               []verifier.Round
}

func verifyBodyOf(v *Verify) (verifyBody, error) {
	t := v.Totals
	b := verifyBody{Depth: v.Depth, DepthWord: depthWords[v.Depth], ProofWord: proofWords[v.Proof], History: v.History, ByReason: v.ByReason, Map: verifyMap(v)}
	for _, s := range []struct {
		verdict verifier.Verdict
		n       int64
	}{{verifier.Same, t.Same}, {verifier.Different, t.Different}, {verifier.Missing, t.Missing}, {verifier.Extra, t.Extra}, {verifier.Unchecked, t.Unchecked}} {
		line := legendLine{Class: string(s.verdict), Name: string(s.verdict), Count: count(s.n), N: s.n}
		b.Share = append(b.Share, line)
		if s.n > 0 && s.verdict != verifier.Same {
			b.Chips = append(b.Chips, line)
		}
	}
	all := int64(len(v.Findings) + v.Omitted)
	b.Findings = v.Findings[:min(htmlRows, len(v.Findings))]
	b.FindingsNote = plural(all, "key is|keys are") + " not the same or unchecked"
	if left := all - int64(len(b.Findings)); left > 0 {
		b.FindingsNote += fmt.Sprintf("; the first %s are shown, verify.json lists %s", count(int64(len(b.Findings))), count(int64(len(v.Findings))))
	}
	b.Nothing = "There are no findings: every key that was compared is the same on both sides."
	if t.Same == 0 {
		b.Nothing = "There are no findings, because no key was compared."
	}
	var err error
	b.Charts, err = verifyCharts(v)
	return b, err
}

func verifyMap(v *Verify) slotMap {
	byVerdict := map[verifier.Verdict]int64{}
	for _, s := range v.Slots {
		byVerdict[s.Verdict]++
	}
	m := slotMap{Title: "Map of the 16,384 slots", Note: "each square is one slot, 128 a row", SpotsTitle: "Slots that are not the same", Hint: mapHint("that is not the same")}
	for _, s := range v.Slots {
		if s.Verdict != verifier.Same {
			m.Spots = append(m.Spots, spot{Slot: s.Slot, Class: string(s.Verdict)})
		}
	}
	if left := len(m.Spots) - mapSpots; left > 0 {
		m.Spots, m.SpotsMore = m.Spots[:mapSpots], fmt.Sprintf("and %s more on the map", count(int64(left)))
	}
	var words []string
	for _, verdict := range keyVerdicts {
		n := byVerdict[verdict]
		if n == 0 && (verdict == verifier.Missing || verdict == verifier.Extra) {
			continue
		}
		m.Legend = append(m.Legend, legendLine{Class: string(verdict), Name: string(verdict), Count: count(n)})
		words = append(words, count(n)+" "+string(verdict))
	}
	empty := int64(keyspace.Slots - len(v.Slots))
	m.Legend = append(m.Legend, legendLine{Class: "empty", Name: "no keys", Count: count(empty)})
	m.Label = fmt.Sprintf("Map of slots: %s, %s without keys", strings.Join(words, ", "), count(empty))
	return m
}

func verifyData(v *Verify) scriptData {
	d := scriptData{Kind: KindVerify, Slots: make([][]any, 0, len(v.Slots)), Findings: map[uint16]int{}}
	for _, s := range v.Slots {
		d.Slots = append(d.Slots, []any{s.Slot, s.SourceKeys, s.TargetKeys, s.Verdict})
	}
	for _, f := range v.Findings {
		d.Findings[f.Slot]++
	}
	return d
}

func verifyCharts(v *Verify) ([]chart, error) {
	var list []chart
	if len(v.ByType) > 0 {
		bars := make([]bar, len(v.ByType))
		for i, t := range v.ByType {
			bars[i] = bar{t.Type, t.Keys}
		}
		sortBars(bars)
		c, err := barChart("Keys by type", "keys of the source", count, bars)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	if len(v.History) > 0 {
		c, err := convergence(v)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// convergence draws how many keys were in doubt at the beginning of each round and at the end, and how many differences had been
// confirmed by then.
func convergence(v *Verify) (chart, error) {
	var labels []string
	var doubt, confirmed []float64
	var soFar, left int64
	for _, r := range v.History {
		labels = append(labels, "round "+strconv.Itoa(r.Round))
		doubt = append(doubt, float64(r.Suspects))
		confirmed = append(confirmed, float64(soFar))
		soFar, left = soFar+r.Confirmed, max(0, r.Suspects-r.Cleared-r.Confirmed)
	}
	labels = append(labels, "end")
	doubt = append(doubt, float64(left))
	confirmed = append(confirmed, float64(soFar))
	return lineChart("Convergence of the rounds", fmt.Sprintf("keys in doubt when each round began, and keys confirmed not to be the same by then; %s in all", span(historyMs(v))),
		labels, []string{"in doubt", "confirmed"}, [][]float64{doubt, confirmed})
}

func sortBars(bars []bar) {
	slices.SortStableFunc(bars, func(a, b bar) int { return cmp.Compare(b.Value, a.Value) })
}

type checkBody struct {
	Groups       []checkGroup
	PassedChecks []preflight.Check
}

type checkGroup struct {
	ID, Title, Note string
	Tone            string
	Checks          []preflight.Check
}

func checkBodyOf(c *Check) checkBody {
	var b checkBody
	groups := map[string]*checkGroup{
		"fail":     {ID: "fail", Title: "Failed", Note: "each stops the migration", Tone: "bad"},
		"alarm":    {ID: "alarm", Title: "Alarms", Note: "each must be remedied or accepted", Tone: "warn"},
		"accepted": {ID: "accepted", Title: "Accepted alarms", Note: "accepted by the user", Tone: "warn"},
		"note":     {ID: "note", Title: "Notes", Note: "worth knowing; no decision is needed", Tone: "skip"},
		"skipped":  {ID: "skipped", Title: "Skipped", Note: "could not be checked", Tone: "skip"},
	}
	for _, check := range c.Checks {
		if check.Result == preflight.Pass {
			b.PassedChecks = append(b.PassedChecks, check)
			continue
		}
		g := groups[resultWord(check)]
		g.Checks = append(g.Checks, check)
	}
	for _, id := range []string{"fail", "alarm", "accepted", "note", "skipped"} {
		if g := groups[id]; len(g.Checks) > 0 {
			b.Groups = append(b.Groups, *g)
		}
	}
	return b
}

// ToneOf returns the CSS class of one check.
func (checkBody) ToneOf(c preflight.Check) string {
	switch c.Result {
	case preflight.Pass:
		return "good"
	case preflight.Alarm:
		return "warn"
	case preflight.Fail:
		return "bad"
	}
	return "skip"
}

// WordOf returns the result of one check in a word.
func (checkBody) WordOf(c preflight.Check) string { return resultWord(c) }

type migrateBody struct {
	Links        []linkView
	Sums         []sumView
	Problems     []migrator.Problem
	ProblemsNote string
}

type linkView struct {
	migrator.Link
	SnapshotSize int64
	Steps        []step
}

type step struct{ Name, Class string }

type sumView struct {
	Name  string
	Total int64
	Adds  bool
	Parts []partView
}

type partView struct {
	part
	Class string
}

var phases = []string{"handshake", "snapshot", "streaming", "caught_up", "draining", "done"}

func migrateBodyOf(m *Migrate) migrateBody {
	var b migrateBody
	for _, l := range m.Links {
		v := linkView{Link: l, SnapshotSize: max(l.SnapshotTotal, l.SnapshotBytes)}
		now := slices.Index(phases, l.Phase)
		for i, p := range phases {
			s := step{Name: strings.ReplaceAll(p, "_", " ")}
			if i < now || l.Phase == "done" {
				s.Class = "past"
			} else if i == now {
				s.Class = "now"
			}
			v.Steps = append(v.Steps, s)
		}
		b.Links = append(b.Links, v)
	}
	plain := []string{"1", "2", "3"}
	for _, s := range sums(m) {
		v, next := sumView{Name: s.Name, Total: s.Total, Adds: s.Sum() == s.Total}, 0
		for _, p := range s.Parts {
			class := string(p.Tone)
			if class == "" {
				class, next = plain[next%len(plain)], next+1
			}
			v.Parts = append(v.Parts, partView{p, class})
		}
		b.Sums = append(b.Sums, v)
	}
	all := max(int64(len(m.Problems)), moved(m).SnapshotReported+moved(m).CommandsReported)
	b.Problems = m.Problems[:min(htmlRows, len(m.Problems))]
	b.ProblemsNote = plural(all, "key or command|keys and commands") + " did not arrive as sent"
	if left := all - int64(len(b.Problems)); left > 0 {
		b.ProblemsNote += fmt.Sprintf("; %s shown", count(int64(len(b.Problems))))
	}
	return b
}

type gateBody struct {
	Inputs []GateInput
	Policy []fact
}

// either returns yes if the condition holds, otherwise no.
func either(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

func yesNo(condition bool) string { return either(condition, "yes", "no") }

// policyLines describes a policy for people.
func policyLines(p Policy) []fact {
	limit := func(n, any int64) string {
		if n == any {
			return "any"
		}
		return "at most " + count(n)
	}
	accepted := strings.Join(p.Check.Accept, ", ")
	if p.Check.AcceptAlarms {
		accepted = "all"
	}
	largest := "any"
	if p.BigKeys.MaxKeyBytes > 0 {
		largest = "at most " + size(p.BigKeys.MaxKeyBytes)
	}
	return []fact{
		{Name: "Required reports", Value: visible(orNothing(strings.Join(p.Require, ", ")))},
		{Name: "Source", Value: visible(cmp.Or(p.Source, "any, the same in all reports"))},
		{Name: "Target", Value: visible(cmp.Or(p.Target, "any, the same in all reports"))},
		{Name: "All reports about the same source and target", Value: yesNo(p.SameEndpoints)},
		{Name: "Reports from before and after a restart", Value: either(p.AllowRestarts, "accepted together", "not accepted together")},
		{Name: "Maximum age of a report", Value: ageWord(p.MaxAge)},
		{Name: "Keys that the reports must cover", Value: visible(p.Selection.String())},
		{Name: "Alarms accepted by the policy", Value: visible(orNothing(accepted))},
		{Name: "Checks skipped", Value: limit(p.Check.MaxSkipped, -1)},
		{Name: "Depth of the comparison", Value: "at least " + visible(string(p.Verify.MinDepth))},
		{Name: "Proof under live traffic", Value: "at least " + visible(string(p.Verify.MinProof))},
		{Name: "Rounds", Value: "at least " + strconv.Itoa(p.Verify.MinRounds)},
		{Name: "Keys different, missing or extra", Value: limit(p.Verify.MaxDifferences, -1)},
		{Name: "Keys unchecked", Value: limit(p.Verify.MaxUnchecked, -1)},
		{Name: "Reasons for which keys are tolerated", Value: visible(orNothing(commas(p.Verify.Tolerate)))},
		{Name: "A comparison of no keys is accepted", Value: yesNo(p.Verify.AllowEmpty)},
		{Name: "Expiries that count as the same", Value: "at most " + p.Verify.MaxTTLTolerance.String() + " apart"},
		{Name: "Comparison before the end of the migration", Value: "at most " + p.Verify.MaxBeforeMigration.String()},
		{Name: "A run that could not list all keys is accepted", Value: yesNo(p.Verify.AllowIncomplete)},
		{Name: "Replicas that were disconnected from their primary are accepted", Value: yesNo(p.Verify.AllowStaleReplicas)},
		{Name: "Writes to the source during the comparison are accepted", Value: yesNo(p.Verify.AllowWritten)},
		{Name: "State of the migration", Value: visible(strings.ReplaceAll(strings.Join(p.Migrate.States, ", "), "_", " "))},
		{Name: "Level of the migration", Value: "at least " + visible(strings.ReplaceAll(p.Migrate.MinLevel, "_", " "))},
		{Name: "Keys and commands reported instead of applied", Value: limit(p.Migrate.MaxReported, -1)},
		{Name: "Lag of a link in bytes", Value: limit(p.Migrate.MaxLagBytes, -1)},
		{Name: "Largest key", Value: largest},
		{Name: "Keys that could not be read", Value: limit(p.BigKeys.MaxErrors, -1)},
		{Name: "Levels of compatibility findings that prevent GO", Value: visible(orNothing(strings.Join(p.Compat.Deny, ", ")))},
		{Name: "Possible findings of these levels prevent GO as well", Value: yesNo(p.Compat.DenyPossible)},
		{Name: "Commands whose findings are accepted", Value: visible(orNothing(strings.Join(p.Compat.Accept, ", ")))},
		{Name: "A scan that saw no reads is accepted", Value: yesNo(p.Compat.AllowUnproven)},
	}
}
