package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/keylist"
)

// mostProblems bounds the list of problems of a link. The counters stay exact.
const mostProblems = 1000

// Problems is the list of the first problems of a link, from its first run on. Once it is open, each is durable before the next command is
// counted, so that a run which is killed does not take it along. Each is a record of a list of keys (keylist/FORMAT.md), whose name is the
// Problem as JSON. It is safe for concurrent use.
type Problems struct {
	mu      sync.Mutex
	list    []Problem
	earlier map[Problem]bool // those of earlier runs; nil: they were not read yet
	disk    *keylist.List    // nil: not open
	err     error            // of the disk
}

// Open opens the list in a directory. What earlier runs have left there is taken over, unless fresh says that it does not matter any more.
func (p *Problems) Open(dir string, fresh bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	disk, err := keylist.Open(filepath.Join(dir, "problems"))
	if err != nil {
		return fmt.Errorf("the problems of earlier runs: %w", err)
	}
	p.disk = disk
	if p.earlier != nil {
		return nil
	}
	if p.earlier = map[Problem]bool{}; fresh {
		return disk.Clear()
	}
	var list []Problem
	err = disk.Each(func(k keyspace.Key) error {
		var problem Problem
		if err := json.Unmarshal([]byte(k.Name), &problem); err != nil {
			return fmt.Errorf("the problems of earlier runs: %w: %w", keylist.ErrDamaged, err)
		}
		list, p.earlier[problem] = append(list, problem), true
		return nil
	})
	if err != nil {
		p.disk, p.earlier = nil, nil
		return errors.Join(err, disk.Close())
	}
	p.list = append(list, p.list...)
	return nil
}

// add adds a problem to the list, and to the disk if later runs are to know of it. Those of a run that was killed may come again.
func (p *Problems) add(problem Problem, lasting bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.list) >= mostProblems || p.earlier[problem] {
		return
	}
	p.list = append(p.list, problem)
	if p.disk == nil || !lasting {
		return
	}
	text, err := json.Marshal(problem)
	if err == nil {
		err = p.disk.Add(keyspace.Key{DB: max(problem.DB, 0), Name: string(text)})
	}
	p.err = errors.Join(p.err, err, p.disk.Save())
}

// Saved returns an error if a problem could not be made durable.
func (p *Problems) Saved() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return fmt.Errorf("save what did not arrive: %w", p.err)
	}
	return nil
}

// Clear empties the list, since a new snapshot replaces what it was about.
func (p *Problems) Clear() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = nil
	clear(p.earlier)
	if p.disk == nil {
		return nil
	}
	return p.disk.Clear()
}

// Close closes the file of the list. What it holds stays in memory.
func (p *Problems) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.disk == nil {
		return nil
	}
	disk := p.disk
	p.disk = nil
	return disk.Close()
}

// All returns a copy of the list, which is empty rather than nil where there are none.
func (p *Problems) All() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Problem{}, p.list...)
}
