package keylist

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"sync"

	"surecut/internal/keyspace"
)

const (
	header     = "SURKEYS\x01"
	mostName   = 512 << 20 // bytes; no server takes longer names
	bufferSize = 64 << 10
)

// ErrDamaged says that a file holds other bytes than were written.
var ErrDamaged = errors.New("the list of keys is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// List is a list of keys in a file. It is safe for concurrent use.
type List struct {
	path string
	f    *os.File

	mu    sync.Mutex
	w     *bufio.Writer
	end   int64  // length of the file once w is flushed
	buf   []byte // reused
	dirty bool   // something was added since the last Save
}

// Open opens the list at a path, or creates an empty one. It removes a record at the end that a crash has cut off, or returns ErrDamaged
// if the file holds anything else that was not written by a List.
func Open(path string) (*List, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the list of keys: %w", err)
	}
	l := &List{path: path, f: f, w: bufio.NewWriterSize(f, bufferSize)}
	if err := l.recover(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// recover finds the end of the list, and cuts off the part of a record, or the zeros, that a crash has left after it.
func (l *List) recover() error {
	st, err := l.f.Stat()
	if err != nil {
		return fmt.Errorf("open the list of keys: %w", err)
	}
	head := make([]byte, min(st.Size(), int64(len(header))))
	if _, err := l.f.ReadAt(head, 0); err != nil {
		return fmt.Errorf("open the list of keys: %w", err)
	}
	if string(head) != header[:len(head)] {
		return fmt.Errorf("%s begins with %q, not with %q: %w", l.path, head, header, ErrDamaged)
	}
	if len(head) < len(header) {
		return l.Clear()
	}
	l.end = st.Size()
	c := l.Cursor()
	for {
		_, ok, err := c.Next()
		if err != nil && !l.zerosFrom(c.at) {
			return err
		}
		if err != nil || !ok {
			break
		}
	}
	if c.at == l.end {
		return nil
	}
	l.end = c.at
	return l.f.Truncate(c.at)
}

// zerosFrom says whether the file holds nothing but zeros from offset at on.
func (l *List) zerosFrom(at int64) bool {
	r := bufio.NewReaderSize(io.NewSectionReader(l.f, at, l.end-at), bufferSize)
	for {
		b, err := r.ReadByte()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		if b != 0 {
			return false
		}
	}
}

// Add adds a key at the end.
func (l *List) Add(k keyspace.Key) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = appendRecord(l.buf[:0], k)
	if _, err := l.w.Write(l.buf); err != nil {
		return fmt.Errorf("add to the list of keys: %w", err)
	}
	l.end += int64(len(l.buf))
	l.dirty = true
	return nil
}

func appendRecord(buf []byte, k keyspace.Key) []byte {
	from := len(buf)
	buf = binary.AppendUvarint(buf, uint64(k.DB))
	buf = binary.AppendUvarint(buf, uint64(len(k.Name)))
	buf = append(buf, k.Name...)
	return binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf[from:], castagnoli))
}

// Save makes durable what was added. It does nothing if nothing was added since the last Save.
func (l *List) Save() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dirty {
		return nil
	}
	if err := errors.Join(l.w.Flush(), l.f.Sync()); err != nil {
		return fmt.Errorf("save the list of keys: %w", err)
	}
	l.dirty = false
	return nil
}

// Flush hands what was added to the operating system, so that it survives the end of the process, and returns the length of the file.
func (l *List) Flush() (end int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end, l.w.Flush()
}

// Empty says whether the list holds no key.
func (l *List) Empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end == int64(len(header))
}

// Clear removes all keys.
func (l *List) Clear() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.Reset(l.f)
	l.end, l.dirty = int64(len(header)), false
	if err := l.f.Truncate(0); err != nil {
		return fmt.Errorf("clear the list of keys: %w", err)
	}
	_, err := l.f.WriteString(header)
	return err
}

// Close saves the list and closes its file.
func (l *List) Close() error { return errors.Join(l.Save(), l.f.Close()) }

