package reports

import (
	"bytes"
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/verifier"
)

// TestStandsFor: every form says in its first lines what a report stands for, before any table.
func TestStandsFor(t *testing.T) {
	v := verifyIn(500)
	v.Selection = (&keyspace.Filter{Include: []string{"a:*"}, DBMap: map[int]int{3: 0}}).Selection(keyspace.NamedDatabases{Source: 3, Target: -1})
	v.SourceServers[1].Link = endpoint.LinkDown
	v.TTLToleranceMs, v.Proof = 60_000, "rounds"
	v.Incomplete = []string{"10.30.0.22:7000 refused SCAN"}
	v.Writes = &verifier.Writes{KnownBy: "rereading", Written: true, Keys: 12}
	wanted := []string{"complete", "keys of database 3", "a:", "database 3 arrives in database 0", "depth value", "1 min 0 s apart", "10.20.0.12:6379 (replica, connection to its primary down)",
		"node 07c37dfe", "about 12 keys while both sides were listed", "assumes that the target follows fast enough", "refused SCAN", "Function libraries are not compared"}
	for _, form := range []string{"table", "markdown", "junit", "html"} {
		var b bytes.Buffer
		if err := Render(&b, v, form); err != nil {
			t.Fatal(err)
		}
		head := b.String()
		for _, end := range []string{"source keys  target", "| Source keys |", "<testcase", `<dl class="cards"`} {
			head, _, _ = strings.Cut(head, end)
		}
		head = strings.Join(strings.Fields(strings.ReplaceAll(head, `\`, "")), " ")
		for _, w := range wanted {
			if !strings.Contains(head, w) {
				t.Errorf("%s: the first lines do not say %q:\n%s", form, w, head)
			}
		}
	}
}

// TestWrittenInWords: what is not known is said to be so.
func TestWrittenInWords(t *testing.T) {
	for _, tt := range []struct {
		writes *verifier.Writes
		proof  verifier.Proof
		want   string
	}{
		{nil, "offset", "not known"},
		{&verifier.Writes{KnownBy: "rest"}, "offset", "no, known from its counters"},
		{&verifier.Writes{KnownBy: "file"}, "offset", "no, it is a file"},
		{&verifier.Writes{KnownBy: "replication", Written: true, Keys: 1}, "offset", "yes, about 1 key while both sides were listed, known from its replication stream"},
		{&verifier.Writes{KnownBy: "tracking", Written: true, Everything: true, Why: "FLUSHALL was run"}, "offset", "yes, every key may have been changed (FLUSHALL was run), known from CLIENT TRACKING"},
	} {
		v := verifyIn(500)
		v.Writes, v.Proof = tt.writes, tt.proof
		if got := writtenLine(v); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.writes, got, tt.want)
		}
	}
}

// TestCommandCanBePasted: the command that a page shows selects the same keys again, also where a pattern holds a quotation mark.
func TestCommandCanBePasted(t *testing.T) {
	if got, want := selectionFlags(&keyspace.Selection{Exclude: []string{"it's,*"}, DBMap: []string{"3:0"}}), ` --exclude 'it'\''s,*' --db-map '3:0'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
