package migrator

import (
	"math"
	"strings"
	"testing"
)

// TestPostponed: every expiry comes back as it was, also that of a date which stands for "never".
func TestPostponed(t *testing.T) {
	for _, at := range []int64{1, 1700000000000, postponement - 1, postponement, 253402300799000} {
		if late := postponed(at); late-postponement != at || late < postponement/2 {
			t.Errorf("%d is postponed to %d", at, late)
		}
	}
	if late := postponed(math.MaxInt64); late < postponement {
		t.Errorf("the last date is postponed to %d", late)
	}
}

// TestFlushOfOneFile: of several files nobody knows whose keys the target holds.
func TestFlushOfOneFile(t *testing.T) {
	l := newTestLink(t)
	l.m.links = append(l.m.links, l)
	d := newTestDispatcher(l, nil)
	err := d.planner.do.flush(t.Context(), &sourceCommand{end: 9, args: [][]byte{[]byte("FLUSHALL")}}, true)
	if err == nil || !strings.Contains(err.Error(), "BGREWRITEAOF") || l.ledger.Applied.Load() != 0 {
		t.Errorf("FLUSHALL in one of two files: %v", err)
	}
}
