package reports

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"surecut/scanner"
)

var update = flag.Bool("update", false, "write the golden files again")

var sampleNow = time.Date(2026, 3, 14, 10, 0, 0, 0, time.UTC)

func TestGolden(t *testing.T) {
	forms := map[string]string{"table": ".txt", "markdown": ".md", "junit": ".xml", "json": ".json"}
	for name, r := range samples(t) {
		for form, extension := range forms {
			shown := r
			if form == "json" {
				shown = withoutMost(r)
			}
			var b bytes.Buffer
			if err := Render(&b, shown, form); err != nil {
				t.Fatalf("%s as %s: %v", name, form, err)
			}
			file := filepath.Join("testdata", name+extension)
			if *update {
				if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), want) {
				t.Errorf("%s differs from what is rendered; look at the change, then run go test ./reports -update\n%s", file, firstDifference(b.String(), string(want)))
			}
		}
	}
}

// withoutMost keeps the golden JSON small: 16384 slots show no more than eight.
func withoutMost(r Report) Report {
	switch r := r.(type) {
	case *Verify:
		short := *r
		short.Slots = short.Slots[:min(8, len(short.Slots))]
		return &short
	case *BigKeys:
		short := *r
		short.BySlot = short.BySlot[:min(8, len(short.BySlot))]
		return &short
	}
	return r
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got:  " + g[i] + "\nwant: " + w[i]
		}
	}
	return "one has more lines"
}

func TestEveryFormIsSafe(t *testing.T) {
	for name, r := range samples(t) {
		for _, form := range formats {
			var b bytes.Buffer
			if err := Render(&b, r, form); err != nil {
				t.Fatalf("%s as %s: %v", name, form, err)
			}
			if b.Len() == 0 || !bytes.HasSuffix(b.Bytes(), []byte("\n")) {
				t.Errorf("%s as %s: empty, or no newline at its end", name, form)
			}
			if !utf8.Valid(b.Bytes()) {
				t.Errorf("%s as %s: no UTF-8", name, form)
			}
			for _, c := range []string{"\x00", "\x07", "\x1b", "\u202e"} {
				if form != "json" && strings.Contains(b.String(), c) {
					t.Errorf("%s as %s: %q shows unescaped", name, form, c)
				}
			}
			for i, line := range strings.Split(b.String(), "\n") {
				if form == "table" && utf8.RuneCountInString(line) > tableWidth && !strings.HasPrefix(line, "    ") {
					t.Errorf("%s: line %d is wider than %d: %s", name, i+1, tableWidth, line)
				}
			}
			if n := bytes.Count(b.Bytes(), []byte("\n")); form == "markdown" && n > 60 {
				t.Errorf("%s: %d lines of Markdown, want at most 60", name, n)
			}
			if form == "markdown" && (strings.Contains(b.String(), "<script") || strings.Contains(b.String(), "@everyone")) && !strings.Contains(b.String(), "`") {
				t.Errorf("%s: Markdown lets HTML or a mention through", name)
			}
		}
	}
}

