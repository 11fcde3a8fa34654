package target_test

import (
	"strconv"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// TestMemoryWriter: the target in memory, with which other tests work, keeps the contract as well.
func TestMemoryWriter(t *testing.T) {
	m := targettest.New()
	targettest.Contract(t, targettest.Subject{
		Target: m.Target,
		Get: func(k keyspace.Key) (string, int64, bool) {
			v, ok := m.Get(k)
			return v.Text, v.ExpireAt, ok
		},
		End: func(u target.Unit) int64 { return m.Ends[u] },
	})
}

// TestWritersInMemory: direct and proxied writers keep the contract with servers in memory, which the tests of faults rest on.
func TestWritersInMemory(t *testing.T) {
	one := func(s *endpointtest.Server) func(string) *endpointtest.Server {
		return func(string) *endpointtest.Server { return s }
	}
	for name, serve := range map[string]func() (url string, of func(key string) *endpointtest.Server){
		"server": func() (string, func(string) *endpointtest.Server) {
			s := endpointtest.Serve(t, "8.0.1")
			return s.URL(), one(s)
		},
		"server without RESTORE REPLACE, ABSTTL and HSET of several fields": func() (string, func(string) *endpointtest.Server) {
			s := endpointtest.Serve(t, "2.8.24")
			return s.URL(), one(s)
		},
		"cluster": func() (string, func(string) *endpointtest.Server) {
			c := endpointtest.ServeCluster(t, "7.0.15", 3)
			return c.URL(), c.Of
		},
		"Codis": func() (string, func(string) *endpointtest.Server) {
			s := targettest.ServeCodis(t)
			return "redis+codis://" + s.Addr, one(s)
		},
		"twemproxy": func() (string, func(string) *endpointtest.Server) {
			s, url := targettest.ServeTwemproxy(t, 500)
			return url, one(s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, of := serve()
			to := targettest.Open(t, url)
			s := targettest.Subject{Target: to, Get: func(k keyspace.Key) (string, int64, bool) { return targettest.Held(of(k.Name), k) }}
			if to.Can.Transactions {
				s.End = func(u target.Unit) int64 { return checkpointOf(of, to, u) }
			}
			targettest.Contract(t, s)
		})
	}
}

// checkpointOf returns where the checkpoint of a unit of link 0 stands; 0 where there is none.
func checkpointOf(of func(key string) *endpointtest.Server, to *target.Target, u target.Unit) int64 {
	name := checkpointName(to, u)
	n, _ := strconv.ParseInt(targettest.Field(of(name), 0, name, "o"), 10, 64)
	return n
}

// checkpointName returns the key of the checkpoint of a unit of link 0.
func checkpointName(to *target.Target, u target.Unit) string {
	if to.Cluster {
		return "__surecut:cp:id:0:{" + keyspace.SlotTag(uint16(u)) + "}"
	}
	return "__surecut:cp:id:0:" + strconv.Itoa(int(u))
}
