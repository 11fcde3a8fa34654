package scanner

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// ScanRDB reads every key of an RDB file. Bytes are those of the serialized values, as a RESTORE would send them. Expiry is
// judged by the time at which the RDB was written, where it says so (since Redis 3.2). A file that is no RDB, or is
// cut short or damaged, is an error that names the file and the byte offset, and gives no result.
func ScanRDB(ctx context.Context, path string, o Options) (*BigKeys, error) {
	return scanRDB(ctx, path, o, rdb.Options{})
}

func scanRDB(ctx context.Context, path string, o Options, read rdb.Options) (*BigKeys, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("scan RDB: %w", err)
	}
	defer f.Close() // read only: nothing is lost
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("scan RDB: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("scan RDB: %s is no regular file", path)
	}
	s := fileScan{r: rdb.NewReader(f, read), o: o, t: newTally(o), size: info.Size(), now: o.now().UnixMilli()}
	if err := s.run(ctx); err != nil {
		return nil, fmt.Errorf("scan %s: %w", path, err)
	}
	s.t.totals.SizeBy = SizeByRDB
	out := s.t.result(o)
	if s.written > 0 {
		out.Notes = append(out.Notes, "The RDB was written at "+time.UnixMilli(s.written).UTC().Format(time.RFC3339)+"; times to live are as of then.")
	}
	return out, nil
}

type fileScan struct {
	r       *rdb.Reader
	o       Options
	t       *tally
	size    int64
	now     int64 // Unix ms by which expiry is judged
	written int64 // when the RDB was written; 0: unknown
}

func (s *fileScan) run(ctx context.Context) error {
	for n := 0; ; n++ {
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			s.progress()
		}
		e, err := s.r.Next()
		switch {
		case err == io.EOF:
			s.progress()
			return nil
		case err != nil:
			return err
		case e.Kind == rdb.KindAux && string(e.Name) == "ctime":
			if sec, err := strconv.ParseInt(string(e.Value), 10, 64); err == nil && sec > 0 && sec < 1<<40 {
				s.written = sec * 1000
				s.now = s.written
			}
		case e.Kind == rdb.KindKey && s.o.wantsDB(e.DB) && !bytes.HasPrefix(e.Key, []byte(keyspace.Prefix)):
			if err := s.key(e); err != nil {
				return err
			}
		}
	}
}

func (s *fileScan) progress() {
	if s.o.Progress != nil {
		s.o.Progress(s.r.Consumed(), s.size)
	}
}

func (s *fileScan) key(e *rdb.Entry) error {
	if e.ExpireAt > 0 && e.ExpireAt <= s.now {
		s.t.totals.Expired++
		return nil
	}
	k := reading{db: e.DB, name: e.Key, typ: rdb.TypeOf(e.Type), ttlMs: -1}
	if e.ExpireAt > 0 {
		k.ttlMs = e.ExpireAt - s.now
	}
	if e.Big {
		begin, v := s.r.Consumed(), elementCounter{}
		if err := s.r.Walk(&v); err != nil {
			return err
		}
		k.bytes, k.elements, k.length = s.r.Consumed()-begin, v.elements, v.length
	} else {
		n, err := rdb.Elements(e.Type, e.Raw)
		if err != nil {
			return fmt.Errorf("value that ends at byte %d, key %.200q: %w", s.r.Consumed(), e.Key, err)
		}
		k.bytes, k.elements = int64(len(e.Raw)), n
	}
	if k.typ == keyspace.String || k.typ == keyspace.Module {
		k.elements = 1
	}
	s.t.add(k)
	return nil
}

// elementCounter counts what a big value holds, and keeps nothing.
type elementCounter struct {
	elements int64
	length   int64 // of a string
}

var _ keyspace.Visitor = (*elementCounter)(nil)

func (c *elementCounter) one() error {
	c.elements++
	return nil
}

// StringChunk adds to the length.
func (c *elementCounter) StringChunk(p []byte) error {
	c.length += int64(len(p))
	return nil
}

// ListElement counts.
func (c *elementCounter) ListElement([]byte) error { return c.one() }

// SetMember counts.
func (c *elementCounter) SetMember([]byte) error { return c.one() }

// ZSetMember counts.
func (c *elementCounter) ZSetMember([]byte, float64) error { return c.one() }

// HashField counts.
func (c *elementCounter) HashField(_, _ []byte, _ int64) error { return c.one() }

// StreamEntry counts.
func (c *elementCounter) StreamEntry(keyspace.StreamID, [][]byte) error { return c.one() }

// StreamMeta is no element.
func (c *elementCounter) StreamMeta(keyspace.StreamMeta) error { return nil }

// StreamGroup is no element.
func (c *elementCounter) StreamGroup(keyspace.Group) error { return nil }

// ModulePayload is opaque.
func (c *elementCounter) ModulePayload([]byte) error { return nil }
