package reports

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"surecut/internal/profile"
	"surecut/scanner/compat"
)

// Compat is the report of surecut scan compat.
type Compat struct {
	Header
	compat.Result
}

// Kind returns "compat".
func (*Compat) Kind() string { return KindCompat }

var (
	compatVerdicts  = []compat.Verdict{compat.Incompatible, compat.Risky, compat.Unproven, compat.Compatible}
	certainties     = []string{compat.Proven, compat.Possible}
	tagKinds        = []string{compat.TagVariable, compat.TagConstant, compat.TagNone}
	compatEvidences = []string{compat.FromStats, compat.FromServer, compat.FromMonitor, compat.FromCapture, compat.FromAOF, compat.FromStream, compat.FromCode, compat.FromTrial}
)

func (c *Compat) validate() error {
	if !slices.Contains(compatVerdicts, c.Verdict) {
		return fmt.Errorf("verdict is %q, must be incompatible, risky, unproven or compatible", c.Verdict)
	}
	for i, f := range c.Findings {
		if !slices.Contains(profile.Levels(), f.Level) {
			return fmt.Errorf("findings[%d].level is %q, must be block, silent, latent, cost or info", i, f.Level)
		}
		if !slices.Contains(certainties, f.Certainty) {
			return fmt.Errorf("findings[%d].certainty is %q, must be proven or possible", i, f.Certainty)
		}
	}
	for i, g := range c.KeyGroups {
		if !slices.Contains(tagKinds, g.Tag) {
			return fmt.Errorf("key_groups[%d].tag is %q, must be variable, constant or none", i, g.Tag)
		}
	}
	for i, e := range c.Coverage.Evidence {
		if !slices.Contains(compatEvidences, e.Kind) {
			return fmt.Errorf("coverage.evidence[%d].kind is %q", i, e.Kind)
		}
	}
	return nil
}

// compatTally counts findings by level, separately for proven and possible ones.
type compatTally struct{ proven, possible map[profile.Level]int64 }

func tallyCompat(c *Compat) compatTally {
	t := compatTally{map[profile.Level]int64{}, map[profile.Level]int64{}}
	for _, f := range c.Findings {
		if f.Certainty == compat.Possible {
			t.possible[f.Level]++
		} else {
			t.proven[f.Level]++
		}
	}
	return t
}

func (t compatTally) all(l profile.Level) int64 { return t.proven[l] + t.possible[l] }

var compatTones = map[compat.Verdict]tone{compat.Incompatible: bad, compat.Risky: warn, compat.Unproven: warn, compat.Compatible: good}

// levelTones maps the level of a finding to its CSS class.
var levelTones = map[profile.Level]string{profile.Block: "bad", profile.Silent: "bad", profile.Latent: "warn", profile.Cost: "skip", profile.Info: "skip"}

func summarizeCompat(c *Compat) summary {
	t := tallyCompat(c)
	s := summary{Title: "Command compatibility", Verdict: string(c.Verdict), Word: strings.ToUpper(string(c.Verdict)), Tone: compatTones[c.Verdict], Reasons: visibleAll(c.Reasons)}
	var calls int64
	for _, e := range c.Coverage.Evidence {
		calls += e.Calls
	}
	s.Headline = fmt.Sprintf("%s against %s: %s, in %s.", plural(int64(len(c.Findings)), "finding"), visible(c.Profile.Title),
		plural(t.all(profile.Block)+t.all(profile.Silent), "of them is refused or answered wrongly|of them are refused or answered wrongly"), plural(calls, "examined call"))
	s.Reasons = append(s.Reasons, visibleAll(c.Coverage.Blind)...)
	note := func(l profile.Level, text string) string {
		if n := t.possible[l]; n > 0 {
			return fmt.Sprintf("%s; %s of them only possible", text, count(n))
		}
		return text
	}
	s.Facts = []fact{
		{Name: "Block", Value: count(t.all(profile.Block)), Note: note(profile.Block, "refused"), Tone: toneIf(t.all(profile.Block), bad)},
		{Name: "Silent", Value: count(t.all(profile.Silent)), Note: note(profile.Silent, "a wrong answer without an error"), Tone: toneIf(t.all(profile.Silent), bad)},
		{Name: "Latent", Value: count(t.all(profile.Latent)), Note: note(profile.Latent, "works until there are more shards"), Tone: toneIf(t.all(profile.Latent), warn)},
		{Name: "Cost", Value: count(t.all(profile.Cost))},
		{Name: "Info", Value: count(t.all(profile.Info))},
		{Name: "Rules", Value: visible(c.Profile.Name), Note: visible(c.Profile.Version)},
	}
	return s
}

