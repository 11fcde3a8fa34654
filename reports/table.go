package reports

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"

	"surecut/internal/preflight"
	"surecut/scanner"
)

// tableWidth is the width of a table on a terminal. rowLimit is how many rows a table shows before it only says how many are left.
const (
	tableWidth  = 100
	standsWidth = 16 // the width of the names in the scope of a report
	rowLimit    = 20
)

// renderTable returns the form for terminals: the verdict first, then everything that needs action.
func renderTable(r Report) ([]byte, error) {
	var b bytes.Buffer
	s := summarize(r)
	for _, line := range append(wrap(s.Word+"  "+s.Headline, tableWidth), wrap(place(r.header()), tableWidth)...) {
		fmt.Fprintln(&b, line)
	}
	for _, f := range stands(r) {
		for i, line := range wrap(f.Value, tableWidth-standsWidth) {
			fmt.Fprintf(&b, "%-*s%s\n", standsWidth, [2]string{f.Name, ""}[min(i, 1)], line)
		}
	}
	if _, ok := r.(*Check); !ok { // The table of a check report shows the reasons.
		for i, reason := range s.Reasons {
			if i == rowLimit {
				fmt.Fprintf(&b, "  and %s\n", plural(int64(len(s.Reasons)-rowLimit), "more reason"))
				break
			}
			for j, line := range wrap(reason, tableWidth-4) {
				fmt.Fprintf(&b, "  %s %s\n", [2]string{"-", " "}[min(j, 1)], line)
			}
		}
	}
	var err error
	switch r := r.(type) {
	case *Check:
		err = checkTable(&b, r)
	case *Verify:
		err = verifyTable(&b, r)
	case *Migrate:
		err = migrateTable(&b, r)
	case *BigKeys:
		err = bigKeysTable(&b, r)
	case *Compat:
		err = compatTable(&b, r)
	case *Gate:
		err = gateTable(&b, r)
	}
	if err != nil {
		return nil, fmt.Errorf("render %s table: %w", r.Kind(), err)
	}
	return trailingSpace.ReplaceAll(b.Bytes(), nil), nil
}

var trailingSpace = regexp.MustCompile(`(?m) +$`)

// column is one column of a terminal table. Its width is in characters, and longer cells are wrapped.
type column struct {
	head  string
	width int
	right bool
}

func writeTable(w io.Writer, columns []column, rows [][]string) error {
	heads := make([]any, len(columns))
	aligns := make([]tw.Align, len(columns))
	for i, c := range columns {
		heads[i], aligns[i] = c.head, tw.AlignLeft
		if c.right {
			aligns[i] = tw.AlignRight
		}
	}
	t := tablewriter.NewTable(w,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders: tw.BorderNone,
			Symbols: tw.NewSymbols(tw.StyleLight),
			Settings: tw.Settings{
				Separators: tw.Separators{BetweenRows: tw.Off, BetweenColumns: tw.Off},
				Lines:      tw.Lines{ShowTop: tw.Off, ShowBottom: tw.Off, ShowHeaderLine: tw.On, ShowFooterLine: tw.Off},
			},
		})),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithHeaderAlignmentConfig(tw.CellAlignment{PerColumn: aligns}),
		tablewriter.WithRowAlignmentConfig(tw.CellAlignment{PerColumn: aligns}),
		tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithTrimSpace(tw.Off),
		tablewriter.WithPadding(tw.Padding{Right: "  ", Overwrite: true}),
	)
	t.Header(heads...)
	for _, row := range rows {
		cells := make([]any, len(row))
		for i, cell := range row {
			cells[i] = strings.Join(wrap(cell, columns[i].width), "\n")
		}
		if err := t.Append(cells...); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return t.Render()
}

// wrap breaks text into lines of at most width characters, at spaces if possible. A width of 0 means any width. Existing line
// breaks stay.
func wrap(text string, width int) []string {
	if width <= 0 {
		return []string{text}
	}
	var lines []string
	for _, paragraph := range strings.Split(text, "\n") {
		rest := []rune(paragraph)
		for len(rest) > width {
			cut, skip := width, 0
			for i := width; i > width/2; i-- {
				if rest[i] == ' ' {
					cut, skip = i, 1
					break
				}
			}
			lines = append(lines, string(rest[:cut]))
			rest = rest[cut+skip:]
		}
		lines = append(lines, string(rest))
	}
	return lines
}

// more says how many rows were left out, and where to find them.
func more(w io.Writer, shown, all int64, kind string) error {
	if all <= shown {
		return nil
	}
	_, err := fmt.Fprintf(w, "%s shown of %s; --out DIR writes the others to %s.json and %s.html\n", count(shown), count(all), kind, kind)
	return err
}

