package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// memFS is a file system in memory that knows what would survive a loss of power, and fails
// on demand. As journals do, it keeps creations and removals in order: after a loss of power
// there is a prefix of them.
type memFS struct {
	mu      sync.Mutex
	files   map[string]*memFile
	history []map[string]*memFile // the directory after each change since it was made durable
	ops     int                   // changing operations so far
	fault   func(op int, what string) error
	torn    *rand.Rand // a failed write leaves a part, of a random size
}

// memFile has its durable content and the content that a process sees. fs.mu guards it.
type memFile struct {
	fs            *memFS
	data, durable []byte
}

func newMemFS() *memFS {
	return &memFS{files: map[string]*memFile{}, history: []map[string]*memFile{{}}}
}

// step counts a changing operation and asks whether it fails. It needs mu.
func (m *memFS) step(what string) error {
	m.ops++
	if m.fault == nil {
		return nil
	}
	return m.fault(m.ops, what)
}

func (m *memFS) changed() { m.history = append(m.history, maps.Clone(m.files)) }

func (m *memFS) List() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.files)), nil
}

func (m *memFS) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("create " + name); err != nil {
		return nil, err
	}
	if m.files[name] != nil {
		return nil, fs.ErrExist
	}
	m.files[name] = &memFile{fs: m}
	m.changed()
	return m.files[name], nil
}

func (m *memFS) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] == nil {
		return nil, fs.ErrNotExist
	}
	return m.files[name], nil
}

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("remove " + name); err != nil {
		return err
	}
	if m.files[name] == nil {
		return fs.ErrNotExist
	}
	delete(m.files, name)
	m.changed()
	return nil
}

func (m *memFS) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("sync directory"); err != nil {
		return err
	}
	m.history = m.history[len(m.history)-1:]
	return nil
}

func (m *memFS) Lock() (io.Closer, error) { return io.NopCloser(nil), nil }

func (f *memFile) ReadAt(p []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return bytes.NewReader(f.data).ReadAt(p, at)
}

func (f *memFile) WriteAt(p []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.fs.step("write")
	if err != nil {
		if f.fs.torn == nil {
			return 0, err
		}
		p = p[:f.fs.torn.IntN(len(p)+1)]
	}
	if need := int(at) + len(p); need > len(f.data) {
		f.data = append(f.data, make([]byte, need-len(f.data))...)
	}
	return copy(f.data[at:], p), err
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.data)), nil
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step("truncate"); err != nil {
		return err
	}
	f.data = bytes.Clone(f.data[:size])
	return nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step("sync"); err != nil {
		return err
	}
	f.durable = bytes.Clone(f.data)
	return nil
}

func (f *memFile) Close() error { return nil }

// killed gives what is left after the process was killed: all of it, though not more durable.
func (m *memFS) killed() *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := &memFS{}
	copies := map[*memFile]*memFile{}
	clone := func(dir map[string]*memFile) map[string]*memFile {
		out := map[string]*memFile{}
		for name, f := range dir {
			if copies[f] == nil {
				copies[f] = &memFile{fs: left, data: bytes.Clone(f.data), durable: bytes.Clone(f.durable)}
			}
			out[name] = copies[f]
		}
		return out
	}
	left.files = clone(m.files)
	for _, dir := range m.history {
		left.history = append(left.history, clone(dir))
	}
	return left
}

// unpowered gives what may be left after a loss of power: some of the changes of the
// directory, and of each file some of the blocks that were not durable.
func (m *memFS) unpowered(rnd *rand.Rand) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := newMemFS()
	for name, f := range m.history[rnd.IntN(len(m.history))] {
		left.files[name] = &memFile{fs: left, data: f.mixed(rnd)}
		left.files[name].durable = bytes.Clone(left.files[name].data)
	}
	left.history = []map[string]*memFile{maps.Clone(left.files)}
	return left
}

const block = 512 // a sector

func (f *memFile) mixed(rnd *rand.Rand) []byte {
	size := len(f.durable)
	if len(f.data) != size && rnd.IntN(4) > 0 {
		size = len(f.data)
	}
	mixed := make([]byte, size)
	keepAll := rnd.IntN(3) == 0
	for at := 0; at < size; at += block {
		end := min(at+block, size)
		src := f.durable
		if keepAll || rnd.IntN(3) > 0 {
			src = f.data
		}
		if at < len(src) {
			copy(mixed[at:end], src[at:min(end, len(src))])
		}
	}
	return mixed
}

var errInjected = errors.New("injected failure")

// failAt fails the operation with this number once.
func failAt(n int) func(int, string) error {
	return func(op int, what string) error {
		if op == n {
			return fmt.Errorf("%w: %s", errInjected, what)
		}
		return nil
	}
}

// deadFrom fails every operation from this number on, as for a process that is dead.
func deadFrom(n int) func(int, string) error {
	return func(op int, what string) error {
		if op >= n {
			return fmt.Errorf("%w: %s", errInjected, what)
		}
		return nil
	}
}
