package verifier

import (
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
)

// TestSilenceIsUnchecked: whatever a node leaves unanswered for too long, in whatever part of a run, its keys end unchecked. Nothing is
// taken for missing because the node that holds it kept silent, and nothing for the same.
func TestSilenceIsUnchecked(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		silent    func(p *toldPair) (*endpointtest.Server, string) // at which commands of which side
		begun     int                                              // how many of these commands are answered before
		same      int64                                            // keys that may be the same all the same
		says      string
	}{
		{"the source, at types", "nothing of it was ever read", func(p *toldPair) (*endpointtest.Server, string) { return p.source, "TYPE" }, 0, 0, "keys could not be compared"},
		{"the target, at types", "the source's keys are not missing", func(p *toldPair) (*endpointtest.Server, string) { return p.target, "TYPE" }, 0, 0, "keys could not be compared"},
		{"the target, at one string", "the keys that wait with it share the connection", func(p *toldPair) (*endpointtest.Server, string) { return p.target, "GETRANGE string" }, 0, 0, "keys could not be compared"},
		{"the source, at one list", "", func(p *toldPair) (*endpointtest.Server, string) { return p.source, "LRANGE list" }, 0, 0, "keys could not be compared"},
		{"the source, once suspects are read", "what was read and agreed before stays the same", func(p *toldPair) (*endpointtest.Server, string) { return p.source, "TYPE odd" }, 1, 6, "keys could not be compared"},
		{"the target, once suspects are read", "", func(p *toldPair) (*endpointtest.Server, string) { return p.target, "TYPE odd" }, 1, 6, "keys could not be compared"},
		{"the source, while names are listed", "nobody knows what it holds", func(p *toldPair) (*endpointtest.Server, string) { return p.source, "SCAN" }, 0, 0, "could be listed"},
		{"the target, while names are listed", "", func(p *toldPair) (*endpointtest.Server, string) { return p.target, "SCAN" }, 0, 0, "could be listed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newToldPair(t, "7.0.15")
			source, target := endpointtest.Open(t, p.source.URL()), endpointtest.Open(t, p.target.URL())
			s, words := tt.silent(p)
			asked := 0
			s.On(words, func([]string) string {
				if asked++; asked <= tt.begun {
					return endpointtest.Usual
				}
				return endpointtest.Silence
			})
			r, err := verifyDeployments(t, source, target, func(c *Config) { c.Silence, c.Patience = time.Second, 0 })
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Join(r.Reasons, " ")
			// On a slow machine, more may stay unanswered for too long.
			if r.Verdict != Unchecked || r.Totals.Same > tt.same || r.Totals.Missing+r.Totals.Extra+r.Totals.Different > 0 || !strings.Contains(text, tt.says) {
				t.Errorf("%s, %+v: %s\nwant at most %d the same and %q (%s)", r.Verdict, r.Totals, text, tt.same, tt.says, tt.why)
			}
			for _, f := range r.Findings {
				if !strings.Contains(f.Reason, "has not answered for 1s") {
					t.Errorf("%s is %s: %s", f.Key, f.Verdict, f.Reason)
				}
			}
		})
	}
}