// checksByWeight orders checks by their importance to the reader: failed, alarms, accepted alarms, notes, skipped, passed.
func checksByWeight(c *Check) []preflight.Check {
	var ordered []preflight.Check
	for _, weight := range []func(preflight.Check) bool{
		func(c preflight.Check) bool { return c.Result == preflight.Fail },
		func(c preflight.Check) bool { return c.Result == preflight.Alarm && !c.Accepted },
		func(c preflight.Check) bool { return c.Result == preflight.Alarm && c.Accepted },
		func(c preflight.Check) bool { return c.Result == preflight.Note },
		func(c preflight.Check) bool { return c.Result == preflight.Skipped },
		func(c preflight.Check) bool { return c.Result == preflight.Pass },
	} {
		for _, check := range c.Checks {
			if weight(check) {
				ordered = append(ordered, check)
			}
		}
	}
	return ordered
}

func resultWord(c preflight.Check) string {
	if c.Result == preflight.Alarm && c.Accepted {
		return "accepted"
	}
	return string(c.Result)
}

func checkTable(w io.Writer, c *Check) error {
	var rows [][]string
	for _, check := range checksByWeight(c) {
		rows = append(rows, []string{resultWord(check), visible(check.ID), visible(check.Subject), visible(check.Found), visible(check.Wanted)})
	}
	if err := writeTable(w, []column{{head: "result"}, {head: "check", width: 21}, {head: "subject", width: 15}, {head: "found", width: 24}, {head: "wanted", width: 20}}, rows); err != nil {
		return err
	}
	titled := false
	for _, check := range checksByWeight(c) {
		if check.Remedy == "" || check.Result == preflight.Pass || check.Result == preflight.Note {
			continue
		}
		if !titled {
			fmt.Fprintln(w, "\nRemedies")
			titled = true
		}
		fmt.Fprintf(w, "  %s (%s):\n", visible(check.ID), visible(check.Subject))
		for _, line := range strings.Split(visibleLines(check.Remedy), "\n") { // not wrapped, since it will be copied
			fmt.Fprintf(w, "    %s\n", line)
		}
	}
	return nil
}

func verifyTable(w io.Writer, v *Verify) error {
	t := v.Totals
	if err := writeTable(w, []column{{head: "source keys", right: true}, {head: "target keys", right: true}, {head: "same", right: true},
		{head: "different", right: true}, {head: "missing", right: true}, {head: "extra", right: true}, {head: "unchecked", right: true},
		{head: "depth"}, {head: "proof"}, {head: "rounds", right: true}},
		[][]string{{count(t.SourceKeys), count(t.TargetKeys), count(t.Same), count(t.Different), count(t.Missing), count(t.Extra), count(t.Unchecked),
			string(v.Depth), string(v.Proof), strconv.Itoa(v.Rounds)}}); err != nil {
		return err
	}
	var rows [][]string
	for _, r := range v.ByReason {
		rows = append(rows, []string{string(r.Code), count(r.Keys), r.Code.Text()})
	}
	if len(rows) > 0 {
		if err := writeTable(w, []column{{head: "reason"}, {head: "keys", right: true}, {head: "meaning", width: 60}}, rows); err != nil {
			return err
		}
	}
	if len(v.Findings) == 0 {
		return nil
	}
	rows = nil
	for _, f := range v.Findings[:min(rowLimit, len(v.Findings))] {
		rows = append(rows, []string{string(f.Verdict), strconv.Itoa(f.DB), strconv.Itoa(int(f.Slot)), visible(f.Type), visible(shorten(f.Key, 72)), visible(f.Reason)})
	}
	if err := writeTable(w, []column{{head: "verdict"}, {head: "db", right: true}, {head: "slot", right: true}, {head: "type"},
		{head: "key", width: 32}, {head: "what differs", width: 30}}, rows); err != nil {
		return err
	}
	return more(w, int64(len(rows)), int64(len(v.Findings)+v.Omitted), v.Kind())
}

func migrateTable(w io.Writer, m *Migrate) error {
	var rows [][]string
	for _, l := range m.Links {
		rows = append(rows, []string{visible(l.Shard), l.Phase, count(l.Keys), size(l.Bytes), count(l.Commands), count(l.AppliedOffset), size(l.LagBytes), fmt.Sprintf("%.1f s", l.LagSeconds)})
	}
	if err := writeTable(w, []column{{head: "shard", width: 24}, {head: "phase"}, {head: "keys", right: true}, {head: "bytes", right: true},
		{head: "commands", right: true}, {head: "applied offset", right: true}, {head: "lag", right: true}, {head: "lag", right: true}}, rows); err != nil {
		return err
	}
	for _, s := range sums(m) {
		var parts []string
		for _, p := range s.Parts {
			if p.N != 0 {
				parts = append(parts, count(p.N)+" "+p.Name)
			}
		}
		mark := "="
		if s.Sum() != s.Total {
			mark = "is not"
		}
		line := fmt.Sprintf("%s: %s %s %s", s.Name, count(s.Total), mark, orNothing(strings.Join(parts, " + ")))
		fmt.Fprintln(w, strings.Join(wrap(line, tableWidth), "\n"))
	}
	if len(m.Problems) == 0 {
		return nil
	}
	rows = nil
	for _, p := range m.Problems[:min(rowLimit, len(m.Problems))] {
		rows = append(rows, []string{visible(p.Shard), strconv.Itoa(p.DB), visible(shorten(p.Key, 72)), visible(shorten(p.Command, 40)), visible(p.Reason)})
	}
	if err := writeTable(w, []column{{head: "shard", width: 15}, {head: "db", right: true}, {head: "key", width: 30}, {head: "command", width: 12}, {head: "reason", width: 32}}, rows); err != nil {
		return err
	}
	return more(w, int64(len(rows)), max(int64(len(m.Problems)), moved(m).SnapshotReported+moved(m).CommandsReported), m.Kind())
}

