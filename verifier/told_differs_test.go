package verifier

import (
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// TestWhatDiffers: a finding says where two values differ, in how many places, and what each side holds at the first. Values that are
// too large to be held are compared piece by piece, to the same end.
func TestWhatDiffers(t *testing.T) {
	const few, many = 3, 12 // elements; of many, each is so large that not all are read at once
	hour := time.Now().Add(time.Hour).UnixMilli()
	type change = func(v *keyspace.Value)
	for _, tt := range []struct {
		name           string
		of             keyspace.Type
		source, target change // nil: as it is
		says           string // with N for the number of elements
		pieces         [2]string
	}{
		{"a byte", keyspace.String, nil, func(v *keyspace.Value) { v.Str[1] = '!' }, "byte 2 of ", [2]string{"e00000", "e!0000"}},
		{"two bytes", keyspace.String, nil, func(v *keyspace.Value) { v.Str[1], v.Str[7] = '!', '!' }, "2 bytes differing (the last one 8)", [2]string{"e0", "e!"}},
		{"shorter", keyspace.String, nil, func(v *keyspace.Value) { v.Str = v.Str[:len(v.Str)-3] }, "3 bytes are missing there", [2]string{"", ""}},
		{"longer, and a byte", keyspace.String, func(v *keyspace.Value) { v.Str[0] = '?' }, func(v *keyspace.Value) { v.Str = append(v.Str, "more"...) }, "byte 1 of ", [2]string{"?0", "e0"}},
		{"an element", keyspace.List, nil, func(v *keyspace.Value) { v.List[1] = []byte("other") }, "element 2 of N differs; all others are the same", [2]string{"e00001", "other"}},
		{"one less", keyspace.List, nil, func(v *keyspace.Value) { v.List = slices.Delete(v.List, 1, 2) }, "element 2 of N is missing on the target; all others are the same", [2]string{"e00001", ""}},
		{"two more", keyspace.List, func(v *keyspace.Value) { v.List = slices.Delete(v.List, 0, 2) }, nil, "element 1 of N is on the target only, and more up to element 2", [2]string{"", "e00000"}},
		{"two for one", keyspace.List, nil, func(v *keyspace.Value) { v.List = slices.Replace(v.List, 1, 2, []byte("x"), []byte("y")) }, "element 2 of ", [2]string{"e00001", "x"}},
		{"another order", keyspace.List, nil, func(v *keyspace.Value) { slices.Reverse(v.List[:2]) }, "element 1 of N differs, and more up to element 2", [2]string{"e00000", "e00001"}},
		{"a member less", keyspace.Set, nil, func(v *keyspace.Value) { v.Set = v.Set[1:] }, "member e00000", [2]string{"e00000", ""}},
		{"members on either side", keyspace.Set, func(v *keyspace.Value) { v.Set = v.Set[2:] }, func(v *keyspace.Value) { v.Set = v.Set[:len(v.Set)-1] }, "1 member on the source only", [2]string{"e000", ""}},
		{"a score", keyspace.ZSet, nil, func(v *keyspace.Value) { v.ZSet[1].Score = 7 }, "is 0.3333333333333333 on the source and 7 on the target", [2]string{"0.3333333333333333", "7"}},
		{"a member more", keyspace.ZSet, func(v *keyspace.Value) { v.ZSet = v.ZSet[1:] }, nil, "member e00000", [2]string{"", "0"}},
		{"another member", keyspace.ZSet, nil, func(v *keyspace.Value) { v.ZSet[0].Name = []byte("x") }, "1 member on the source only", [2]string{"0", ""}},
		{"a value", keyspace.Hash, nil, func(v *keyspace.Value) { v.Hash[2].Value = []byte("x") }, "field e00002 differs", [2]string{"e00002", "x"}},
		{"fields on either side", keyspace.Hash, nil, func(v *keyspace.Value) { v.Hash[1].Name = []byte("x") }, "field e00001 is missing on the target; in total 1 field on the source only (e00001), 1 field on the target only (x)", [2]string{"e00001", ""}},
		{"the expiry of a field", keyspace.Hash, func(v *keyspace.Value) { v.Hash[0].ExpireAt = hour }, func(v *keyspace.Value) { v.Hash[0].ExpireAt = hour + 60_000 }, "the expiry of field e00000 differs", [2]string{expiryText(hour), expiryText(hour + 60_000)}},
		{"a field that expires on one side only", keyspace.Hash, nil, func(v *keyspace.Value) { v.Hash[0].ExpireAt = hour }, "the expiry of field e00000 differs", [2]string{"never", expiryText(hour)}},
		{"an entry less", keyspace.Stream, nil, func(v *keyspace.Value) { v.Entries = slices.Delete(v.Entries, 1, 2) }, "entry 2-0 is missing on the target", [2]string{"f e00001", ""}},
		{"entries more", keyspace.Stream, func(v *keyspace.Value) { v.Entries = v.Entries[:1] }, nil, "entry 2-0 is on the target only; in total ", [2]string{"", "f e00001"}},
		{"the fields of an entry", keyspace.Stream, nil, func(v *keyspace.Value) { v.Entries[0].Fields[0] = []byte("g") }, "entry 1-0 differs", [2]string{"f e0", "g e0"}},
		{"the last ID", keyspace.Stream, nil, func(v *keyspace.Value) { v.Meta.LastID.Ms = 99 }, "the last ID differs", [2]string{"N-0", "99-0"}},
		{"entries that were added", keyspace.Stream, nil, func(v *keyspace.Value) { v.Meta.EntriesAdded = 99 }, "entries added: N on the source, 99 on the target", [2]string{"", ""}},
		{"the highest deleted ID", keyspace.Stream, nil, func(v *keyspace.Value) { v.Meta.MaxDeletedID.Ms = 1 }, "highest deleted ID: 0-0 on the source, 1-0 on the target", [2]string{"", ""}},
		{"a group less", keyspace.Stream, nil, func(v *keyspace.Value) { v.Groups = nil }, "group g is missing on the target", [2]string{"g", ""}},
		{"a group more", keyspace.Stream, func(v *keyspace.Value) { v.Groups = nil }, nil, "group g is on the target only", [2]string{"", "g"}},
		{"what a group has delivered", keyspace.Stream, nil, func(v *keyspace.Value) { v.Groups[0].LastID.Ms = 1 }, "group g: the last delivered ID differs", [2]string{"N-0", "1-0"}},
		{"a delivery", keyspace.Stream, nil, func(v *keyspace.Value) { v.Groups[0].Pending[0].DeliveryCount = 9 }, "group g: pending entry N-0 differs", [2]string{"consumer c, delivered 2 times", "consumer c, delivered 9 times"}},
		{"an acknowledgement", keyspace.Stream, nil, func(v *keyspace.Value) { v.Groups[0].Pending = nil }, "group g: pending entry N-0 is missing on the target", [2]string{"consumer c, delivered 2 times", ""}},
		{"a consumer", keyspace.Stream, func(v *keyspace.Value) { v.Groups[0].Pending = nil }, nil, "group g: pending entry N-0 is on the target only", [2]string{"", "consumer c, delivered 2 times"}},
	} {
		for _, n := range []int{few, many} {
			bytes := 10
			if n == many {
				bytes = 24_000
			}
			source, target := endpointtest.Serve(t, "7.4.1"), endpointtest.Serve(t, "7.4.1")
			s, d := valueOf(tt.of, n, bytes), valueOf(tt.of, n, bytes)
			if tt.source != nil {
				tt.source(s)
			}
			if tt.target != nil {
				tt.target(d)
			}
			source.Put("k", s)
			target.Put("k", d)
			r, err := verifyTold(t, source, target, nil)
			if err != nil || len(r.Findings) != 1 {
				t.Errorf("%s of %d: %+v, %v", tt.name, n, r, err)
				continue
			}
			f := r.Findings[0]
			count := max(lengthOf(s), lengthOf(d))
			if says := strings.ReplaceAll(tt.says, "N", count); f.Verdict != Different || !strings.Contains(f.Reason, says) {
				t.Errorf("%s of %d: %s, %s: %s\nwant %q", tt.name, n, f.Verdict, f.Code, f.Reason, says)
			}
			for i, got := range []string{f.Source.Detail, f.Target.Detail} {
				if want := strings.ReplaceAll(tt.pieces[i], "N", count); !strings.Contains(got, want) || want == "" && got != "" && tt.of != keyspace.String {
					t.Errorf("%s of %d: the piece is %q, want %q", tt.name, n, got, want)
				}
			}
		}
	}
}

// lengthOf returns the number of elements of a collection as text.
func lengthOf(v *keyspace.Value) string {
	return expiryText(int64(max(len(v.List), len(v.Entries))))
}

// TestLocatingWhatChanges: of values that are written while they are compared nothing is said that is true of neither.
func TestLocatingWhatChanges(t *testing.T) {
	for _, tt := range []struct {
		name string
		of   keyspace.Type
		at   string // command at which the target's value becomes another one
		to   *keyspace.Value
		find func(l *locator) error
	}{
		{"a list that shrinks", keyspace.List, "LLEN k", valueOf(keyspace.List, 2, 8_000), (*locator).lists},
		{"a string that shrinks", keyspace.String, "GETRANGE k", stringOf("e"), (*locator).strings},
		{"a string that becomes a list", keyspace.String, "GETRANGE k", valueOf(keyspace.List, 2, 10), (*locator).strings},
		{"a set that is gone", keyspace.Set, "SISMEMBER k", valueOf(keyspace.String, 1, 10), func(l *locator) error { return l.scanned(keyspace.Set) }},
		{"a stream that is gone", keyspace.Stream, "XINFO GROUPS k", nil, (*locator).streams},
	} {
		source, target := endpointtest.Serve(t, "7.0.15"), endpointtest.Serve(t, "7.0.15")
		source.Put("k", valueOf(tt.of, 12, 8_000))
		target.Put("k", valueOf(tt.of, 12, 8_000))
		target.Before(tt.at, func() { target.Put("k", tt.to) })
		l := &locator{ctx: t.Context(), rules: &rules{}, sourceName: "k", targetName: "k",
			source: toldReader(t, source, toldConfig(t)), target: toldReader(t, target, toldConfig(t))}
		if err := tt.find(l); err == nil {
			t.Errorf("%s: %s", tt.name, l.d.text())
		}
	}
}
