package migrator

import (
	"maps"
	"testing"

	"surecut/internal/keyspace"
)

// TestScannedIsCopied: without replication, all keys are scanned, and afterwards those are copied again that somebody found to be outdated.
// A key that the source lacks is deleted only if nobody else can have written it.
func TestScannedIsCopied(t *testing.T) {
	key := func(name string, extra bool) Outdated { return Outdated{Key: keyspace.Key{Name: name}, Extra: extra} }
	for _, tt := range []struct {
		name  string
		holds texts // the target, before
		again []Outdated
		want  texts
		r     Recopied
	}{
		{name: "changed, new and gone", again: []Outdated{key("a", false), key("c", false), key("b", true)}, want: texts{"a": "9", "c": "3"}, r: Recopied{Copied: 2, Deleted: 1}},
		{name: "nothing", want: texts{"a": "1", "b": "2"}},
		{name: "gone, and the target held keys", holds: texts{"mine": "x"}, again: []Outdated{key("mine", true), key("a", false)}, want: texts{"mine": "x", "a": "9", "b": "2"}, r: Recopied{Copied: 1, Left: 1}},
		{name: "deleted since it differed", holds: texts{"mine": "x"}, again: []Outdated{key("b", false)}, want: texts{"mine": "x", "a": "1"}, r: Recopied{Deleted: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := serve(t, texts{"a": "1", "b": "2"}), serve(t, tt.holds)
			cfg := between(t, from.URL(), to.URL())
			cfg.Capture = CaptureScan
			m := mustMigrate(t, cfg)
			if r := m.Report(); r.Level != "repaired" || r.Counters.SnapshotApplied != 2 || len(from.Calls("PSYNC")) > 0 {
				t.Errorf("%s, %+v, %v", r.Level, r.Counters, from.Calls("PSYNC"))
			}
			from.Put("a", text("9"))
			from.Put("b", nil)
			from.Put("c", text("3"))
			r, err := m.CopyAgain(t.Context(), tt.again)
			if err != nil || r != tt.r {
				t.Errorf("%+v, %v; want %+v", r, err, tt.r)
			}
			if got := heldBy(to); !maps.Equal(got, tt.want) {
				t.Errorf("the target holds %v, want %v", got, tt.want)
			}
		})
	}
}
