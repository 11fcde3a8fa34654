package target

import (
	"math"
	"testing"
)

// TestPostponed: every expiry comes back as it was, also that of a date which stands for "never".
func TestPostponed(t *testing.T) {
	for _, at := range []int64{1, 1700000000000, postponement - 1, postponement, 253402300799000} {
		if late := Postponed(at); late-postponement != at || late < postponement/2 {
			t.Errorf("%d is postponed to %d", at, late)
		}
	}
	if late := Postponed(math.MaxInt64); late < postponement {
		t.Errorf("the last date is postponed to %d", late)
	}
}
