//go:build servers

package migrator

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// TestWriters: direct and proxied writers keep the contract, whatever stands behind them.
func TestWriters(t *testing.T) {
	for name, url := range map[string]func(t *testing.T) string{
		"server":     func(t *testing.T) string { return servers.Standalone(t, "redis:8.0").URL() },
		"old server": func(t *testing.T) string { return servers.Standalone(t, "redis:6.0").URL() },
		"cluster":    func(t *testing.T) string { return "redis+cluster://" + servers.Cluster(t, "redis:7.0", 3, 0)[0].Addr },
		"proxied Codis": func(t *testing.T) string {
			return "redis+codis://" + servers.CodisStandIn(t, servers.Standalone(t, "redis:6.0")).Addr
		},
		"proxied twemproxy": func(t *testing.T) string {
			proxy := servers.Twemproxy(t, nil, servers.Standalone(t, "redis:6.0").Addr+":1 one")
			return "redis+twemproxy://" + proxy.Addr + "?via=proxy&config=" + proxy.Config
		},
	} {
		t.Run(name, func(t *testing.T) { contract(t, openSubject(t, url(t))) })
	}
}

// openSubject opens a target as a migration does.
func openSubject(t *testing.T, url string) subject {
	d := endpointtest.Open(t, url)
	to, err := newTarget(t.Context(), targetConfig{Source: endpointtest.Open(t, servers.Standalone(t, "redis:6.0").URL()), Target: d,
		StateDir: t.TempDir(), ID: "id", Lanes: 3, RetryFor: 20 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := subject{Target: to, Get: func(k keyspace.Key) (string, int64, bool) { return read(t, to, d, k) }}
	if to.can.transactions {
		keys := []recordKey{{name: to.linkKey("0"), main: true}}
		if err := to.saveRecord(t.Context(), keys[0], -1, 0, nil); err != nil {
			t.Fatal(err)
		}
		s.End = func(u unit) int64 {
			cp, err := to.loadCheckpoint(t.Context(), "0", keys, to.units())
			if err != nil {
				t.Fatal(err)
			}
			return cp.units[u]
		}
	}
	return s
}

// read asks a target for a string and its expiry.
func read(t *testing.T, to *target, d *endpoint.Deployment, k keyspace.Key) (value string, expireAt int64, there bool) {
	addr, err := to.addrOf(k.Name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Client(t.Context(), addr, k.DB)
	if err != nil {
		t.Fatal(err)
	}
	value, err = c.Do(t.Context(), endpoint.Arbitrary(c, to.reading("GET", k.Name)...)).ToString()
	if rueidis.IsRedisNil(err) {
		return "", 0, false
	}
	ttl, err2 := c.Do(t.Context(), endpoint.Arbitrary(c, to.reading("PTTL", k.Name)...)).AsInt64()
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if ttl > 0 {
		expireAt = time.Now().UnixMilli() + ttl
	}
	return value, expireAt, true
}
