//go:build servers

package target_test

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
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// TestWriters: direct and proxied writers keep the contract, whatever stands behind them.
func TestWriters(t *testing.T) {
	t.Parallel()
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
		t.Run(name, func(t *testing.T) { targettest.Contract(t, openSubject(t, url(t))) })
	}
}

// openSubject opens a target as a migration does.
func openSubject(t *testing.T, url string) targettest.Subject {
	d := endpointtest.Open(t, url)
	to, err := target.Open(t.Context(), target.Config{Source: endpointtest.Open(t, servers.Standalone(t, "redis:6.0").URL()), Target: d,
		StateDir: t.TempDir(), ID: "id", Lanes: 3, RetryFor: 20 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := targettest.Subject{Target: to, Get: func(k keyspace.Key) (string, int64, bool) { return read(t, to, d, k) }}
	if to.Can.Transactions {
		cps := to.NewCheckpoints("0")
		keys := []target.RecordKey{{Name: cps.RecordName(), Main: true}}
		if err := cps.SaveRecord(t.Context(), keys[0], -1, 0); err != nil {
			t.Fatal(err)
		}
		s.End = func(u target.Unit) int64 {
			cp, err := cps.Load(t.Context(), keys)
			if err != nil {
				t.Fatal(err)
			}
			return cp.Units[u]
		}
	}
	return s
}

// read asks a target for a string and its expiry.
func read(t *testing.T, to *target.Target, d *endpoint.Deployment, k keyspace.Key) (value string, expireAt int64, there bool) {
	addr, err := to.AddrOf(k.Name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Client(t.Context(), addr, k.DB)
	if err != nil {
		t.Fatal(err)
	}
	value, err = c.Do(t.Context(), endpoint.Arbitrary(c, to.Reading("GET", k.Name)...)).ToString()
	if rueidis.IsRedisNil(err) {
		return "", 0, false
	}
	ttl, err2 := c.Do(t.Context(), endpoint.Arbitrary(c, to.Reading("PTTL", k.Name)...)).AsInt64()
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if ttl > 0 {
		expireAt = time.Now().UnixMilli() + ttl
	}
	return value, expireAt, true
}
