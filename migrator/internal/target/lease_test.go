package target

import (
	"testing"
	"time"
)

// TestLease: a run writes on only while its last renewal is recent by both clocks.
func TestLease(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name, why string
		sent      time.Time
		want      bool
	}{
		{"just renewed", "", now, true},
		{"renewed long ago", "another run may have taken over", now.Add(-leaseTrust), false},
		{"the wall clock was set back", "it does not tell any more how long ago that was", now.Round(0).Add(leaseTrust + time.Second), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l lease
			if !l.trusted() || l.begun() {
				t.Error("before a claim is held it forbids nothing")
			}
			l.renew(tt.sent)
			if l.trusted() != tt.want || !l.begun() {
				t.Errorf("trusted: %v, want %v (%s)", !tt.want, tt.want, tt.why)
			}
		})
	}
}