// compatShare returns in words how many of the examined calls meet the rule of the finding.
func compatShare(f compat.Finding) string {
	switch {
	case f.CrossSlotShare == nil:
		return "–"
	case f.Affected == 0:
		return "0 of " + count(f.Examined)
	}
	return percent(f.Affected, max(f.Examined, f.Affected)) + " of " + count(f.Examined)
}

func certain(f compat.Finding) string {
	if f.Certainty == compat.Possible {
		return string(f.Level) + "?"
	}
	return string(f.Level)
}

func compatTable(w io.Writer, c *Compat) error {
	var rows [][]string
	for _, f := range c.Findings[:min(rowLimit, len(c.Findings))] {
		rows = append(rows, []string{certain(f), visible(f.Command), count(f.Count), compatShare(f), visible(shorten(strings.Join(f.KeyTemplates, " "), 60)), visible(f.Reason)})
	}
	if err := writeTable(w, []column{{head: "level"}, {head: "command", width: 16}, {head: "calls", right: true}, {head: "of those seen", right: true, width: 14},
		{head: "keys", width: 18}, {head: "why", width: 28}}, rows); err != nil {
		return err
	}
	if err := more(w, int64(len(rows)), int64(len(c.Findings)), c.Kind()); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nWhat was examined")
	for _, e := range c.Coverage.Evidence[:min(rowLimit, len(c.Coverage.Evidence))] {
		for i, line := range wrap(evidenceWords(e), tableWidth-4) {
			fmt.Fprintf(w, "  %s %s\n", [2]string{"-", " "}[min(i, 1)], line)
		}
	}
	if len(c.KeyGroups) == 0 {
		return nil
	}
	rows = nil
	for i, g := range c.KeyGroups[:min(rowLimit, len(c.KeyGroups))] {
		for _, t := range g.Templates {
			rows = append(rows, []string{fmt.Sprint(i + 1), g.Tag, visible(t.Template), visible(orDash(t.Tagged)), visible(strings.Join(g.Commands, " "))})
		}
	}
	if err := writeTable(w, []column{{head: "group", right: true}, {head: "tag"}, {head: "keys used together", width: 26}, {head: "new names", width: 28}, {head: "by", width: 18}}, rows); err != nil {
		return err
	}
	for i, g := range c.KeyGroups[:min(rowLimit, len(c.KeyGroups))] {
		for j, line := range wrap(fmt.Sprintf("group %d: %s", i+1, groupWords(g)), tableWidth-4) {
			fmt.Fprintf(w, "  %s %s\n", [2]string{"-", " "}[min(j, 1)], line)
		}
	}
	return nil
}

// evidenceWords describes one piece of evidence.
func evidenceWords(e compat.Evidence) string {
	text := fmt.Sprintf("%s of %s: %s", e.Kind, visible(e.Subject), plural(e.Calls, "call"))
	switch e.Kind {
	case compat.FromTrial:
		return "trial on " + visible(e.Subject) + ": " + visible(e.Note)
	case compat.FromServer:
		text = fmt.Sprintf("databases, clients and functions of %s", visible(e.Subject))
	}
	if e.Seconds > 0 {
		text += " in " + span(int64(e.Seconds*1000))
	}
	text += "."
	if c := e.Cost; c != nil {
		text += fmt.Sprintf(" MONITOR was on %s and took %s: %.0f commands/s against %.0f without it, CPU %.2f s/s against %.2f, PING %d µs against %d, at most %s waiting in the server.",
			plural(int64(c.Windows), "time"), size(c.Bytes), c.OpsOn, c.OpsOff, c.CPUOn, c.CPUOff, c.LatencyOnUs, c.LatencyOffUs, size(c.PeakBuffer))
	}
	if e.Note != "" {
		text += " " + visible(e.Note)
	}
	return text
}

// groupWords describes what will happen to a group of keys.
func groupWords(g compat.KeyGroup) string {
	text := visible(g.Note)
	for _, t := range g.Templates {
		if t.Why != "" {
			text += fmt.Sprintf(" %s: %s.", visible(t.Template), visible(t.Why))
		}
	}
	if s := g.Skew; s != nil {
		text += fmt.Sprintf(" Of %s%s under %s the largest, %s, has %s%s; the fullest slot gets %s of the group.", plural(s.Keys, "key"), sizeIf(s.Bytes), plural(s.Tags, "tag"),
			visible(s.LargestTag), plural(s.LargestKeys, "key"), sizeIf(s.LargestBytes), percent(int64(s.MaxSlotShare*float64(s.Keys)+0.5), s.Keys))
	}
	return text
}

func sizeIf(n int64) string {
	if n == 0 {
		return ""
	}
	return " with " + size(n)
}

