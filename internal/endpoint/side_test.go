package endpoint

import "testing"

// TestSide: the words are those of reports and flags.
func TestSide(t *testing.T) {
	for side, want := range map[Side]string{Source: "source", Target: "target", 0: "side 0"} {
		if got := side.String(); got != want {
			t.Errorf("%d is %q, want %q", uint8(side), got, want)
		}
	}
}
