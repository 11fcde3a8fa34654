package reports

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// markdownRows limits the rows of each table, so that a report takes at most 60 lines of a pull request.
const markdownRows = 10

// renderMarkdown returns the form for pull requests and chats.
func renderMarkdown(r Report) []byte {
	s := summarize(r)
	m := &markdown{}
	m.line("## %s %s: %s", toneMark[s.Tone], md(s.Title), md(s.Word))
	m.line("")
	m.line("**%s**", md(s.Headline))
	m.line("")
	m.line("%s, generated %s by surecut %s", mdCode(place(r.header())), md(r.header().GeneratedAt), md(r.header().Version))
	m.line("")
	for _, f := range stands(r) {
		m.line("- %s: %s", f.Name, md(shorten(f.Value, 400)))
	}
	if _, ok := r.(*Check); !ok && len(s.Reasons) > 0 {
		m.line("")
		for _, reason := range s.Reasons[:min(markdownRows, len(s.Reasons))] {
			m.line("- %s", md(shorten(reason, 400)))
		}
		if n := len(s.Reasons) - markdownRows; n > 0 {
			m.line("- and %s", plural(int64(n), "more reason"))
		}
	}
	switch r := r.(type) {
	case *Check:
		m.check(r)
	case *Verify:
		m.verify(r)
	case *Migrate:
		m.migrate(r)
	case *BigKeys:
		m.bigKeys(r)
	case *Compat:
		m.compat(r)
	case *Gate:
		m.gate(r)
	}
	return m.b.Bytes()
}

var toneMark = map[tone]string{good: "✅", warn: "⚠️", bad: "❌"}

type markdown struct{ b bytes.Buffer }

func (m *markdown) line(format string, args ...any) {
	fmt.Fprintf(&m.b, format+"\n", args...)
}

// table writes at most markdownRows rows, and says how many of all rows are left. A head that ends in ":" aligns its column right.
func (m *markdown) table(heads []string, all int64, rows [][]string) {
	m.line("")
	names, rules := make([]string, len(heads)), make([]string, len(heads))
	for i, h := range heads {
		names[i], rules[i] = strings.TrimSuffix(h, ":"), "---"
		if strings.HasSuffix(h, ":") {
			rules[i] = "---:"
		}
	}
	m.line("| %s |", strings.Join(names, " | "))
	m.line("| %s |", strings.Join(rules, " | "))
	rows = rows[:min(markdownRows, len(rows))]
	for _, row := range rows {
		m.line("| %s |", strings.Join(row, " | "))
	}
	if left := all - int64(len(rows)); left > 0 {
		m.line("")
		m.line("and %s more", count(left))
	}
}

