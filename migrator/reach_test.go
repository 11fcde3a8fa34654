package migrator

import (
	"fmt"
	"testing"

	"surecut/internal/keyspace"
)

// TestReachIsAhead: the reach lies ahead of what is dispatched, on disk, and is not written for each command.
func TestReachIsAhead(t *testing.T) {
	l := newTestLink(t)
	l.m.state.dir = t.TempDir()
	l.m.target.can = abilities{}
	for _, tt := range []struct{ offset, want int64 }{{100, 100 + reachStep}, {200, 100 + reachStep}, {100 + reachStep, 100 + reachStep}, {101 + reachStep, 101 + 2*reachStep}} {
		if err := l.reserve(tt.offset); err != nil || l.st.Reach != tt.want {
			t.Errorf("after %d the reach is %d (%v), want %d", tt.offset, l.st.Reach, err, tt.want)
		}
	}
	l.m.target.can.transactions = true
	if err := l.reserve(1 << 40); err != nil || l.st.Reach > 1<<30 {
		t.Errorf("a target with MULTI needs no reach: %d, %v", l.st.Reach, err)
	}
}

// TestPlanDoubtful: what an earlier run may have applied is not sent again; its keys are copied, those once that a copy holds.
func TestPlanDoubtful(t *testing.T) {
	l := newTestLink(t)
	d := newTestDispatcher(l, &checkpoint{offset: 100})
	d.planner.doubtEnd = 200
	d.ahead.fences[keyspace.Key{Name: "copied"}] = 300
	for _, tt := range []struct {
		end        int64
		args       string
		sent, acts bool
		why        string
	}{
		{150, "INCR a", false, true, "it may have been applied"},
		{150, "INCR copied", false, false, "a copy of later holds it"},
		{201, "INCR a", true, false, "it lies beyond what was sent"},
	} {
		var args [][]byte
		var verb, key string
		fmt.Sscan(tt.args, &verb, &key)
		args = append(args, []byte(verb), []byte(key))
		p, err := d.planner.plan(&sourceCommand{end: tt.end, args: args}, 0)
		if err != nil || len(p.pieces) > 0 != tt.sent || p.act != nil != tt.acts {
			t.Errorf("%s at %d: %d pieces, act %v, %v (%s)", tt.args, tt.end, len(p.pieces), p.act != nil, err, tt.why)
		}
	}
}
