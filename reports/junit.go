package reports

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"surecut/internal/preflight"
	"surecut/verifier"
)

// The JUnit form is made for what CI systems show. GitLab shows only the class name, the name and the failure text, so the text
// holds the facts. A report always has a testcase, since CI systems take a report without one for a success.

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Timestamp  string          `xml:"timestamp,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	ClassName string       `xml:"classname,attr"`
	Name      string       `xml:"name,attr"`
	Failure   *junitDetail `xml:"failure"`
	Error     *junitDetail `xml:"error"`
	Skipped   *junitDetail `xml:"skipped"`
	SystemOut string       `xml:"system-out,omitempty"` // what is worth knowing about a testcase that passed
}

type junitDetail struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func renderJUnit(r Report) ([]byte, error) {
	var cases []junitCase
	switch r := r.(type) {
	case *Check:
		cases = checkCases(r)
	case *Verify:
		cases = verifyCases(r)
	case *Migrate:
		cases = migrateCases(r)
	case *BigKeys:
		cases = bigKeysCases(r)
	case *Compat:
		cases = compatCases(r)
	case *Gate:
		cases = gateCases(r)
	}
	h := r.header()
	if h.Ended != Complete {
		cases = append([]junitCase{{ClassName: "surecut.run", Name: "the run completed", Error: &junitDetail{h.Ended, endedWords(h), facts(r)}}}, cases...)
	}
	suites := junitSuites{Name: "surecut " + r.Kind()}
	for _, c := range cases {
		area := strings.TrimPrefix(c.ClassName, "surecut.")
		n := len(suites.Suites)
		if n == 0 || suites.Suites[n-1].Name != area {
			suites.Suites = append(suites.Suites, junitSuite{Name: area, Timestamp: xmlText(strings.TrimSuffix(h.GeneratedAt, "Z")), Properties: junitProperties(r)})
			n++
		}
		suites.Suites[n-1].add(c)
	}
	for _, s := range suites.Suites {
		suites.Tests = suites.Tests + s.Tests
		suites.Failures = suites.Failures + s.Failures
		suites.Errors = suites.Errors + s.Errors
		suites.Skipped = suites.Skipped + s.Skipped
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", "  ")
	if err := e.Encode(suites); err != nil {
		return nil, fmt.Errorf("encode JUnit of %s report: %w", r.Kind(), err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// junitProperties returns properties that say what a report is, and what its scope is.
func junitProperties(r Report) []junitProperty {
	h := r.header()
	properties := []junitProperty{{"schema", xmlText(h.Schema)}, {"version", xmlText(h.Version)}, {"source", xmlText(h.Source)}, {"target", xmlText(h.Target)}}
	for _, f := range stands(r) {
		properties = append(properties, junitProperty{strings.ReplaceAll(strings.ToLower(f.Name), " ", "_"), xmlText(f.Value)})
	}
	if v, ok := r.(*Verify); ok {
		for _, reason := range v.ByReason {
			properties = append(properties, junitProperty{"reason." + string(reason.Code), count(reason.Keys)})
		}
	}
	return properties
}

func (s *junitSuite) add(c junitCase) {
	c.Name = xmlText(c.Name)
	s.Tests++
	for _, d := range []struct {
		detail *junitDetail
		n      *int
	}{{c.Failure, &s.Failures}, {c.Error, &s.Errors}, {c.Skipped, &s.Skipped}} {
		if d.detail != nil {
			*d.n++
			d.detail.Message, d.detail.Text = xmlText(d.detail.Message), xmlText(d.detail.Text)
		}
	}
	s.Cases = append(s.Cases, c)
}

// xmlText keeps line breaks, and makes all other characters visible that are invisible or that XML 1.0 forbids: most control
// characters, U+FFFE, U+FFFF and invalid UTF-8.
func xmlText(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		lines := strings.Split(s, "\n")
		for i, l := range lines {
			lines[i] = visible(l)
		}
		return strings.Join(lines, "\n")
	}
	return s
}

// facts describes the run in a few lines, for the text of a failure.
func facts(r Report) string {
	h, s := r.header(), summarize(r)
	text := fmt.Sprintf("%s\n%s\ngenerated %s by surecut %s\n", s.Headline, place(h), h.GeneratedAt, h.Version)
	for _, f := range stands(r) {
		text += strings.ToLower(f.Name) + ": " + f.Value + "\n"
	}
	return text
}

func checkCases(c *Check) []junitCase {
	var cases []junitCase
	for _, check := range c.Checks {
		j := junitCase{ClassName: "surecut.check", Name: check.ID + " (" + check.Subject + ")"}
		text := fmt.Sprintf("%s\nsubject: %s\nfound:   %s\nwanted:  %s\n", check.Title, check.Subject, check.Found, check.Wanted)
		if check.Remedy != "" {
			text += "remedy:  " + check.Remedy + "\n"
		}
		text += facts(c)
		switch {
		case check.Result == preflight.Fail:
			j.Failure = &junitDetail{"fail", check.Title + ": found " + check.Found, text}
		case check.Result == preflight.Alarm && !check.Accepted:
			j.Failure = &junitDetail{"alarm", check.Title + ": found " + check.Found, text}
		case check.Result == preflight.Note:
			j.SystemOut = text
		case check.Result == preflight.Skipped:
			j.Skipped = &junitDetail{"", check.Found, text}
		}
		cases = append(cases, j)
	}
	if len(cases) == 0 {
		cases = append(cases, junitCase{ClassName: "surecut.check", Name: "checks", Error: &junitDetail{"empty", "nothing was checked", facts(c)}})
	}
	return cases
}

const (
	junitRanges   = 16   // the slots are divided into this many testcases
	junitPerRange = 1024 // slots
	junitKeys     = 20   // the most keys that a failure names
)

func verifyCases(v *Verify) []junitCase {
	verdict := junitCase{ClassName: "surecut.verdict", Name: "source and target are the same at depth " + string(v.Depth)}
	text := strings.Join(append([]string{strings.TrimSuffix(facts(v), "\n")}, v.Reasons...), "\n") + "\n"
	switch {
	case v.Verdict == verifier.Different:
		verdict.Failure = &junitDetail{"different", summarize(v).Headline, text}
	case v.Verdict == verifier.Unchecked || v.Totals.Same == 0:
		verdict.Error = &junitDetail{"unchecked", summarize(v).Headline, text}
	}
	return append([]junitCase{verdict}, slotCases(v)...)
}

// slotCases returns one testcase for each range of slots. A range fails because of the verdicts of its slots as well as because of
// its findings, since the list of findings may be truncated.
func slotCases(v *Verify) []junitCase {
	type rangeTally struct {
		keys, slots                int64
		differentSlots, unchecked  int64
		findings, uncheckedFinding []verifier.Finding
	}
	var tallies [junitRanges]rangeTally
	for _, s := range v.Slots {
		t := &tallies[min(int(s.Slot)/junitPerRange, junitRanges-1)]
		t.slots, t.keys = t.slots+1, t.keys+max(s.SourceKeys, s.TargetKeys)
		switch s.Verdict {
		case verifier.Same:
		case verifier.Unchecked:
			t.unchecked++
		default:
			t.differentSlots++
		}
	}
	for _, f := range v.Findings {
		t := &tallies[min(int(f.Slot)/junitPerRange, junitRanges-1)]
		if f.Verdict == verifier.Unchecked {
			t.uncheckedFinding = append(t.uncheckedFinding, f)
		} else if f.Verdict != verifier.Same {
			t.findings = append(t.findings, f)
		}
	}
	cases := make([]junitCase, junitRanges)
	for i, t := range tallies {
		c := junitCase{ClassName: "surecut.slots", Name: fmt.Sprintf("slots %d-%d", i*junitPerRange, (i+1)*junitPerRange-1)}
		held := fmt.Sprintf("%s in %s", plural(t.keys, "key"), plural(t.slots, "slot"))
		switch {
		case t.differentSlots > 0 || len(t.findings) > 0:
			c.Failure = &junitDetail{"different", fmt.Sprintf("%s not the same, %s listed", plural(t.differentSlots, "slot is|slots are"), plural(int64(len(t.findings)), "key")),
				held + "\n" + findingLines(t.findings) + facts(v)}
		case t.unchecked > 0 || len(t.uncheckedFinding) > 0:
			c.Error = &junitDetail{"unchecked", fmt.Sprintf("%s unchecked, %s listed", plural(t.unchecked, "slot"), plural(int64(len(t.uncheckedFinding)), "key")),
				held + "\n" + findingLines(t.uncheckedFinding) + facts(v)}
		case t.slots == 0:
			c.Skipped = &junitDetail{"", "no keys in these slots", ""}
		}
		cases[i] = c
	}
	return cases
}

func findingLines(findings []verifier.Finding) string {
	var b strings.Builder
	for _, f := range findings[:min(junitKeys, len(findings))] {
		exact := "base64 " + f.KeyBase64
		if f.KeyLength > 0 {
			exact = fmt.Sprintf("%s bytes, xxhash64 %s", count(f.KeyLength), f.KeyDigest)
		}
		code := ""
		if f.Code != "" {
			code = string(f.Code) + ": "
		}
		fmt.Fprintf(&b, "%s: db %d slot %d %s %s (%s): %s%s\n", f.Verdict, f.DB, f.Slot, f.Type, visible(f.Key), exact, code, visible(f.Reason))
	}
	if n := len(findings) - junitKeys; n > 0 {
		fmt.Fprintf(&b, "and %s more\n", count(int64(n)))
	}
	return b.String()
}

func migrateCases(m *Migrate) []junitCase {
	state := junitCase{ClassName: "surecut.migrate", Name: "the migration ended without an error"}
	switch {
	case m.State == "failed" || m.Error != "":
		state.Failure = &junitDetail{"failed", orNothing(m.Error), facts(m)}
	case m.State == "running":
		state.Error = &junitDetail{"running", "the migration has not ended", facts(m)}
	}
	cases := []junitCase{state}
	if m.Quiet != nil {
		cases = append(cases, quietCase(m))
	}
	for _, s := range sums(m) {
		c := junitCase{ClassName: "surecut.migrate", Name: strings.ToLower(s.Name) + " are accounted for"}
		reported := s.Parts[len(s.Parts)-1].N
		switch {
		case s.Sum() != s.Total:
			c.Failure = &junitDetail{"lost", fmt.Sprintf("%s received, %s accounted for", count(s.Total), count(s.Sum())), facts(m)}
		case reported > 0:
			c.Failure = &junitDetail{"reported", count(reported) + " reported instead of applied", problemLines(m) + facts(m)}
		}
		cases = append(cases, c)
	}
	for _, l := range m.Links {
		c := junitCase{ClassName: "surecut.links", Name: "link of " + l.Shard}
		if l.Phase != "done" && l.Phase != "caught_up" && m.State != "stopped" {
			c.Error = &junitDetail{"unfinished", "the link is in phase " + l.Phase, fmt.Sprintf("lag %d bytes, %.1f s; offset %d, applied %d\n", l.LagBytes, l.LagSeconds, l.Offset, l.AppliedOffset) + facts(m)}
		}
		cases = append(cases, c)
	}
	return cases
}

func problemLines(m *Migrate) string {
	var b strings.Builder
	for _, p := range m.Problems[:min(junitKeys, len(m.Problems))] {
		fmt.Fprintf(&b, "%s db %d key %s: %s %s\n", p.Shard, p.DB, visible(p.Key), visible(p.Command), visible(p.Reason))
	}
	return b.String()
}

func bigKeysCases(b *BigKeys) []junitCase {
	scan := junitCase{ClassName: "surecut.bigkeys", Name: "every key was read"}
	if b.Totals.Errors > 0 {
		scan.Error = &junitDetail{"unread", plural(b.Totals.Errors, "key could|keys could") + " not be read", facts(b)}
	}
	cases := []junitCase{scan}
	for _, k := range b.Top {
		if len(k.Risks) == 0 {
			continue
		}
		cases = append(cases, junitCase{ClassName: "surecut.bigkeys", Name: "db " + strconv.Itoa(k.DB) + " key " + shorten(visible(k.Key), 120), Failure: &junitDetail{
			"risk", riskWords(k), fmt.Sprintf("%s, %s bytes, %s, slot %d, ttl %s, key as base64 %s\n", k.Type, count(k.Bytes), plural(max(k.Elements, 0), "element"), k.Slot, span(k.TTLMs), k.KeyBase64) + facts(b)}})
	}
	return cases
}

func gateCases(g *Gate) []junitCase {
	verdict := junitCase{ClassName: "surecut.gate", Name: "GO"}
	if g.Verdict != Go {
		verdict.Failure = &junitDetail{"no-go", summarize(g).Headline, strings.Join(g.Reasons, "\n") + "\n" + facts(g)}
	}
	cases := []junitCase{verdict}
	for _, in := range g.Inputs {
		c := junitCase{ClassName: "surecut.inputs", Name: in.Path}
		if len(in.Against) > 0 {
			c.Failure = &junitDetail{"no-go", in.Against[0], strings.Join(in.Against, "\n") + "\n" + in.Summary + "\n"}
		}
		cases = append(cases, c)
	}
	return cases
}
