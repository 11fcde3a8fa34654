package verifier

import (
	"encoding/json"
	"strings"
	"testing"
)

// A report holds a long name in part, and says which it is.
func TestLongNames(t *testing.T) {
	for _, tt := range []struct {
		name   string
		length int
		quoted bool // in part
		exact  bool
	}{
		{"short", 5, false, true},
		{"as long as is quoted", quotedName, false, true},
		{"longer than is quoted", quotedName + 1, true, true},
		{"as long as is exact", exactName, true, true},
		{"longer than is exact", exactName + 1, true, false},
		{"a megabyte", 1 << 20, true, false},
	} {
		name := strings.Repeat("\x00", tt.length)
		var f Finding
		f.setNames(name, name)
		if cut := strings.HasSuffix(f.Key, "…"); cut != tt.quoted || len(f.Key) > 4*quotedName+len("…") {
			t.Errorf("%s: %d bytes are quoted", tt.name, len(f.Key))
		}
		if f.Named() != tt.exact || (f.KeyBase64 != "") != tt.exact || (f.KeyLength == int64(tt.length)) == tt.exact || (len(f.KeyDigest) == 16) == tt.exact {
			t.Errorf("%s: %+v", tt.name, f)
		}
		if data, _ := json.Marshal(&f); len(data) > 6<<10 {
			t.Errorf("%s: a finding of %d bytes", tt.name, len(data))
		}
		if tt.exact && keyOf(&f) != name {
			t.Errorf("%s: the name is lost", tt.name)
		}
		f.long = &longNames{name, name}
		if !f.Named() || keyOf(&f) != name || f.targetName() != name {
			t.Errorf("%s: the name that is kept is not taken", tt.name)
		}
	}
}

func TestPrefixOfNames(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, tt := range []struct{ source, target, want string }{
		{"a", "a", ""}, {"a", "app3:a", "app3:"}, {long, long, ""}, {long, "app3:" + long, "app3:"}, {"\x00" + long, "\x01\x00" + long, "\x01"}, {"", "p:", "p:"},
	} {
		var f Finding
		f.setNames(tt.source, tt.target)
		if got := prefixOf(&f); got != tt.want {
			t.Errorf("%.20q on the source, %.20q on the target: prefix %q, want %q", tt.source, tt.target, got, tt.want)
		}
	}
}

// TestFindingsOfLongNames: findings do not hold what a report would not.
func TestFindingsOfLongNames(t *testing.T) {
	tl := newTally(&rules{}, 100)
	_ = tl.batch(func(tl *tally) error {
		for i := range 60 {
			d := decision{Verdict: Missing, Pair: pair{Source: text("v")}}
			tl.settle(keyID{name: strings.Repeat(string(rune('a'+i)), 1<<20)}, &d)
		}
		return nil
	})
	kept := 0
	for i := range tl.findings {
		if f := &tl.findings[i]; f.Named() {
			kept += len(keyOf(f))
		}
	}
	if kept == 0 || kept > keptNames || len(tl.findings) != 60 {
		t.Errorf("%d bytes of names are kept in %d findings", kept, len(tl.findings))
	}
}
