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
	var all Filter
	if !all.Match(Key{7, ""}) || all.Match(Key{0, Prefix + ":checkpoint"}) {
		t.Error("the zero filter selects all but surecut's own keys")
	}
}
