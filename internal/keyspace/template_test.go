package keyspace

import (
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	for _, tt := range []struct{ name, want, folded string }{
		{"user:17:name", "user:#:name", "17"},
		{"user_17", "user_#", "17"},
		{"a1b22:3", "a#b#:#", "1 22 3"},
		{"{user:42}:cart", "{user:#}:cart", "42"},
		{"session:8f3a2c91d0", "session:*", "8f3a2c91d0"},
		{"o:123e4567-e89b-12d3-a456-426614174000:x", "o:*:x", "123e4567-e89b-12d3-a456-426614174000"},
		{"plain", "plain", ""},
		{"", "", ""},
		{"x:" + strings.Repeat("y", 60), "x:" + strings.Repeat("y", 48) + "*", strings.Repeat("y", 12)},
		{"#:*", "#:*", ""},
	} {
		got, folded := Template(tt.name)
		var parts []string
		for _, f := range folded {
			parts = append(parts, tt.name[f.From:f.To])
		}
		if got != tt.want || strings.Join(parts, " ") != tt.folded {
			t.Errorf("%q = %q with %q, want %q with %q", tt.name, got, parts, tt.want, tt.folded)
		}
	}
}

// FuzzTemplate: what was folded lies within the name, in order, and a template without it is shorter or the same.
func FuzzTemplate(f *testing.F) {
	f.Add("user:17:8f3a2c91d0")
	f.Add("123e4567-e89b-12d3-a456-426614174000")
	f.Fuzz(func(t *testing.T, name string) {
		template, folded := Template(name)
		at := 0
		for _, s := range folded {
			if s.From < at || s.To <= s.From || s.To > len(name) {
				t.Fatalf("%q: %v", name, folded)
			}
			at = s.To
		}
		if len(template) > len(name)+1 {
			t.Fatalf("%q is longer than %q", template, name)
		}
		if whole := string(AppendTemplate(nil, []byte(name), 0)); whole != template {
			t.Fatalf("%q and %q", whole, template)
		}
	})
}
