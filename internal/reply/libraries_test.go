package reply

import (
	"maps"
	"testing"
)

// TestLibraries: a library without a name, or a reply of another shape, is an error.
func TestLibraries(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   any
		want map[string]string // nil: an error
	}{
		{"none", list{}, map[string]string{}},
		{"two", list{list{"library_name", "a", "engine", "LUA", "library_code", "x"}, list{"library_name", "b", "library_code", ""}}, map[string]string{"a": "x", "b": ""}},
		{"without code", list{list{"library_name", "a"}}, map[string]string{"a": ""}},
		{"no name", list{list{"engine", "LUA"}}, nil},
		{"code that is no text", list{list{"library_name", "a", "library_code", list{}}}, nil},
		{"no pairs", list{list{"library_name"}}, nil},
		{"no list", "x", nil},
	} {
		got, err := Libraries(message(t, tt.in))
		if (err != nil) != (tt.want == nil) || !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}
