package surecut

import (
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/quiet"
	"surecut/migrator"
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

// TestUntoldIsNotQuiet: through a proxy nobody knows whether the source is written. Rounds may end all the same, but the source does not
// count as quiet.
func TestUntoldIsNotQuiet(t *testing.T) {
	source := endpointtest.ServeCluster(t, "7.0.15", 1)
	sides := migrator.Sides{Source: endpointtest.Open(t, "redis+cluster://"+source.Servers[0].Addr+"?proxy=tencent"), Target: endpointtest.Open(t, endpointtest.Serve(t, "7.0.15").URL())}
	cfg := migrator.DefaultConfig()
	cfg.Sides, cfg.Capture, cfg.StateDir = sides, migrator.CaptureScan, t.TempDir()
	m, err := migrator.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cutover{Migration: m, MayStayUntold: true}
	before, err := quiet.Read(t.Context(), sides.Source)
	if err != nil {
		t.Fatal(err)
	}
	untold := 0
	settled, err := c.scannedQuiet(t.Context(), &beginning{source: before}, &untold)
	if err != nil || !settled || c.Quiet == nil || c.Quiet.Quiet || len(c.Quiet.Reasons()) != len(before) {
		t.Errorf("settled %v, %v, quiet %+v; want that the round is the last, and that nobody knows whether the source is written", settled, err, c.Quiet)
	}
}

// TestOpenSides: an error says which side is wrong. It holds no password, and no connection stays open.
func TestOpenSides(t *testing.T) {
	for _, tt := range []struct {
		urls URLs
		want string
	}{
		{URLs{Source: "http://a", Target: "redis://b"}, "source: "},
		{URLs{Source: "redis://a", Target: "redis://u:secret@b:port"}, "target: "},
		{URLs{Source: "redis://u:secret@127.0.0.1:1", Target: "redis://127.0.0.1:1"}, "source: "},
	} {
		sides, err := OpenSides(t.Context(), tt.urls)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", tt.urls, err)
		}
		if sides != (endpoint.Sides{}) {
			t.Errorf("%+v: %+v stays open", tt.urls, sides)
		}
	}
}