// Swap adds each key of two databases under the number of the other one as well, since SWAPDB has the databases change places. The key also
// stays under its own number, since a crash may come before the target has swapped. No key is added twice, or the list would double with
// each SWAPDB: Swap holds a hash of 8 bytes in memory for each key of the two databases.
func (l *List) Swap(first, second int) error {
	there := map[uint64]bool{}
	err := l.Each(func(k keyspace.Key) error {
		if k.DB == first || k.DB == second {
			there[k.Hash()] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	other := map[int]int{first: second, second: first}
	err = l.Each(func(k keyspace.Key) error {
		to, concerned := other[k.DB]
		if !concerned {
			return nil
		}
		k.DB = to
		if sum := k.Hash(); !there[sum] {
			there[sum] = true
			return l.Add(k)
		}
		return nil
	})
	return errors.Join(err, l.Save())
}

// Each calls f with every key that the list holds now, in its order. f may add keys, with which it is not called.
func (l *List) Each(f func(keyspace.Key) error) error {
	end, err := l.Flush()
	if err != nil {
		return err
	}
	for c := l.Cursor(); c.at < end; {
		k, ok, err := c.Next()
		if err != nil || !ok {
			return err
		}
		if err := f(k); err != nil {
			return err
		}
	}
	return nil
}

// Cursor reads a list from its beginning. It is not safe for concurrent use, but keys may be added to the list meanwhile.
type Cursor struct {
	l   *List
	at  int64 // offset of the next record
	r   *bufio.Reader
	buf []byte // reused
}

// Cursor returns a cursor at the beginning of the list.
func (l *List) Cursor() *Cursor { return &Cursor{l: l, at: int64(len(header))} }

// Next returns the next key. ok is false at the end of the list. Keys that are added afterwards are returned by later calls.
func (c *Cursor) Next() (k keyspace.Key, ok bool, err error) {
	if c.r == nil {
		end, err := c.l.Flush()
		if err != nil {
			return keyspace.Key{}, false, err
		}
		c.r = bufio.NewReaderSize(io.NewSectionReader(c.l.f, c.at, end-c.at), bufferSize)
	}
	k, size, err := c.read()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		c.r = nil
		return keyspace.Key{}, false, nil
	case err != nil:
		return keyspace.Key{}, false, fmt.Errorf("%s, after byte %d: %w", c.l.path, c.at, err)
	}
	c.at += size
	return k, true, nil
}

// read reads one record and returns its size in bytes.
func (c *Cursor) read() (k keyspace.Key, size int64, err error) {
	db, err := binary.ReadUvarint(c.r)
	if err != nil {
		return k, 0, varintError(err)
	}
	n, err := binary.ReadUvarint(c.r)
	if err != nil {
		return k, 0, varintError(err)
	}
	if n > mostName || db > math.MaxInt32 {
		return k, 0, fmt.Errorf("a record claims a name of %d bytes in database %d: %w", n, db, ErrDamaged)
	}
	c.buf = binary.AppendUvarint(binary.AppendUvarint(c.buf[:0], db), n)
	head := len(c.buf)
	if c.buf, err = appendFrom(c.buf, c.r, int(n)+4); err != nil {
		return k, 0, err
	}
	body := c.buf[:len(c.buf)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(c.buf[len(body):]) {
		return k, 0, fmt.Errorf("the checksum of a record does not match: %w", ErrDamaged)
	}
	return keyspace.Key{DB: int(db), Name: string(body[head:])}, int64(len(c.buf)), nil
}

// varintError returns ErrDamaged for a number that overflows, and the end of the file as it is.
func varintError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// appendFrom appends n bytes of a reader. If n is wrong, it takes no more memory than the reader has bytes.
func appendFrom(buf []byte, r io.Reader, n int) ([]byte, error) {
	for n > 0 {
		from, step := len(buf), min(n, bufferSize)
		buf = append(buf, make([]byte, step)...)
		if _, err := io.ReadFull(r, buf[from:]); err != nil {
			return buf, err
		}
		n -= step
	}
	return buf, nil
}
