package scanner

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestLongNames: what a scan keeps and reports of names does not depend on their length, and keys with long names are still told apart.
func TestLongNames(t *testing.T) {
	const megabyte = 1 << 20
	o := DefaultConfig()
	o.Top = 50
	ta := newTally(o)
	for i := range 60 {
		name := []byte(strings.Repeat("x", megabyte-1) + string(rune('A'+i)))
		ta.add(&reading{name: name, bytes: int64(megabyte + i), elements: 1, largest: 1, ttlMs: -1, idle: -1, freq: -1})
		ta.setAside(0, name, 0, reasonForeign)
	}
	result := ta.result(o)
	text, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 400<<10 {
		t.Errorf("the report has %d bytes", len(text))
	}
	digests := map[string]bool{}
	for _, k := range result.Top {
		digests[k.KeyDigest] = true
		if k.KeyLength != megabyte || k.KeyBase64 != "" || len(k.Key) > 300 || !strings.HasSuffix(k.Key, "…") {
			t.Fatalf("a long name is reported as %.300q, %q, %d bytes", k.Key, k.KeyBase64, k.KeyLength)
		}
	}
	if len(digests) != o.Top {
		t.Errorf("%d of %d keys are told apart", len(digests), o.Top)
	}
	for _, g := range result.ByPrefix {
		if len(g.Name) > 2*exactName {
			t.Errorf("a prefix of %d bytes", len(g.Name))
		}
	}
}