func TestJUnitCounts(t *testing.T) {
	for name, r := range samples(t) {
		var b bytes.Buffer
		if err := Render(&b, r, "junit"); err != nil {
			t.Fatal(err)
		}
		var s junitSuites
		if err := xml.Unmarshal(b.Bytes(), &s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cases, failures, errs, skipped := 0, 0, 0, 0
		for _, suite := range s.Suites {
			for _, c := range suite.Cases {
				cases++
				if c.Failure != nil {
					failures++
				}
				if c.Error != nil {
					errs++
				}
				if c.Skipped != nil {
					skipped++
				}
			}
		}
		if cases == 0 || cases != s.Tests || failures != s.Failures || errs != s.Errors || skipped != s.Skipped {
			t.Errorf("%s: attributes say %d/%d/%d/%d, elements %d/%d/%d/%d", name, s.Tests, s.Failures, s.Errors, s.Skipped, cases, failures, errs, skipped)
		}
		good := summarize(r).Tone == "good"
		if r.Kind() != KindBigKeys && good != (failures+errs == 0) {
			t.Errorf("%s: verdict is good: %v, but %d failures and %d errors", name, good, failures, errs)
		}
	}
}

func TestWriteAndLoad(t *testing.T) {
	for name, r := range samples(t) {
		dir := filepath.Join(t.TempDir(), "new", "out")
		paths, err := Write(dir, r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := 4
		if r.Kind() == KindBigKeys {
			want = 5 // CSV
		}
		if len(paths) != want || filepath.Base(paths[0]) != r.Kind()+".json" {
			t.Errorf("%s: wrote %v", name, paths)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != want {
			t.Errorf("%s: %d files left, want %d", name, len(entries), want)
		}
		back, err := Load(paths[0])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		first, _ := os.ReadFile(paths[0])
		again, err := encode(back)
		if err != nil || !bytes.Equal(first, again) {
			t.Errorf("%s: changed by writing and loading: %v", name, err)
		}
		if bytes.Contains(first, []byte("null")) && r.Kind() != KindVerify && r.Kind() != KindCompat {
			t.Errorf("%s: JSON holds null", name)
		}
	}
}

func TestWriteReplacesNothingOnError(t *testing.T) {
	dir := t.TempDir()
	if _, err := Write(dir, sampleMigrate()); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(filepath.Join(dir, "migrate.json"))
	if err := os.Remove(filepath.Join(dir, "migrate.xml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "migrate.xml"), 0o755); err != nil {
		t.Fatal(err)
	}
	changed := sampleMigrate()
	changed.State = "done"
	_, err := Write(dir, changed)
	if err == nil || !strings.Contains(err.Error(), "migrate.xml is not a regular file") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want one line that names what is not a regular file", err)
	}
	after, _ := os.ReadFile(filepath.Join(dir, "migrate.json"))
	if !bytes.Equal(before, after) {
		t.Error("migrate.json was replaced although migrate.xml could not be")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 4 {
		t.Errorf("temporary files are left: %v", entries)
	}

	file := filepath.Join(dir, "migrate.json")
	_, err = Write(file, changed)
	if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "--out") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want one line that names %s and what to do", err, file)
	}
}

func TestLoadRefuses(t *testing.T) {
	whole, err := encode(sampleMigrate())
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) string {
		t.Helper()
		if !strings.Contains(string(whole), old) {
			t.Fatalf("the sample has no %q", old)
		}
		return strings.Replace(string(whole), old, new, 1)
	}
	tests := []struct{ name, why, data, want string }{
		{name: "empty", why: "a full disk leaves such files", data: "", want: "not a complete JSON document"},
		{name: "null", why: "valid JSON, no report", data: "null\n", want: "no \"schema\""},
		{name: "list", why: "valid JSON, no report", data: "[]", want: "no \"schema\""},
		{name: "trailing garbage", why: "two writers, or an append", data: string(whole) + "{}", want: "has more data after its end"},
		{name: "trailing letters", why: "not even JSON", data: string(whole) + "x", want: "has more data after its end"},
		{name: "unknown kind", why: "from a later surecut", data: edit("surecut.migrate/1", "surecut.teleport/1"), want: "unknown schema"},
		{name: "foreign", why: "not ours", data: edit("surecut.migrate/1", "migrate/1"), want: "unknown schema"},
		{name: "later version", why: "its fields may mean something else", data: edit("surecut.migrate/1", "surecut.migrate/2"), want: "of another version"},
		{name: "missing field", why: "would be read as zero problems", data: edit(`"snapshot_reported": 2,`, ""), want: `counters lacks "snapshot_reported"`},
		{name: "missing in a list", why: "would be read as no lag", data: edit(`"lag_bytes": 218,`, ""), want: `links[0] lacks "lag_bytes"`},
		{name: "unknown field", why: "a slip of the pen must not pass", data: edit(`"state"`, `"stat": 1, "state"`), want: `unknown field "stat"`},
		{name: "other case", why: "encoding/json would take it", data: edit(`"state"`, `"State"`), want: `lacks "state"`},
		{name: "a key twice", why: "the last one would win", data: edit(`"state": "caught_up"`, `"state": "failed", "state": "caught_up"`), want: `the report contains "state" twice`},
		{name: "a key twice, deep", why: "the last one would win", data: edit(`"lag_bytes": 218`, `"lag_bytes": 218, "lag_bytes": 0`), want: `links[0] contains "lag_bytes" twice`},
		{name: "a key twice in two spellings", why: "encoding/json takes both for one field", data: edit(`"state": "caught_up"`, `"state": "caught_up", "STATE": "failed"`), want: `unknown field "STATE"`},
		{name: "a key twice, escaped", why: "an escape is the same letter", data: edit(`"state": "caught_up"`, `"state": "failed", "st\u0061te": "caught_up"`), want: `contains "state" twice`},
		{name: "a letter that folds to another", why: "encoding/json folds the long s", data: edit(`"state": "caught_up"`, `"state": "caught_up", "\u017ftate": "failed"`), want: "unknown field"},
		{name: "a number out of range", why: "would wrap or be cut", data: edit(`"lag_bytes": 218`, `"lag_bytes": 1e30`), want: "lag_bytes"},
		{name: "a number that is none", why: "compares with nothing", data: edit(`"lag_seconds": 0.02`, `"lag_seconds": NaN`), want: "not a complete JSON document"},
		{name: "a float out of range", why: "would be infinite", data: edit(`"lag_seconds": 0.02`, `"lag_seconds": 1e400`), want: "lag_seconds"},
		{name: "a fraction of a key", why: "keys are counted whole", data: edit(`"lag_bytes": 218`, `"lag_bytes": 0.5`), want: "lag_bytes"},
		{name: "null list", why: "would be read as no links", data: `{"schema":"surecut.bigkeys/1","tool":"surecut","version":"","generated_at":"2026-03-14T09:26:53Z","source":"","target":"","source_servers":[],"target_servers":[],"ended":"complete","ended_why":"","totals":null}`, want: "totals is not an object"},
		{name: "no end", why: "whether the run came to its end could not be told", data: edit("\n  \"ended\": \"complete\",", ""), want: `lacks "ended"`},
		{name: "another end", why: "would match no rule", data: edit(`"ended": "complete"`, `"ended": "almost"`), want: `ended is "almost"`},
		{name: "complete, and why not", why: "it contradicts itself", data: edit(`"ended_why": ""`, `"ended_why": "killed"`), want: `ended is complete, but ended_why is "killed"`},
		{name: "interrupted without a reason", why: "somebody has edited it", data: edit(`"ended": "complete"`, `"ended": "interrupted"`), want: "does not say why"},
		{name: "wrong type", why: "a string is no count", data: edit(`"lag_bytes": 218`, `"lag_bytes": "none"`), want: "lag_bytes"},
		{name: "unknown state", why: "would match no rule", data: edit(`"state": "caught_up"`, `"state": "fine"`), want: `state is "fine"`},
		{name: "no time", why: "its age could not be told", data: edit("2026-03-14T09:26:53Z", "yesterday"), want: "generated_at"},
		{name: "other tool", why: "not ours", data: edit(`"tool": "surecut"`, `"tool": "other"`), want: `tool is "other"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.json")
			if err := os.WriteFile(path, []byte(tt.data), 0o644); err != nil {
				t.Fatal(err)
			}
			r, err := Load(path)
			if err == nil {
				t.Fatalf("loaded as %T (%s)", r, tt.why)
			}
			if r != nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with the path and %q (%s)", err, tt.want, tt.why)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want not exist", err)
	}
}

func TestLoadRefusesEveryTruncation(t *testing.T) {
	for _, r := range []Report{sampleMigrate(), passedCheck(), sampleGate(passedCheck())} {
		whole, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(whole) - 1 { // without its last newline it is whole
			if _, err := decode(whole[:n]); err == nil {
				t.Fatalf("%s cut to %d of %d bytes was taken", r.Kind(), n, len(whole))
			}
		}
	}
}

func TestLoadAll(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadAll(dir); err == nil || !strings.Contains(err.Error(), "contains no report") {
		t.Errorf("empty directory: error %v", err)
	}
	for _, r := range []Report{passedCheck(), sampleVerify(), sampleGate(passedCheck())} {
		if _, err := Write(dir, r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := LoadAll(dir, filepath.Join(dir, "gate.json"))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, l := range got {
		kinds = append(kinds, l.Report.Kind())
		if len(l.SHA256) != 64 {
			t.Errorf("%s: SHA-256 is %q", l.Path, l.SHA256)
		}
	}
	if s := strings.Join(kinds, " "); s != "check verify gate" {
		t.Errorf("loaded %s; want a directory's reports without its gate, and a gate that is named", s)
	}
	if err := os.WriteFile(filepath.Join(dir, "half.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadAll(dir); err == nil || !strings.Contains(err.Error(), "half.json") {
		t.Errorf("a half written file in the directory was left out: %v", err)
	}
}

// TestDoesNotTouchTheReport: a console renders one report for many readers at once.
func TestDoesNotTouchTheReport(t *testing.T) {
	b := &BigKeys{Header: sampleHeader(KindBigKeys)}
	for _, form := range formats {
		if err := Render(io.Discard, b, form); err != nil {
			t.Fatal(err)
		}
	}
	if b.Top != nil || b.ByType != nil {
		t.Error("rendering filled the caller's nil slices")
	}
}

func TestCSV(t *testing.T) {
	b := sampleBigKeys()
	b.Top[7].Key = "=HYPERLINK(1)"
	var out bytes.Buffer
	if err := Render(&out, b, CSV); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1+len(b.Top) || rows[0][2] != "key" || rows[1][2] != "leaderboard:2026-03" || rows[1][7] != "402118220" {
		t.Errorf("%d rows, the first %q", len(rows), rows[:2])
	}
	if got := rows[8][2]; got != "'=HYPERLINK(1)" {
		t.Errorf("a key that a spreadsheet would run is written as %q", got)
	}
	for _, formula := range []string{"=1+1", "+1", "-1", "@SUM(1)", "＝1+1"} {
		if got := cell(formula); got != "'"+formula {
			t.Errorf("%q is written as %q", formula, got)
		}
	}
	if err := Render(io.Discard, sampleMigrate(), CSV); err == nil || !strings.Contains(err.Error(), "migrate") {
		t.Errorf("CSV of a migration: %v", err)
	}
}

// TestTreemap: no tile leaves the one that it lies in, and areas are shares.
func TestTreemap(t *testing.T) {
	b := sampleBigKeys()
	m := prefixTreemap(b)
	if len(m.Tiles) != len(b.PrefixTree) {
		t.Fatalf("%d tiles of %d prefixes", len(m.Tiles), len(b.PrefixTree))
	}
	within := []tile{{W: m.Width, H: m.Height}}
	for _, x := range m.Tiles {
		within = append(within[:x.Depth+1], x)
		in := within[x.Depth]
		if x.X < in.X-0.01 || x.Y < in.Y-0.01 || x.X+x.W > in.X+in.W+0.01 || x.Y+x.H > in.Y+in.H+0.01 {
			t.Errorf("%q (%+v) leaves %q", x.Prefix, x, in.Prefix)
		}
	}
	share := m.Tiles[0].W * m.Tiles[0].H / (m.Width * m.Height)
	if want := float64(b.PrefixTree[0].Bytes) / float64(b.Totals.Bytes); share < want*0.99 || share > want*1.01 {
		t.Errorf("%q has %.3f of the area, %.3f of the bytes", m.Tiles[0].Prefix, share, want)
	}
	b.PrefixTree = []scanner.PrefixNode{{Name: "a", Parent: 0, Bytes: 5}, {Name: "b", Parent: 7, Bytes: 5}, {Name: "c", Parent: -9, Bytes: -5}}
	prefixTreemap(b) // whatever a file holds
}

func TestVisible(t *testing.T) {
	tests := []struct{ name, in, want, why string }{
		{name: "plain", in: `a\x00"<b>`, want: `a\x00"<b>`, why: "escaping for a form is that form's work"},
		{name: "letters", in: "ключ 键 é", want: "ключ 键 é", why: "people's own letters stay"},
		{name: "control", in: "a\x00\n\x7f", want: `a\x00\x0a\x7f`, why: "terminals obey them"},
		{name: "c1", in: "\u009b31m", want: `\u009b31m`, why: "the one-character form of ESC ["},
		{name: "bidi", in: "\u202etxt\u2066", want: `\u202etxt\u2066`, why: "turns the name around"},
		{name: "invisible", in: "a\u200bb\ufeff\u00a0", want: `a\u200bb\ufeff\u00a0`, why: "two names that look alike"},
		{name: "broken", in: "\xffa\xc3", want: `\xffa\xc3`, why: "no UTF-8"},
		{name: "tag", in: "\U000e0041", want: `\U000e0041`, why: "invisible tag characters"},
		{name: "nonchar", in: "\ufffe", want: `\ufffe`, why: "no XML character"},
	}
	for _, tt := range tests {
		if got := visible(tt.in); got != tt.want {
			t.Errorf("%s: visible(%q) = %s, want %s (%s)", tt.name, tt.in, got, tt.want, tt.why)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range samples(f) {
		data, err := encode(withoutMost(r))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decode(data)
		if err != nil {
			return
		}
		again, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decode(again)
		if err != nil {
			t.Fatalf("what was loaded and written is refused: %v", err)
		}
		third, _ := encode(back)
		if !bytes.Equal(again, third) || !json.Valid(again) {
			t.Fatal("not stable")
		}
		for _, form := range formats {
			if err := Render(io.Discard, r, form); err != nil {
				t.Fatalf("%s: %v", form, err)
			}
		}
	})
}
