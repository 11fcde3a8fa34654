package verifier

import (
	"strings"
	"testing"

	"surecut/internal/quiet"
)

// Keys that expire are nobody's writes; what is not known is never taken for quiet.
func TestClientsBetween(t *testing.T) {
	reading := func(change func(*quiet.Reading)) []quiet.Reading {
		r := quiet.Reading{Addr: "s:1", RunID: "a", Role: "master", ReplID: "b", Offset: 100, Calls: map[string]int64{"set": 5}, Info: 1, Changes: 7, LastSave: "1"}
		change(&r)
		return []quiet.Reading{r}
	}
	before := reading(func(*quiet.Reading) {})
	for _, tt := range []struct {
		name, why string
		before    []quiet.Reading
		after     []quiet.Reading
		want      Clients
		says      string
	}{
		{"at rest", "nothing was called", before, reading(func(r *quiet.Reading) { r.Info = 2 }), ClientsNone, ""},
		{"expiries", "the offset moves with the deletions", before, reading(func(r *quiet.Reading) { r.Info, r.Offset = 2, 900 }), ClientsNone, ""},
		{"a write", "a client is there", before, reading(func(r *quiet.Reading) { r.Info, r.Calls = 2, map[string]int64{"set": 8} }), ClientsSome, "s:1 ran 3 commands that write"},
		{"restarted", "not known whether it was written before", before, reading(func(r *quiet.Reading) { r.Info, r.RunID = 2, "c" }), ClientsUnknown, "restarted"},
		{"nothing read", "silence is not rest", before, nil, ClientsUnknown, "not every primary"},
		{"nothing read before", "silence is not rest", nil, before, ClientsUnknown, "not every primary"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, why := clientsBetween(tt.before, tt.after); got != tt.want || !strings.Contains(why, tt.says) {
				t.Errorf("%s: %s (%s), want %s (%s)", tt.why, got, why, tt.want, tt.says)
			}
		})
	}
}