// md escapes text so that Markdown, and the HTML inside it, shows it unchanged.
func md(s string) string {
	var b strings.Builder
	for _, r := range visible(s) {
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case r == '@': // An @ would notify people.
			b.WriteString("&#64;")
		case strings.ContainsRune("\\`*_[]|~#!", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return strings.ReplaceAll(b.String(), "://", ":&#47;&#47;") // Untrusted text must not become a link.
}

// mdCode shows text as code, also in a table cell. The fence is longer than any run of backticks in the text.
func mdCode(s string) string {
	s = visible(s)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if s == "" {
		return ""
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") || strings.TrimSpace(s) == "" {
		s = " " + s + " "
	}
	return fence + strings.ReplaceAll(s, "|", "\\|") + fence
}

func (m *markdown) check(c *Check) {
	var rows [][]string
	for _, check := range checksByWeight(c) {
		if check.Result == "pass" {
			break // Passed checks come last, and need no attention.
		}
		rows = append(rows, []string{resultWord(check), mdCode(check.ID), md(check.Subject), md(shorten(check.Found, 120)), md(shorten(check.Wanted, 120)),
			mdCode(shorten(strings.ReplaceAll(visibleLines(check.Remedy), "\n", "; "), 160))})
	}
	if len(rows) > 0 {
		m.table([]string{"Result", "Check", "Subject", "Found", "Wanted", "Remedy"}, int64(len(rows)), rows)
	}
}

func (m *markdown) verify(v *Verify) {
	t := v.Totals
	m.table([]string{"Source keys:", "Target keys:", "Same:", "Different:", "Missing:", "Extra:", "Unchecked:", "Depth", "Proof", "Rounds:"}, 1, [][]string{{
		count(t.SourceKeys), count(t.TargetKeys), count(t.Same), count(t.Different), count(t.Missing), count(t.Extra), count(t.Unchecked),
		string(v.Depth), string(v.Proof), strconv.Itoa(v.Rounds)}})
	var rows [][]string
	for _, r := range v.ByReason {
		rows = append(rows, []string{mdCode(string(r.Code)), count(r.Keys), md(r.Code.Text())})
	}
	if len(rows) > 0 {
		m.table([]string{"Reason", "Keys:", "Meaning"}, int64(len(rows)), rows)
	}
	if len(v.Findings) == 0 {
		return
	}
	rows = nil
	for _, f := range v.Findings[:min(markdownRows, len(v.Findings))] {
		rows = append(rows, []string{string(f.Verdict), strconv.Itoa(f.DB), strconv.Itoa(int(f.Slot)), md(f.Type), mdCode(shorten(f.Key, 100)), md(shorten(f.Reason, 120))})
	}
	m.table([]string{"Verdict", "DB:", "Slot:", "Type", "Key", "What differs"}, int64(len(v.Findings)+v.Omitted), rows)
	m.line("")
	m.line("Next: `surecut repair --report verify.json` shows what would be repaired; with `--apply` it is repaired.")
}

func (m *markdown) migrate(g *Migrate) {
	var rows [][]string
	for _, l := range g.Links {
		rows = append(rows, []string{mdCode(l.Shard), l.Phase, count(l.Keys), size(l.Bytes), count(l.Commands), count(l.AppliedOffset), size(l.LagBytes), fmt.Sprintf("%.1f s", l.LagSeconds)})
	}
	m.table([]string{"Shard", "Phase", "Keys:", "Bytes:", "Commands:", "Applied offset:", "Lag:", "Lag:"}, int64(len(rows)), rows)
	rows = nil
	for _, s := range sums(g) {
		row := []string{s.Name, count(s.Total)}
		parts := make([]string, 0, len(s.Parts))
		for _, p := range s.Parts {
			if p.N != 0 {
				parts = append(parts, count(p.N)+" "+p.Name)
			}
		}
		rows = append(rows, append(row, strings.Join(parts, ", ")))
	}
	m.table([]string{"Counter", "Received:", "How they ended"}, int64(len(rows)), rows)
	if len(g.Problems) == 0 {
		return
	}
	rows = nil
	for _, p := range g.Problems[:min(markdownRows, len(g.Problems))] {
		rows = append(rows, []string{mdCode(p.Shard), strconv.Itoa(p.DB), mdCode(shorten(p.Key, 100)), mdCode(shorten(p.Command, 60)), md(shorten(p.Reason, 160))})
	}
	m.table([]string{"Shard", "DB:", "Key", "Command", "Problem"}, max(int64(len(g.Problems)), moved(g).SnapshotReported+moved(g).CommandsReported), rows)
}

func (m *markdown) bigKeys(b *BigKeys) {
	var rows [][]string
	for _, k := range b.Top[:min(markdownRows, len(b.Top))] {
		rows = append(rows, []string{size(k.Bytes), orUnknown(k.Elements), md(k.Type), strconv.Itoa(k.DB), mdCode(shorten(k.Key, 100)), span(k.TTLMs), md(riskWords(k))})
	}
	m.table([]string{"Bytes:", "Elements:", "Type", "DB:", "Key", "TTL", "Risks"}, int64(len(b.Top)), rows)
	rows = nil
	for _, g := range b.ByType {
		rows = append(rows, []string{md(g.Name), count(g.Keys), size(g.Bytes), percent(g.Bytes, b.Totals.Bytes)})
	}
	m.table([]string{"Type", "Keys:", "Bytes:", "Share:"}, int64(len(rows)), rows)
}

func (m *markdown) gate(g *Gate) {
	var rows [][]string
	for _, in := range g.Inputs {
		met := "met"
		if len(in.Against) > 0 {
			met = "**not met**"
		}
		rows = append(rows, []string{mdCode(in.Path), in.Kind, md(in.Verdict), met, md(in.GeneratedAt)})
	}
	m.table([]string{"Report", "Kind", "Verdict", "Policy", "Generated"}, int64(len(rows)), rows)
}