func (m *markdown) compat(c *Compat) {
	var rows [][]string
	for _, f := range c.Findings[:min(markdownRows, len(c.Findings))] {
		rows = append(rows, []string{md(certain(f)), mdCode(f.Command), count(f.Count), md(compatShare(f)), mdCode(shorten(strings.Join(f.KeyTemplates, " "), 80)), md(shorten(f.Reason, 140)), md(shorten(f.Remedy, 160))})
	}
	if len(rows) > 0 {
		m.table([]string{"Level", "Command", "Calls:", "Of those seen:", "Keys", "Why", "Remedy"}, int64(len(c.Findings)), rows)
	}
	rows = nil
	var all int64
	for _, g := range c.KeyGroups {
		for _, t := range g.Templates {
			if all++; len(rows) < markdownRows {
				rows = append(rows, []string{g.Tag, mdCode(t.Template), mdCode(t.Tagged), md(shorten(strings.Join(g.Commands, " "), 60))})
			}
		}
	}
	if len(rows) > 0 {
		m.table([]string{"Tag", "Keys used together", "New names", "By"}, all, rows)
	}
	m.line("")
	for _, e := range c.Coverage.Evidence[:min(5, len(c.Coverage.Evidence))] {
		m.line("- %s", md(shorten(evidenceWords(e), 400)))
	}
	if n := len(c.Coverage.Evidence) - 5; n > 0 {
		m.line("- and %s", plural(int64(n), "more piece of evidence|more pieces of evidence"))
	}
}

func compatCases(c *Compat) []junitCase {
	scan := junitCase{ClassName: "surecut.compat", Name: "calls were examined, including reads"}
	if c.Verdict == compat.Unproven {
		scan.Error = &junitDetail{"unproven", strings.Join(c.Reasons, " "), strings.Join(c.Coverage.Blind, "\n") + "\n" + facts(c)}
	}
	cases := []junitCase{scan}
	for _, f := range c.Findings {
		j := junitCase{ClassName: "surecut.compat", Name: fmt.Sprintf("%s (%s)", visible(f.Command), visible(f.Rule))}
		if f.Level == profile.Block || f.Level == profile.Silent || f.Level == profile.Latent {
			text := fmt.Sprintf("level:    %s, %s\ncalls:    %s, of those seen %s\nkeys:     %s\nexamples: %s\nclients:  %s\nevidence: %s\nanswer:   %s\nremedy:   %s\n%s\n",
				f.Level, f.Certainty, count(f.Count), compatShare(f), strings.Join(f.KeyTemplates, " "), strings.Join(f.ExampleKeys, " | "), strings.Join(f.Clients, ", "), f.Source, f.Error, f.Remedy, f.Detail)
			j.Failure = &junitDetail{certain(f), f.Reason, text + facts(c)}
		}
		cases = append(cases, j)
	}
	return cases
}

type compatBody struct {
	Findings     []compatFinding
	FindingsNote string
	Chips        []legendLine
	Evidence     []string
	Blind        []string
	Groups       []compatGroup
	Profile      compat.Profile
	Version      string
}

type compatFinding struct {
	compat.Finding
	Tone, Word, Share string
}

type compatGroup struct {
	compat.KeyGroup
	Words string
}

func compatBodyOf(c *Compat) compatBody {
	b := compatBody{Profile: c.Profile, Version: c.TargetVersion, Blind: c.Coverage.Blind}
	t := tallyCompat(c)
	for _, l := range profile.Levels() {
		if n := t.all(l); n > 0 {
			b.Chips = append(b.Chips, legendLine{Class: string(l), Name: string(l), Count: count(n), N: n})
		}
	}
	for _, f := range c.Findings[:min(htmlRows, len(c.Findings))] {
		b.Findings = append(b.Findings, compatFinding{f, levelTones[f.Level], certain(f), compatShare(f)})
	}
	b.FindingsNote = plural(int64(len(c.Findings)), "finding") + ", the worst first; a question mark means that it is only possible, because the keys were not seen"
	for _, e := range c.Coverage.Evidence {
		b.Evidence = append(b.Evidence, evidenceWords(e))
	}
	for _, g := range c.KeyGroups[:min(htmlRows, len(c.KeyGroups))] {
		b.Groups = append(b.Groups, compatGroup{g, groupWords(g)})
	}
	return b
}

// judgeCompat returns the reasons against GO in a compat report.
func judgeCompat(p CompatPolicy, c *Compat) []string {
	var against []string
	for _, f := range c.Findings {
		if !slices.Contains(p.Deny, string(f.Level)) || f.Certainty == compat.Possible && !p.DenyPossible || slices.Contains(p.Accept, f.Command) {
			continue
		}
		against = append(against, fmt.Sprintf("%s is %s (%s) on %s: %s.", visible(f.Command), f.Level, f.Certainty, visible(c.Profile.Title), orNothing(visible(f.Reason))))
	}
	if c.Verdict == compat.Unproven && !p.AllowUnproven {
		against = append(against, "What the application calls was not seen: "+sentence(strings.Join(c.Reasons, " ")))
	}
	return against
}
