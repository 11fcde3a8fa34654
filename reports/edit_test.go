package reports

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"surecut/verifier"
)

// leaf is one scalar of a JSON document, with what puts another one in its place.
type leaf struct {
	path  string // without the indices of lists
	value any
	set   func(any)
}

// leavesOf lists the scalars of a document, in its order.
func leavesOf(tree any, path string, set func(any), out *[]leaf) {
	switch v := tree.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			leavesOf(v[k], strings.TrimPrefix(path+"."+k, "."), func(x any) { v[k] = x }, out)
		}
	case []any:
		for i := range v {
			leavesOf(v[i], path+"[]", func(x any) { v[i] = x }, out)
		}
	default:
		*out = append(*out, leaf{path, tree, set})
	}
}

// document is a report as a tree of JSON.
func document(t testing.TB, r Report) any {
	t.Helper()
	data, err := encode(r)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := parseStrict(data)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// judged puts an edited document beside the untouched other reports, and says whether the gate says GO. A document that cannot be
// loaded is refused, which is no GO.
func judged(t testing.TB, tree any, beside ...Report) (goes bool, why string) {
	t.Helper()
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	edited, err := decode(data)
	if err != nil {
		return false, err.Error()
	}
	inputs := []Loaded{{Path: "edited.json", Report: edited}}
	for _, r := range beside {
		inputs = append(inputs, Loaded{Path: r.Kind() + ".json", Report: r})
	}
	g := evaluateAt(sampleNow, DefaultPolicy(), inputs)
	return g.Verdict == Go, strings.Join(g.Reasons, "\n")
}

// words are those that some field of a report knows.
var words = []any{"same", "different", "missing", "extra", "unchecked", "pass", "alarm", "done", "stopped", "value", "offset", "rounds", "exactly_once", "", "0000000000000000/0000000000000000"}

// others is what could stand in the place of a scalar.
func (l leaf) others() []any {
	switch v := l.value.(type) {
	case json.Number:
		n, _ := v.Float64()
		return []any{n + 1, n - 1, 0, -1, 1e18, math.MinInt64}
	case string:
		if strings.Contains(l.path, "verdict") || strings.Contains(l.path, "digest") || !strings.Contains(l.path, "[]") {
			return words
		}
		return []any{"", "same"}
	case bool:
		return []any{!v}
	}
	return nil
}

// TestNoEditMakesAGo: whatever single figure, word or switch of a report of differences is edited, the gate does not say GO.
func TestNoEditMakesAGo(t *testing.T) {
	t.Parallel()
	for i, findings := range [][]verifier.Finding{realFindings()[:1], realFindings()[7:8], realFindings()[11:12], realFindings()[4:8]} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			edits := 0
			tree := document(t, verifyIn(6000, findings...))
			var leaves []leaf
			leavesOf(tree, "", nil, &leaves)
			for _, l := range leaves {
				for _, other := range l.others() {
					l.set(other)
					edits++
					if goes, _ := judged(t, tree, passedCheck()); goes {
						t.Errorf("%s edited from %v to %v: GO", l.path, l.value, other)
					}
					l.set(l.value)
				}
			}
			if goes, why := judged(t, tree, passedCheck()); goes || strings.Contains(why, "contradicts itself") {
				t.Errorf("unedited: %v, %s", goes, why)
			}
			t.Logf("%d edits", edits)
		})
	}
}

// harmless are the fields of a good verify report that may be edited without a word of the gate: they do not bear on its verdict.
var harmless = []string{
	"version", "generated_at", "reasons[]", "left_out[]", // generated_at only to another good time, which others() has none of
	"source", "target", // the servers tell the pair
	"source_servers[].addr", "source_servers[].run_id", "source_servers[].node_id", "source_servers[].primary", "source_servers[].replication_ids[]",
	"target_servers[].addr", "target_servers[].run_id", "target_servers[].node_id", "target_servers[].primary", "target_servers[].replication_ids[]",
	"source_servers[].read",                                                   // of a server that was read too
	"source_servers[].role", "target_servers[].role", "target_servers[].link", // of a primary
	"source_servers[].link", // to down is refused, of a primary it says nothing
	"history[].suspects",    // of a later round, within those of the first
	"history[].duration_ms",
	"writes.known_by", "writes.why", "writes.keys", "writes.everything", "writes.written", // the default policy takes a source that is written
	"writes.nodes[].addr", "writes.nodes[].known_by", "writes.nodes[].why", "writes.nodes[].replication_id", "writes.nodes[].from_offset", "writes.nodes[].to_offset",
	"by_type[].type",
	"proof",                                                                                                 // to the weaker one, which the default policy takes
	"ttl_tolerance_ms",                                                                                      // within the policy's bound
	"slots[].slot",                                                                                          // to a number that is not listed
	"strays[].side", "strays[].node", "strays[].db", "strays[].slot", "strays[].key", "strays[].key_base64", // they are no part of what was compared
}

// TestEveryFigureCounts: each figure of a good report is held against others, so that an edit of one alone is noticed.
func TestEveryFigureCounts(t *testing.T) {
	tree := document(t, verifyIn(2000))
	var leaves []leaf
	leavesOf(tree, "", nil, &leaves)
	silent := map[string]bool{}
	edits := 0
	for _, l := range leaves {
		for _, other := range l.others() {
			if fmt.Sprint(other) == fmt.Sprint(l.value) {
				continue
			}
			l.set(other)
			edits++
			if goes, _ := judged(t, tree, passedCheck()); goes && !slices.Contains(harmless, l.path) {
				t.Errorf("%s edited from %v to %v: GO", l.path, l.value, other)
			} else if goes {
				silent[l.path] = true
			}
			l.set(l.value)
		}
	}
	t.Logf("%d edits; without a word: %v", edits, sortedKeysOf(silent))
}

func sortedKeysOf(m map[string]bool) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// FuzzEdit edits one scalar of a report of differences.
func FuzzEdit(f *testing.F) {
	f.Add(uint16(0), int64(0), "same")
	f.Add(uint16(40), int64(-1), "")
	f.Fuzz(func(t *testing.T, at uint16, number int64, word string) {
		tree := document(t, verifyIn(4000, realFindings()...))
		var leaves []leaf
		leavesOf(tree, "", nil, &leaves)
		l := leaves[int(at)%len(leaves)]
		var other any = word
		if _, ok := l.value.(json.Number); ok {
			other = number
		}
		l.set(other)
		if goes, why := judged(t, tree, passedCheck()); goes {
			t.Errorf("%s edited from %v to %v: GO, %s", l.path, l.value, other, why)
		}
	})
}
