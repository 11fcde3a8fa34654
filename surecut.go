// Package surecut opens the servers that the packages beside it work on: migrator copies one deployment into another, verifier compares
// two of them, and reports turns what they found into GO or NO-GO. The command surecut is built of the same packages.
//
// Cutover is where they meet: it compares both sides of a migration that goes on, in rounds where the source was scanned, and says whether
// applications can be moved. examples/library is a program of its own that migrates, verifies and gates.
package surecut

import (
	"context"
	"fmt"

	"surecut/internal/endpoint"
)

// Endpoint is an open connection to one deployment: a server, a group under sentinels, a cluster, servers behind a proxy, or a file. It is
// safe for concurrent use. Close it when nothing works on it any more.
type Endpoint = endpoint.Deployment

// Open connects to the deployment that a URL names, in the forms of the command line: redis://host:port, redis+cluster://,
// redis+sentinel://, redis+codis://, redis+twemproxy://, rdb:PATH, aof:PATH. The error says what is wrong with the URL, or which server
// does not answer, and never holds a password.
func Open(ctx context.Context, url string) (*Endpoint, error) {
	spec, err := endpoint.Parse(url)
	if err != nil {
		return nil, err
	}
	return endpoint.Open(ctx, spec)
}

// Sides are the two open deployments of a migration or a comparison: the Sides of a migrator.Config and of a verifier.Config.
type Sides = endpoint.Sides

// URLs name a source and a target.
type URLs = endpoint.URLs

// OpenSides opens a source and a target as Open does. Close the Sides when nothing works on them any more.
func OpenSides(ctx context.Context, urls URLs) (Sides, error) {
	source, err := endpoint.Parse(urls.Source)
	if err != nil {
		return Sides{}, fmt.Errorf("source: %w", err)
	}
	target, err := endpoint.Parse(urls.Target)
	if err != nil {
		return Sides{}, fmt.Errorf("target: %w", err)
	}
	return endpoint.OpenSides(ctx, endpoint.Specs{Source: source, Target: target})
}
