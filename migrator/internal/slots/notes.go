package slots

import (
	"sync"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/keylist"
)

// Notes are the keys of commands that nobody applied, because their slots moved. They are on disk, and shared by all links. A key may occur
// several times.
type Notes struct {
	table *Table
	list  *keylist.List

	mu   sync.Mutex
	seen map[uint64]struct{} // hashes of keys that were added, and that no Cursor has read since
}

// mostSeen bounds the number of hashes in memory, 8 bytes each. Beyond it keys are noted again.
const mostSeen = 1 << 20

// NewNotes returns the notes that belong to a table. They must be opened before they are used.
func NewNotes(table *Table) *Notes { return &Notes{table: table, seen: map[uint64]struct{}{}} }

// Open opens the list at a path.
func (n *Notes) Open(path string) (err error) {
	n.list, err = keylist.Open(path)
	return err
}

// Save makes durable what was noted.
func (n *Notes) Save() error { return n.list.Save() }

// Close saves the list and closes its file, if it was opened.
func (n *Notes) Close() error {
	if n.list == nil {
		return nil
	}
	return n.list.Close()
}

// judge does what Table.Judge does, and notes the key if that is the verdict.
func (n *Notes) judge(link int, k keyspace.Key, s uint16, end int64) (Verdict, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v, err := n.table.Judge(link, s, end)
	if v != Note || err != nil {
		return v, err
	}
	return v, n.add(k)
}

// add notes a key. The caller holds mu.
func (n *Notes) add(k keyspace.Key) error {
	h := k.Hash()
	if _, known := n.seen[h]; known {
		return nil
	}
	if len(n.seen) >= mostSeen {
		clear(n.seen)
	}
	n.seen[h] = struct{}{}
	return n.list.Add(k)
}

// Clear forgets all keys, unless a slot moves.
func (n *Notes) Clear() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.table.Settled() || n.list.Empty() {
		return nil
	}
	clear(n.seen)
	return n.list.Clear()
}

// Cursor reads the notes from their beginning.
type Cursor struct {
	notes *Notes
	list  *keylist.Cursor
}

// Cursor returns a cursor at the beginning of the notes.
func (n *Notes) Cursor() *Cursor { return &Cursor{n, n.list.Cursor()} }

// Next returns up to most keys that wanted says yes to, none of them twice. over says that it came to the end: a later call returns what is
// noted from now on.
func (c *Cursor) Next(most int, wanted func(keyspace.Key) bool) (keys []keyspace.Key, over bool, err error) {
	c.notes.mu.Lock()
	defer c.notes.mu.Unlock()
	found := map[keyspace.Key]bool{}
	for len(keys) < most {
		k, ok, err := c.list.Next()
		if err == nil && !ok { // the end of what was there when the cursor began to read; there may be more
			k, ok, err = c.list.Next()
		}
		if err != nil || !ok {
			return keys, true, err
		}
		delete(c.notes.seen, k.Hash()) // so that a key which is written once more is noted once more
		if !found[k] && wanted(k) {
			found[k] = true
			keys = append(keys, k)
		}
	}
	return keys, false, nil
}
