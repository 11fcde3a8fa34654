package migrator

import (
	"testing"

	"surecut/internal/keyspace"
)

// TestMemoryWriter: the target in memory, with which other tests work, keeps the contract as well.
func TestMemoryWriter(t *testing.T) {
	m := inMemory()
	contract(t, subject{
		Target: m.Target,
		Get: func(k keyspace.Key) (string, int64, bool) {
			v, ok := m.get(k)
			return v.Text, v.ExpireAt, ok
		},
		End: func(u unit) int64 { return m.Ends[u] },
	})
}
