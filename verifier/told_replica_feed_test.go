package verifier

import (
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// TestFeedOfAReplica: where a replica is read and the target is fed from its primary, the target may be ahead of what is read. A window
// ends only when the replica has what the primary had; where that is not known, every key may have been written.
func TestFeedOfAReplica(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		tell      func(p, r *endpointtest.Server) // once the window is open
		change    func(c *Config)
		want      writing
	}{
		{name: "it has all", tell: func(*endpointtest.Server, *endpointtest.Server) {}, want: unwritten},
		{name: "it catches up", why: "it is waited for", tell: func(_, r *endpointtest.Server) {
			r.Tell("slave_repl_offset", "900")
			asked := 0
			r.On("INFO replication", func([]string) string {
				if asked++; asked > 2 {
					r.Tell("slave_repl_offset", "1000")
				}
				return endpointtest.Usual
			})
		}, want: unwritten},
		{name: "it has lost its primary", why: "what the primary was sent since is not known", tell: func(_, r *endpointtest.Server) { r.Tell("master_link_status", "down") }, want: written},
		{name: "its primary cannot be asked", tell: func(p, _ *endpointtest.Server) { p.Always("INFO replication", "-NOPERM no\r\n") }, want: written},
		{name: "it follows another stream", tell: func(p, _ *endpointtest.Server) { p.Tell("master_replid", "ffffffffffffffffffffffffffffffffffffffff") }, want: written},
		{name: "its primary became a replica", tell: func(p, _ *endpointtest.Server) { p.Tell("role", "slave") }, want: written},
		{name: "a migration reads it", why: "then the target is fed from the replica, and cannot be ahead of it", tell: func(_, r *endpointtest.Server) { r.Tell("master_link_status", "down") },
			change: func(c *Config) { c.Applier = &toldApplier{} }, want: unwritten},
	} {
		p, r := endpointtest.Serve(t, "7.0.15"), endpointtest.Serve(t, "7.0.15")
		follows(r, p)
		r.Tell("cmdstat_get", "calls=1")
		c := toldConfig(t)
		c.ReadFrom = FromReplica
		source := toldSide(t, endpoint.Source, p.URL(), c)
		if source.known()[0].addr() != r.Addr {
			t.Fatalf("%s: %s is read", tt.name, source.known()[0].addr())
		}
		if tt.change != nil {
			tt.change(source.cfg)
		}
		f := newSourceFeed(source)
		if _, err := f.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		tt.tell(p, r)
		v, err := f.end(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := v.writing("k", keyspace.String); got != tt.want || v.still() != (tt.want == unwritten) {
			t.Errorf("%s: %d, still %v, want %d (%s): %s", tt.name, got, v.still(), tt.want, tt.why, f.set.All())
		}
		f.close()
	}
}
