package rdb_test

import (
	"slices"
	"strings"
	"testing"

	"surecut/internal/rdb"
)

// TestLibraries: a payload is read as a whole, or is an error.
func TestLibraries(t *testing.T) {
	two := "\xf5\x03one\xf5\x03two"
	for _, tt := range []struct {
		name, body string
		want       []string
		says       string
	}{
		{"two", two, []string{"one", "two"}, ""},
		{"none", "", nil, ""},
		{"cut off", two[:len(two)-1], nil, "function libraries"},
		{"a key", two + "\x00\x01k\x01v", nil, "something else"},
		{"a release candidate's", "\xf6\x03one", nil, "release candidate"},
	} {
		codes, err := rdb.Libraries([]byte(tt.body + strings.Repeat("\x00", 10)))
		if !slices.Equal(codes, tt.want) || (err != nil) != (tt.says != "") || err != nil && !(strings.Contains(err.Error(), tt.says) && isFormat(err)) {
			t.Errorf("%s: %q, %v, want %q, %q", tt.name, codes, err, tt.want, tt.says)
		}
	}
	if _, err := rdb.Libraries([]byte("short")); !isFormat(err) {
		t.Errorf("five bytes were taken for a payload: %v", err)
	}
}
