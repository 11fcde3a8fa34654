// Package surecut opens the servers that the packages beside it work on: migrator copies one deployment into another, verifier compares
// two of them, and reports turns what they found into GO or NO-GO. The command surecut is built of the same packages.
//
// Cutover is where they meet: it compares both sides of a migration that goes on, in rounds where the source was scanned, and says whether
// applications can be moved. examples/library is a program of its own that migrates, verifies and gates.
package surecut

import (
	"context"

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
