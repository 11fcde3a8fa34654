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

// ScanRDB reads every key of an RDB file in bounded memory. Sizes are what MEMORY USAGE of the server that wrote it would say,
// by a model of its encodings. Expiry is judged by the time at which the RDB was written, where it says so (since Redis
// 3.2). A file that is no RDB, or is cut short or damaged, is an error that names the file and the byte offset, and gives
// no result.
func ScanRDB(ctx context.Context, path string, o Options) (*BigKeys, error) {
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
	s := fileScan{r: rdb.NewReader(f, rdb.Options{ShapesOnly: true}), size: info.Size(), snapshot: newSnapshot(path, o)}
	if err := s.run(ctx); err != nil {
		return nil, fmt.Errorf("scan %s: %w", path, err)
	}
	out := s.t.result(o)
	if s.written > 0 {
		out.Notes = append(out.Notes, "The RDB was written at "+time.UnixMilli(s.written).UTC().Format(time.RFC3339)+"; times to live are as of then.")
	}
	return out, nil
}

type fileScan struct {
	*snapshot
	r    *rdb.Reader
	size int64
}

func (s *fileScan) run(ctx context.Context) error {
	for n := 0; ; n++ {
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			s.progress()
			s.r.LargestFrom(s.t.largestFloor())
		}
		e, err := s.r.Next()
		switch {
		case err == io.EOF:
			s.progress()
			return nil
		case err != nil:
			return err
		}
		s.entry(e)
	}
}

func (s *fileScan) progress() {
	if s.o.Progress != nil {
		s.o.Progress(s.r.Consumed(), s.size)
	}
}

// snapshot takes in the entries of one RDB.
type snapshot struct {
	o       Options
	t       *tally
	model   memoryModel
	now     int64 // Unix ms by which expiry is judged
	written int64 // when the RDB was written; 0: unknown
}

func newSnapshot(node string, o Options) *snapshot {
	s := &snapshot{o: o, t: newTally(o), model: modelOf("redis", ""), now: o.now().UnixMilli()}
	s.t.totals.SizeBy = SizeByModel
	s.t.from(node)
	return s
}

func (s *snapshot) entry(e *rdb.Entry) {
	switch {
	case e.Kind == rdb.KindAux:
		s.aux(string(e.Name), string(e.Value))
	case e.Kind == rdb.KindKey && s.o.wantsDB(e.DB) && !bytes.HasPrefix(e.Key, ownPrefix):
		s.key(e)
	}
}

var ownPrefix = []byte(keyspace.Prefix)

// aux takes what the server says of itself.
func (s *snapshot) aux(name, value string) {
	switch name {
	case "redis-ver":
		s.model = modelOf("redis", value)
	case "valkey-ver":
		s.model = modelOf("valkey", value)
	case "ctime":
		if sec, err := strconv.ParseInt(value, 10, 64); err == nil && sec > 0 && sec < 1<<40 {
			s.written = sec * 1000
			s.now = s.written
		}
	}
}

func (s *snapshot) key(e *rdb.Entry) {
	typ := rdb.TypeOf(e.Type)
	if e.ExpireAt > 0 && e.ExpireAt <= s.now {
		s.t.setAside(e.DB, e.Key, typ, reasonExpired)
		return
	}
	if len(s.o.Slots) > 0 && !owns(s.o.Slots, slotOf(e.Key)) {
		s.t.setAside(e.DB, e.Key, typ, reasonForeign)
		return
	}
	k := reading{db: e.DB, name: e.Key, typ: typ, encoding: s.model.encoding(e.Shape), ttlMs: -1, idle: e.Idle, freq: e.Freq,
		bytes: s.model.usage(len(e.Key), e.ExpireAt > 0, e.Shape), serialized: e.Shape.Bytes, elements: e.Shape.Elements, largest: e.Shape.Largest}
	if e.ExpireAt > 0 {
		k.ttlMs = e.ExpireAt - s.now
	}
	if typ == keyspace.String {
		k.length = e.Shape.Length
	}
	s.t.add(k)
}
