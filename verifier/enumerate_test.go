package verifier

import (
	"testing"

	"surecut/internal/endpoint"
)

// TestWeigh: what a scan did not list is explained, or makes the enumeration incomplete.
func TestWeigh(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		side      endpoint.Side
		role      string
		paused    bool
		missing   int64 // keys of 100 that were not listed; 10 of those that were have an expiry, of 15 that the server counts
		allowance int64
		short     bool
	}{
		{"whole", "", endpoint.Source, "master", false, 0, 0, false},
		{"lost", "nothing says where they went", endpoint.Source, "master", false, 5, 0, true},
		{"written meanwhile", "", endpoint.Source, "master", false, 5, 5, false},
		{"replica", "it holds what has expired and does not list it", endpoint.Source, "slave", false, 5, 0, false},
		{"paused", "so does a primary whose writes are paused", endpoint.Source, "master", true, 5, 0, false},
		{"paused, more", "they were not all such keys", endpoint.Source, "master", true, 6, 0, true},
		{"target beside a paused source", "it is not paused", endpoint.Target, "master", true, 5, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &enumeration{side: bareSide(tt.side, &endpoint.Deployment{}, &Config{SourcePaused: tt.paused})}
			n := &node{facts: endpoint.Server{Role: tt.role}}
			tally := &scanTally{}
			tally.scanned.Store(100 - tt.missing)
			tally.expiring.Store(10)
			s.weigh(n, 0, endpoint.Database{Keys: 100, Expires: 15}, endpoint.Database{Keys: 100, Expires: 15}, tally, tt.allowance)
			if short := len(s.short.reasons()) > 0; short != tt.short {
				t.Errorf("incomplete: %v, want %v: %s", short, tt.short, tt.why)
			}
		})
	}
}
