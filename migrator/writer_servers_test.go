//go:build servers

package migrator

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
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
	to, err := newTarget(t.Context(), targetConfig{Source: endpointtest.Open(t, servers.Standalone(t, "redis:6.0").URL()), Target: endpointtest.Open(t, url),
		StateDir: t.TempDir(), ID: "id", Lanes: 3, RetryFor: 20 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := subject{t: to, get: func(k keyspace.Key) (string, int64, bool) { return read(t, to, k) }}
	if to.can.transactions {
		s.end = func(u unit) int64 {
			addr, err := to.node(to.slotOf(u))
			cp := &checkpoint{units: map[unit]int64{}, witnessed: map[unit]int64{}, fences: map[keyspace.Key]int64{}}
			if err = errors.Join(err, to.loadUnits(t.Context(), addr, "0", []unit{u}, cp)); err != nil {
				t.Fatal(err)
			}
			return cp.units[u]
		}
	}
	return s
}

// read asks a target for a string and its expiry.
func read(t *testing.T, to *target, k keyspace.Key) (value string, expireAt int64, there bool) {
	addr, err := to.addrOf(k.Name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := to.d.Client(t.Context(), addr, k.DB)
	if err != nil {
		t.Fatal(err)
	}
	value, err = c.Do(t.Context(), arbitrary(c, to.reading("GET", k.Name)...)).ToString()
	if rueidis.IsRedisNil(err) {
		return "", 0, false
	}
	ttl, err2 := c.Do(t.Context(), arbitrary(c, to.reading("PTTL", k.Name)...)).AsInt64()
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if ttl > 0 {
		expireAt = time.Now().UnixMilli() + ttl
	}
	return value, expireAt, true
}
