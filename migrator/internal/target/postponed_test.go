package target

import (
	"math"
	"testing"
)

// TestPostponed: every expiry comes back as it was, also that of a date which stands for "never", and none passes meanwhile.
func TestPostponed(t *testing.T) {
	const year3000 = 32503680000000
	for _, at := range []int64{1, 1700000000000, mostPostponed - 1, mostPostponed, 100_000_000_000_000, 253402300799000, postponement - 1,
		postponement + mostPostponed, math.MaxInt64 - 100_000_000_000_000, math.MaxInt64 / 1000 * 1000, math.MaxInt64 - 1, math.MaxInt64} {
		late := Postponed(at)
		back := late
		if isPostponed(late) {
			back -= postponement
		}
		if back != at || late < year3000 {
			t.Errorf("%d is postponed to %d, and comes back as %d", at, late, back)
		}
	}
	for _, passed := range []int64{0, -1, math.MinInt64} {
		if late := Postponed(passed); late-postponement != 1 {
			t.Errorf("%d, which has passed, is postponed to %d", passed, late)
		}
	}
}
