package keyspace

import (
	"strings"
	"testing"
	"time"
)

func TestGlob(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
		why           string
	}{
		{"", "", true, "nothing matches nothing"},
		{"", "a", false, "no wildcard"},
		{"*", "", true, "an empty key is legal"},
		{"**", "", true, "stars may match nothing"},
		{"*", "a\x00\xff\n", true, "any bytes"},
		{"a*", "a", true, "a star may match nothing at the end"},
		{"a*c", "abbc", true, "a run"},
		{"a*c", "abbd", false, "the end counts"},
		{"a*", "ba", false, "anchored at the start"},
		{"?", "", false, "exactly one byte"},
		{"h?llo", "h\xffllo", true, "any one byte"},
		{"h?llo", "hällo", false, "bytes, not characters"},
		{"h[ae]llo", "hallo", true, "a set"},
		{"h[ae]llo", "hillo", false, "not in the set"},
		{"h[^e]llo", "hallo", true, "a negated set"},
		{"h[^e]llo", "hello", false, "in the negated set"},
		{"h[!e]llo", "hello", true, "! does not negate; it is a member"},
		{"h[a-c]llo", "hbllo", true, "a range"},
		{"h[c-a]llo", "hbllo", true, "a range may be turned round"},
		{"h[a-c]llo", "hdllo", false, "outside the range"},
		{`a[\]]b`, "a]b", true, "an escaped member"},
		{`a[\-]b`, "a-b", true, "an escaped dash"},
		{`a[\^x]b`, "a^b", true, "an escaped caret"},
		{"a[]b", "ab", false, "an empty set matches nothing"},
		{"a[^]b", "axb", true, "a negated empty set matches any byte"},
		{"a[b", "ab", true, "an unclosed set ends with the pattern"},
		{"a[bc", "ac", true, "the same"},
		{"a[bc", "acx", false, "and then the name must end as well"},
		{`\*`, "*", true, "an escaped star"},
		{`\*`, "a", false, "is a star only"},
		{`a\`, `a\`, true, "a lone trailing backslash is literal"},
		{`\\`, `\`, true, "an escaped backslash"},
		{"a?b*[0-9]", "axb__7", true, "together"},
	}
	for _, tt := range tests {
		if got := Glob(tt.pattern, tt.name); got != tt.want {
			t.Errorf("Glob(%q, %q) = %v, want %v (%s)", tt.pattern, tt.name, got, tt.want, tt.why)
		}
	}
}

func TestGlobIsNotExponential(t *testing.T) {
	start := time.Now()
	if Glob(strings.Repeat("a*", 40)+"b", strings.Repeat("a", 200)) {
		t.Error("matched without the b")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestFilter(t *testing.T) {
	f := Filter{Include: []string{"user:*", "job:?"}, Exclude: []string{"*:tmp"}, DBs: []int{0, 3}, DBMap: map[int]int{3: 1}}
	tests := []struct {
		key  Key
		want bool
		why  string
	}{
		{Key{0, "user:1"}, true, "included"},
		{Key{3, "job:1"}, true, "the second pattern"},
		{Key{0, "job:12"}, false, "no pattern"},
		{Key{0, "user:1:tmp"}, false, "excluded wins"},
		{Key{1, "user:1"}, false, "another database"},
	}
	for _, tt := range tests {
		if got := f.Match(tt.key); got != tt.want {
			t.Errorf("Match(%v) = %v, want %v (%s)", tt.key, got, tt.want, tt.why)
		}
	}
	if f.Map(3) != 1 || f.Map(0) != 0 {
		t.Errorf("Map(3) = %d, Map(0) = %d, want 1 and 0", f.Map(3), f.Map(0))
	}
	if !f.Covers(0) || !f.Covers(1) || f.Covers(3) {
		t.Error("a target with databases 0 and 3 -> 1 is covered in 0 and 1 only")
	}
	var all Filter
	if !all.Match(Key{7, ""}) || all.Match(Key{0, Prefix + ":checkpoint"}) || !all.Covers(9) {
		t.Error("the zero filter selects all but surecut's own keys")
	}
}

func TestFilterPrefix(t *testing.T) {
	f := Filter{DBPrefix: map[int]string{3: "app3:", 4: "app3:x:"}, DBMap: map[int]int{7: 0}, Exclude: []string{"no*"}}
	names := []struct {
		db       int
		name     string
		target   string
		targetDB int
	}{
		{3, "k", "app3:k", 0},
		{4, "k", "app3:x:k", 0},
		{4, "", "app3:x:", 0},
		{0, "k", "k", 0},
		{7, "k", "k", 0},
		{5, "app3:k", "app3:k", 5},
		{3, "app3:app3:k", "app3:app3:app3:k", 0},
	}
	for _, tt := range names {
		got := f.TargetName(tt.db, tt.name)
		if to := f.Map(tt.db); got != tt.target || to != tt.targetDB || f.SourceName(tt.db, got) != tt.name {
			t.Errorf("key %q of %d became %q of %d and back %q, want %q of %d", tt.name, tt.db, got, to, f.SourceName(tt.db, got), tt.target, tt.targetDB)
		}
	}
	rivals := []struct {
		key  Key
		want Key
		ok   bool
		why  string
	}{
		{Key{0, "app3:k"}, Key{3, "k"}, true, "begins with the prefix of another database"},
		{Key{7, "app3:k"}, Key{3, "k"}, true, "mapped to the same database"},
		{Key{0, "app3:x:k"}, Key{3, "x:k"}, true, "with two prefixes; the first database is named"},
		{Key{3, "x:k"}, Key{4, "k"}, true, "its own prefix makes it begin with a longer one"},
		{Key{4, "k"}, Key{}, false, "the longest prefix: the names are its own"},
		{Key{3, "k"}, Key{}, false, "the only prefix that its name begins with is its own"},
		{Key{5, "app3:k"}, Key{}, false, "another database of the target"},
		{Key{0, "app3:no"}, Key{}, false, "the other key is left out"},
		{Key{0, "nope"}, Key{}, false, "left out itself"},
	}
	for _, tt := range rivals {
		if got, ok := f.Rival(tt.key, f.Map); got != tt.want || ok != tt.ok {
			t.Errorf("Rival(%v) = %v, %v, want %v, %v (%s)", tt.key, got, ok, tt.want, tt.ok, tt.why)
		}
	}
	origins := []struct {
		db   int
		name string
		want int
		ok   bool
	}{
		{0, "app3:k", 3, true}, {0, "app3:x:k", 4, true}, {0, "k", 0, true}, {5, "app3:k", 5, true}, {3, "k", -1, false},
	}
	for _, tt := range origins {
		if got, ok := f.Origin(tt.db, tt.name, f.Map); got != tt.want || ok != tt.ok {
			t.Errorf("Origin(%d, %q) = %d, %v, want %d, %v", tt.db, tt.name, got, ok, tt.want, tt.ok)
		}
	}
	only := Filter{DBs: []int{3}, DBPrefix: map[int]string{3: "app3:"}}
	if db, ok := only.Origin(0, "other", only.Map); ok {
		t.Errorf("a name outside of the prefix comes from database %d, though only 3 is selected", db)
	}
	if r, ok := only.Rival(Key{0, "app3:k"}, only.Map); ok {
		t.Errorf("a key of a database that is not selected has rival %v", r)
	}
}

// Where the target has one database for all, keys of its others are nobody's concern.
func TestInto(t *testing.T) {
	five := 5
	f := Filter{Into: &five, DBMap: map[int]int{2: 7}}
	for db, want := range map[int]int{0: 5, 5: 5, 2: 7} {
		if got := f.Map(db); got != want {
			t.Errorf("database %d arrives in %d, want %d", db, got, want)
		}
	}
	for db, want := range map[int]bool{0: false, 5: true, 7: true} {
		if f.Covers(db) != want {
			t.Errorf("covers database %d: %v, want %v", db, !want, want)
		}
	}
}
