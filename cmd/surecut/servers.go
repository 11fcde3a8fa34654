package main

import (
	"context"
	"slices"

	"surecut/internal/preflight"
	"surecut/reports"
	"surecut/verifier"
)

// serversOf asks both sides of a check which servers they are. A side that could not be opened has none.
func serversOf(ctx context.Context, source, target preflight.Side) (verifier.Servers, error) {
	return pairOf(ctx, verifier.Sides{Source: source.Deployment, Target: target.Deployment})
}

// withServers adds the servers of both sides to the header of a report.
func withServers(h reports.Header, s verifier.Servers) reports.Header {
	h.SourceServers, h.TargetServers = slices.Clone(s.Source), slices.Clone(s.Target)
	return h
}
