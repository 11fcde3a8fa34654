package migrator

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"surecut/migrator/internal/target"
)

// A target that is full and has another maxmemory-policy than noeviction deletes keys and goes on. Witnesses do not show that where it picks
// keys with an expiry, which they have not. So the counter evicted_keys of each node is compared with what it was when the migration first
// saw the node.

// evictions is what the state remembers of the keys that a node of the target has evicted.
type evictions struct {
	Process string `json:"process"` // run_id of the node: another process counts from 0
	Counter int64  `json:"counter"` // evicted_keys when it was last read
	Lost    int64  `json:"lost"`    // keys that were evicted since the migration first saw the node
}

// since returns what is remembered of a node once its counter is read again. A counter that has fallen was reset (CONFIG RESETSTAT).
func (e evictions) since(now target.Evicted) evictions {
	more := now.Keys
	if e.Process == now.Process && e.Counter <= now.Keys {
		more -= e.Counter
	}
	return evictions{now.Process, now.Keys, e.Lost + more}
}

// noteEvictions takes over what the nodes of the target say of the keys that they have evicted. If there are more, it saves that.
func (m *Migration) noteEvictions(found map[string]target.Evicted) error {
	more := false
	m.update(func() {
		if m.state.Evictions == nil {
			m.state.Evictions = map[string]evictions{}
		}
		for addr, now := range found {
			before, known := m.state.Evictions[addr]
			if !known {
				before = evictions{Process: now.Process, Counter: now.Keys}
			}
			after := before.since(now)
			if after.Lost > before.Lost {
				more = true
				m.cfg.Log.Warn("the target evicts keys", "target", addr, "evicted", after.Lost-before.Lost)
			}
			m.state.Evictions[addr] = after
		}
	})
	if !more {
		return nil
	}
	return m.saveState()
}

// awaitEvictions asks the target for the keys that it has evicted, and waits for one that does not answer.
func (m *Migration) awaitEvictions(ctx context.Context) error {
	found, err := m.target.AwaitEvicted(ctx)
	if err != nil {
		return fmt.Errorf("ask how many keys the target has evicted: %w", err)
	}
	return m.noteEvictions(found)
}

// evicted returns a problem for each node of the target that has evicted keys.
func (m *Migration) evicted() (problems []Problem) {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	for _, addr := range slices.Sorted(maps.Keys(m.state.Evictions)) {
		if n := m.state.Evictions[addr].Lost; n > 0 {
			keys := "keys"
			if n == 1 {
				keys = "key"
			}
			problems = append(problems, Problem{Reason: fmt.Sprintf("the target %s has evicted %d %s since the migration began, which may be keys that were copied: set its maxmemory-policy to noeviction, make room, and repair what verify finds missing, or start again with a new Config.StateDir and an empty target", addr, n, keys)})
		}
	}
	return problems
}
