package target_test

import (
	"testing"

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
