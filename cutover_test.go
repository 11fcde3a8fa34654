package surecut

import (
	"testing"

	"surecut/internal/quiet"
	"surecut/verifier"
)

// TestReady: applications can be moved only if both sides are the same and nobody writes to the source.
func TestReady(t *testing.T) {
	for _, row := range []struct {
		name    string
		verdict verifier.Verdict
		quiet   *quiet.Report
		want    bool
	}{
		{"same and quiet", verifier.Same, &quiet.Report{Quiet: true}, true},
		{"still written", verifier.Same, &quiet.Report{}, false},
		{"nobody has looked", verifier.Same, nil, false},
		{"different", verifier.Different, &quiet.Report{Quiet: true}, false},
		{"unchecked", verifier.Unchecked, &quiet.Report{Quiet: true}, false},
	} {
		if got := (&Cutover{Quiet: row.quiet}).Ready(&verifier.Report{Verdict: row.verdict}); got != row.want {
			t.Errorf("%s: ready %v", row.name, got)
		}
	}
}