func bigKeysTable(w io.Writer, b *BigKeys) error {
	var rows [][]string
	for _, k := range b.Top[:min(rowLimit, len(b.Top))] {
		rows = append(rows, []string{size(k.Bytes), orUnknown(k.Elements), visible(k.Type), strconv.Itoa(k.DB), visible(shorten(k.Key, 72)), span(k.TTLMs), visible(strings.Join(k.Risks, "; "))})
	}
	if err := writeTable(w, []column{{head: "bytes", right: true}, {head: "elements", right: true}, {head: "type"}, {head: "db", right: true},
		{head: "key", width: 28}, {head: "ttl"}, {head: "risks", width: 22}}, rows); err != nil {
		return err
	}
	if err := more(w, int64(len(rows)), int64(len(b.Top)), b.Kind()); err != nil {
		return err
	}
	for i, line := range remedyLines(b.Top) {
		if i == 0 {
			fmt.Fprintln(w, "\nremedies:")
		}
		for j, part := range wrap(line, tableWidth-4) {
			fmt.Fprintf(w, "  %s %s\n", [2]string{"-", " "}[min(j, 1)], part)
		}
	}
	for _, g := range []struct {
		head string
		rows []scanner.Group
	}{{"type", b.ByType}, {"database", b.ByDB}, {"node", b.ByNode}, {"prefix", b.ByPrefix}} {
		if len(g.rows) == 1 && g.head != "type" && g.head != "prefix" {
			continue
		}
		rows = nil
		for _, row := range g.rows[:min(10, len(g.rows))] {
			rows = append(rows, []string{visible(shorten(row.Name, 48)), count(row.Keys), size(row.Bytes), percent(row.Bytes, b.Totals.Bytes), count(row.Elements)})
		}
		if err := writeTable(w, []column{{head: g.head, width: 40}, {head: "keys", right: true}, {head: "bytes", right: true}, {head: "share", right: true}, {head: "elements", right: true}}, rows); err != nil {
			return err
		}
	}
	rows = nil
	for _, x := range b.TTL {
		if x.Keys > 0 {
			rows = append(rows, []string{x.UpTo, count(x.Keys), size(x.Bytes), percent(x.Bytes, b.Totals.Bytes)})
		}
	}
	if err := writeTable(w, []column{{head: "expires within"}, {head: "keys", right: true}, {head: "bytes", right: true}, {head: "share", right: true}}, rows); err != nil {
		return err
	}
	rows = nil
	for _, x := range b.TargetShards[:min(rowLimit, len(b.TargetShards))] {
		rows = append(rows, []string{strconv.Itoa(x.Shard), fmt.Sprintf("%d-%d", x.FirstSlot, x.LastSlot), count(x.Keys), size(x.Bytes), fmt.Sprintf("%.2f", x.Load), visible(shorten(x.LargestKey, 40))})
	}
	return writeTable(w, []column{{head: "shard", right: true}, {head: "slots"}, {head: "keys", right: true}, {head: "bytes", right: true}, {head: "load", right: true}, {head: "largest key", width: 36}}, rows)
}

// remedyLines returns each remedy once, with the number of times that the keys need it.
func remedyLines(keys []scanner.BigKey) (lines []string) {
	times := map[string]int64{}
	for _, k := range keys {
		for _, r := range k.Remedies {
			if times[r]++; times[r] == 1 {
				lines = append(lines, r)
			}
		}
	}
	for i, r := range lines {
		lines[i] = fmt.Sprintf("%s (%s)", visible(r), plural(times[r], "time"))
	}
	return lines
}

// riskWords joins the risks of a key, each with its remedy.
func riskWords(k scanner.BigKey) string {
	var all []string
	for i, r := range k.Risks {
		if i < len(k.Remedies) && k.Remedies[i] != "" {
			r += ": " + k.Remedies[i]
		}
		all = append(all, r)
	}
	return strings.Join(all, "; ")
}

func gateTable(w io.Writer, g *Gate) error {
	var rows [][]string
	for _, in := range g.Inputs {
		met := "met"
		if len(in.Against) > 0 {
			met = "not met"
		}
		rows = append(rows, []string{met, in.Kind, visible(in.Verdict), visible(in.GeneratedAt), visible(in.Path)})
	}
	return writeTable(w, []column{{head: "policy"}, {head: "kind"}, {head: "verdict", width: 20}, {head: "generated"}, {head: "report", width: 40}}, rows)
}
