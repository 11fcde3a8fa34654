package keyspace

import (
	"slices"
	"strconv"
	"testing"
)

func TestPrintable(t *testing.T) {
	tests := []struct{ name, want string }{
		{"plain key", "plain key"},
		{"grün✓", "grün✓"},
		{"a\x00\x1b[31m\n\x7f", `a\x00\x1b[31m\n\x7f`},
		{"\xff\xfe", `\xff\xfe`},
		{`a "quoted" word`, `a \"quoted\" word`},
		{`back\slash`, `back\\slash`},
		{"right\u202eleft", `right\u202eleft`},
	}
	for _, tt := range tests {
		if got := Printable(tt.name); got != tt.want {
			t.Errorf("Printable(%q) = %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestParseSlots(t *testing.T) {
	got, err := ParseSlots("0-5460,10923")
	if err != nil || !slices.Equal(got, SlotRanges{{0, 5460}, {10923, 10923}}) {
		t.Errorf("%v, %v", got, err)
	}
	for slot, want := range map[uint16]bool{0: true, 5460: true, 5461: false, 10923: true, 16383: false} {
		if got.Has(slot) != want {
			t.Errorf("%v has %d: %v", got, slot, !want)
		}
	}
	if (SlotRanges{}).Has(0) || len(slices.Collect(got.All())) != 5462 {
		t.Error("the ranges hold slots that they do not, or lack some")
	}
	for _, bad := range []string{"a", "5-4", "0-16384", "1-2-3", "-1", ",", "1,"} {
		if got, err := ParseSlots(bad); err == nil {
			t.Errorf("%q gave %v", bad, got)
		}
	}
}

func FuzzSlots(f *testing.F) {
	f.Add("0-5460,10923")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseSlots(text)
		if err != nil {
			return
		}
		if again, err := ParseSlots(r.String()); err != nil || !slices.Equal(again, r) {
			t.Errorf("%v became %v, %v", r, again, err)
		}
		for slot := range r.All() {
			if !r.Has(slot) || slot >= Slots {
				t.Fatalf("%v lists %d", r, slot)
			}
		}
	})
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x00\"\\")
	f.Fuzz(func(t *testing.T, name string) {
		p := Printable(name)
		if again, err := strconv.Unquote(`"` + p + `"`); err != nil || again != name {
			t.Errorf("%q became %s, then %q, %v", name, p, again, err)
		}
	})
}
