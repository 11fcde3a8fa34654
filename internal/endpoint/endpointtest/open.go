// Package endpointtest opens endpoints for tests of the packages that work on them, and plays servers that answer as a test tells
// them.
package endpointtest

import (
	"testing"

	"surecut/internal/endpoint"
)

// Open opens the endpoint that a URL names, and closes it at the end of the test.
func Open(t testing.TB, url string) *endpoint.Deployment {
	t.Helper()
	spec, err := endpoint.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	d, err := endpoint.Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}
