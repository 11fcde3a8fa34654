package migrator

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"surecut/internal/keyspace"
)

// held is the list of keys that the target holds without their expiry until the link has caught up: their TTL may
// have been renewed later in the stream, and a primary, unlike a replica, expires by itself. The list is
// a file, so that its length costs no memory; keys may stand in it more than once.
//
// A record is: database (uvarint), length of the name (uvarint), name.
type held struct {
	mu    sync.Mutex
	f     *os.File
	w     *bufio.Writer
	n     int64
	dirty bool // since the last save
	path  string
}

func openHeld(path string) (*held, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the list of held keys: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	h := &held{f: f, w: bufio.NewWriterSize(f, 64<<10), n: st.Size(), path: path}
	if err := h.cutTail(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the list of held keys: %w", err), f.Close())
	}
	return h, nil
}

// cutTail removes a record that a crash cut off: what is added must not be read as its rest.
func (h *held) cutTail() error {
	next := h.reader()
	whole := int64(0)
	for {
		k, ok, err := next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		whole += int64(len(appendHeld(nil, k)))
	}
	if whole == h.n {
		return nil
	}
	h.n = whole
	return h.f.Truncate(whole)
}

func appendHeld(buf []byte, k keyspace.Key) []byte {
	buf = binary.AppendUvarint(buf, uint64(k.DB))
	buf = binary.AppendUvarint(buf, uint64(len(k.Name)))
	return append(buf, k.Name...)
}

func (h *held) add(k keyspace.Key) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	buf := appendHeld(make([]byte, 0, 64+len(k.Name)), k)
	h.n += int64(len(buf))
	h.dirty = true
	_, err := h.w.Write(buf)
	return err
}

// save makes the list durable: before a checkpoint that relies on it.
func (h *held) save() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.dirty {
		return nil
	}
	if err := errors.Join(h.w.Flush(), h.f.Sync()); err != nil {
		return err
	}
	h.dirty = false
	return nil
}

// swap adds the keys of two databases under the other one's number as well, for they change places. Under their own they
// stay: a crash may come before the target has swapped. A key that stands there is not added again, or the list would
// double with each SWAPDB; which do is remembered by 8 bytes each.
func (h *held) swap(first, second int) error {
	h.mu.Lock()
	end := h.n
	h.mu.Unlock()
	there := map[uint64]bool{}
	var buf []byte
	hash := func(k keyspace.Key) uint64 {
		buf = appendHeld(buf[:0], k)
		return xxhash.Sum64(buf)
	}
	err := h.each(end, func(k keyspace.Key) error {
		if k.DB == first || k.DB == second {
			there[hash(k)] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = h.each(end, func(k keyspace.Key) error {
		switch k.DB {
		case first:
			k.DB = second
		case second:
			k.DB = first
		default:
			return nil
		}
		if sum := hash(k); !there[sum] {
			there[sum] = true
			return h.add(k)
		}
		return nil
	})
	return errors.Join(err, h.save())
}

// each hands over the keys within the first bytes of the list.
func (h *held) each(end int64, f func(keyspace.Key) error) error {
	next := h.readerTo(end)
	for {
		k, ok, err := next()
		if err != nil || !ok {
			return err
		}
		if err := f(k); err != nil {
			return err
		}
	}
}

// reader reads the list from its start: ok is false at its present end, behind which it goes on when asked again. A record
// that a crash cut off ends it: the key was not written either.
func (h *held) reader() (next func() (k keyspace.Key, ok bool, err error)) {
	return h.readerTo(math.MaxInt64)
}

// readerTo reads no further than to a number of bytes.
func (h *held) readerTo(most int64) func() (keyspace.Key, bool, error) {
	var pos int64
	var r *bufio.Reader
	return func() (keyspace.Key, bool, error) {
		if r == nil {
			end, err := h.flush()
			if err != nil {
				return keyspace.Key{}, false, err
			}
			r = bufio.NewReaderSize(io.NewSectionReader(h.f, pos, min(end, most)-pos), 64<<10)
		}
		k, err := readHeld(r)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			r = nil
			return keyspace.Key{}, false, nil
		case err != nil:
			return keyspace.Key{}, false, fmt.Errorf("%s is damaged behind byte %d: %w", h.path, pos, err)
		}
		pos += int64(len(appendHeld(nil, k)))
		return k, true, nil
	}
}

func readHeld(r *bufio.Reader) (keyspace.Key, error) {
	db, err := binary.ReadUvarint(r)
	if err != nil {
		return keyspace.Key{}, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return keyspace.Key{}, err
	}
	if n > 512<<20 || db > math.MaxInt32 {
		return keyspace.Key{}, fmt.Errorf("a name of %d bytes in database %d", n, db)
	}
	var name strings.Builder
	_, err = io.CopyN(&name, r, int64(n))
	return keyspace.Key{DB: int(db), Name: name.String()}, err
}

// flush makes readable what was added, and gives the length.
func (h *held) flush() (int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n, h.w.Flush()
}

// copyTo writes the list to another file.
func (h *held) copyTo(w io.Writer) error {
	end, err := h.flush()
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.NewSectionReader(h.f, 0, end))
	return err
}

func (h *held) clear() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.w.Reset(h.f)
	h.n, h.dirty = 0, false
	return h.f.Truncate(0)
}

func (h *held) empty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n == 0
}

func (h *held) close() error { return errors.Join(h.save(), h.f.Close()) }
