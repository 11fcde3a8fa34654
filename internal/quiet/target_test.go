package quiet

import (
	"strings"
	"testing"
)

func TestChangedTarget(t *testing.T) {
	claims := Own{Keys: map[string]int64{"hmset": 2}}
	expiring := Own{Keys: map[string]int64{"hmset": 2}, Commands: 3}
	for _, tt := range []struct {
		name, why string
		own       Own
		after     func(*Reading)
		says      string // part of the reason; "": the target is as it was
	}{
		{"nothing", "", claims, nil, ""},
		{"claims", "surecut renews its own record", claims, func(r *Reading) { r.Calls["hmset"], r.Changes = 2, 23 }, ""},
		{"one more", "somebody else writes hashes in the same way", claims, func(r *Reading) { r.Calls["hmset"] = 3 }, "calls of HMSET (1)"},
		{"a key is deleted", "", claims, func(r *Reading) { r.Calls["del"], r.Changes = 1, 8 }, "calls of DEL (1)"},
		{"a key is overwritten", "", claims, func(r *Reading) { r.Calls["set"], r.Changes = 11, 8 }, "calls of SET (1)"},
		{"keys of the source expire", "the migration passes their deletions on, with checkpoints", expiring, func(r *Reading) { r.Calls["del"], r.Calls["hset"], r.Changes = 3, 3, 16 }, ""},
		{"one more is deleted", "", expiring, func(r *Reading) { r.Calls["del"], r.Calls["hset"] = 4, 3 }, "calls of DEL (1)"},
		{"a key is overwritten beside", "an expiry does not explain it", expiring, func(r *Reading) { r.Calls["del"], r.Calls["set"] = 3, 11 }, "calls of SET (1)"},
		{"flushed", "", claims, func(r *Reading) { r.Calls["flushall"] = 1 }, "calls of FLUSHALL (1)"},
		{"SORT that reads", "", Own{}, func(r *Reading) { r.Calls["sort"] = 9 }, ""},
		{"a module", "its calls are not counted", claims, func(r *Reading) { r.Changes = 7 + mostFields*2 + 1 }, "33 changes of its data"},
		{"counters were reset, and a save", "", claims, func(r *Reading) { r.Calls, r.Info, r.LastSave = map[string]int64{}, 1, "200" }, "is not known"},
		{"a part", "others may write to the rest", Own{Unknown: true}, func(r *Reading) { r.Calls["set"], r.Changes = 99, 99 }, ""},
		{"restarted", "", Own{Unknown: true}, func(r *Reading) { r.RunID = "other" }, "restarted"},
		{"demoted", "", claims, func(r *Reading) { r.Role = "slave" }, "replica"},
		{"demoted and promoted", "", claims, func(r *Reading) { r.ReplID, r.Earlier = "other", "repl" }, "promoted again"},
		{"the first replica", "", claims, func(r *Reading) { r.ReplID, r.Earlier = "other", "0000" }, ""},
		{"full", "", Own{Unknown: true}, func(r *Reading) { r.Evicted = 4 }, "evicted 4 keys"},
		{"no answer", "", claims, func(r *Reading) { r.Silent = "refused" }, "did not report"},
		{"another server", "", claims, func(r *Reading) { r.Addr = "b:1" }, "no longer a primary"},
	} {
		changed := ChangedTarget([]Reading{reading(nil)}, []Reading{later(tt.after)}, tt.own)
		if len(changed) == 0 != (tt.says == "") || tt.says != "" && !strings.Contains(changed[0].Reason, tt.says) {
			t.Errorf("%s: %+v, want %q (%s)", tt.name, changed, tt.says, tt.why)
		}
	}
}

// TestDeletionsOfSeveralNodes: what the migration has deleted on one node explains nothing on another one.
func TestDeletionsOfSeveralNodes(t *testing.T) {
	before := []Reading{reading(nil), reading(func(r *Reading) { r.Addr = "b:1" })}
	after := []Reading{later(func(r *Reading) { r.Calls["unlink"] = 2 }), later(func(r *Reading) { r.Addr, r.Calls["unlink"] = "b:1", 1 })}
	if changed := ChangedTarget(before, after, Own{Commands: 3}); len(changed) != 0 {
		t.Errorf("three deletions of three commands: %v", changed)
	}
	if changed := ChangedTarget(before, after, Own{Commands: 2}); len(changed) != 1 || changed[0].Addr != "b:1" {
		t.Errorf("three deletions of two commands: %v", changed)
	}
}
