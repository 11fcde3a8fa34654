package target

import (
	"maps"
	"sync"
)

// ownWrites counts the calls that write surecut's own keys beside the data: claims, records, witnesses, and what deletes such keys. So
// whoever compares can tell them from what somebody else writes. Checkpoints go with the data, and are not counted.
type ownWrites struct {
	mu    sync.Mutex
	begun map[string]int64 // calls that were sent, by the name of the command in lower case; guarded by mu
	ended map[string]int64 // those that have been answered, or are known to have failed; guarded by mu
}

// write counts a call that f sends.
func (o *ownWrites) write(name string, n int, f func() error) error {
	o.add(&o.begun, name, n)
	defer o.add(&o.ended, name, n)
	return f()
}

// count counts a call whose end nobody waits for here.
func (o *ownWrites) count(name string, n int) {
	o.add(&o.begun, name, n)
	o.add(&o.ended, name, n)
}

func (o *ownWrites) add(to *map[string]int64, name string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if *to == nil {
		*to = map[string]int64{}
	}
	(*to)[name] += int64(n)
}

// Own counts calls that wrote surecut's own keys, by the name of the command: those that were sent, and those of them that have ended.
type Own struct{ Begun, Ended map[string]int64 }

// OwnWrites returns the calls of this run so far that wrote surecut's own keys beside the data.
func (ns *nodes) OwnWrites() Own {
	ns.calls.mu.Lock()
	defer ns.calls.mu.Unlock()
	return Own{maps.Clone(ns.calls.begun), maps.Clone(ns.calls.ended)}
}
