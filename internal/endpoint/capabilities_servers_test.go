//go:build servers

package endpoint

import (
	"context"
	"testing"

	"surecut/e2e/servers"
	"surecut/internal/command"
)

// TestCapabilities: what a server is found to do is what its version has, and asking leaves nothing behind.
func TestCapabilities(t *testing.T) {
	for _, image := range servers.Images() {
		t.Run(image, func(t *testing.T) {
			s := servers.Standalone(t, image)
			s.Must("SET", "there", "before")
			d := open(t, s.URL())
			c, err := d.Capabilities(t.Context(), s.Addr, true)
			if err != nil {
				t.Fatal(err)
			}
			server, err := d.Server(t.Context(), s.Addr)
			if err != nil {
				t.Fatal(err)
			}
			expectOfVersion(t, c, server)
			if !c.Multi || !c.Select || !c.Eval || !c.MultiKey || len(c.Guessed) > 0 {
				t.Errorf("%+v", c)
			}
			source, err := d.Capabilities(t.Context(), s.Addr, false)
			if err != nil {
				t.Fatal(err)
			}
			expectOfVersion(t, source, server)
			if n, err := s.Do("DBSIZE").AsInt64(); err != nil || n != 1 {
				t.Errorf("asking left %d keys, %v", n-1, err)
			}
			// where the list is not given, the commands are tried one by one
			silent := servers.Standalone(t, image, "--rename-command", "COMMAND", "")
			tried, err := open(t, silent.URL()).Capabilities(t.Context(), silent.Addr, true)
			if err != nil {
				t.Fatal(err)
			}
			expectOfVersion(t, tried, server)
			for _, name := range c.Dialect.Names() {
				if spec, ok := command.Lookup([][]byte{[]byte(name)}); ok && spec.Write && !tried.Dialect.Knows(name) {
					t.Errorf("%s was not found by trying", name)
				}
			}
		})
	}
}

func expectOfVersion(t *testing.T, c Capabilities, s Server) {
	t.Helper()
	want := CapabilitiesOf(s).Dialect
	for _, f := range command.Forms() {
		if c.Dialect.Has(f) != want.Has(f) {
			t.Errorf("form %d: found %v, of the version %v", f, c.Dialect.Has(f), want.Has(f))
		}
	}
	for _, name := range []string{"GETEX", "UNLINK", "LMOVE", "XADD", "HPEXPIREAT", "HSETEX", "FUNCTION", "EVAL", "SPUBLISH", "COPY"} {
		if c.Dialect.Knows(name) != want.Knows(name) {
			t.Errorf("%s: found %v, of the version %v", name, c.Dialect.Knows(name), want.Knows(name))
		}
	}
}

func TestCapabilitiesOfACluster(t *testing.T) {
	c := servers.Cluster(t, "redis:7.0", 2, 0)
	d := open(t, "redis+cluster://"+c[0].Addr)
	for _, shard := range d.Shards() {
		caps, err := d.Capabilities(context.Background(), shard.Primary.Addr, true)
		if err != nil {
			t.Fatal(err)
		}
		if caps.MultiKey || !caps.Multi || !caps.Dialect.Has(command.Replace) || len(caps.Guessed) > 0 {
			t.Errorf("%s: %+v", shard.Primary.Addr, caps)
		}
	}
}
