package migrator

import (
	"testing"

	"surecut/migrator/internal/target"
)

// TestReachIsAhead: the reach lies ahead of what is dispatched, on disk, and is not written for each command.
func TestReachIsAhead(t *testing.T) {
	l := newTestLink(t)
	l.m.state.dir = t.TempDir()
	l.m.target.Can = target.Abilities{}
	for _, tt := range []struct{ offset, want int64 }{{100, 100 + reachStep}, {200, 100 + reachStep}, {100 + reachStep, 100 + reachStep}, {101 + reachStep, 101 + 2*reachStep}} {
		if err := l.reach.reserve(tt.offset); err != nil || l.st.Reach != tt.want {
			t.Errorf("after %d the reach is %d (%v), want %d", tt.offset, l.st.Reach, err, tt.want)
		}
	}
	l.m.target.Can.Transactions = true
	if err := l.reach.reserve(1 << 40); err != nil || l.st.Reach > 1<<30 {
		t.Errorf("a target with MULTI needs no reach: %d, %v", l.st.Reach, err)
	}
}
