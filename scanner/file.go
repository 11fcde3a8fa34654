package scanner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// ScanRDB reads every key of an RDB file in bounded memory. Sizes are those that MEMORY USAGE would return on the server that wrote
// the file, according to a model of its encodings. Expiries are judged by the time at which the RDB was written, if the file tells
// it (since Redis 3.2). If the file is not an RDB, is cut short or damaged, there is no result, and the error names the file and
// the byte offset.
func ScanRDB(ctx context.Context, path string, o Config) (*BigKeys, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("scan RDB: %w", err)
	}
	defer f.Close() // only read: no error of Close matters
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("scan RDB: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("scan RDB: %s is not a regular file", path)
	}
	s := fileScan{r: rdb.NewReader(f, rdb.Options{ShapesOnly: true, Unsummed: true}), size: info.Size(), snapshot: newSnapshot(path, o)}
	ctx, cancel := context.WithCancel(ctx)
	sum := startChecksum(ctx, f, s.size)
	defer func() {
		cancel()
		<-sum.done
	}()
	if err := s.run(ctx); err != nil {
		return nil, fmt.Errorf("scan %s: %w", path, err)
	}
	if err := sum.verify(ctx, s.r); err != nil {
		return nil, fmt.Errorf("scan %s: %w", path, err)
	}
	out := s.t.result(o)
	if s.written > 0 {
		out.Notes = append(out.Notes, "The RDB was written at "+time.UnixMilli(s.written).UTC().Format(time.RFC3339)+"; times to live are as of then.")
	}
	return out, nil
}

// fileScan parses a file while another goroutine sums up the readings. Batches of readings circulate between the two, so that both
// work concurrently in bounded memory.
type fileScan struct {
	*snapshot
	r    *rdb.Reader
	size int64
}

const (
	batchKeys  = 512
	batchBytes = 64 << 10 // of names
	batchCount = 6
)

// readings is a batch that goes to the tally.
type readings struct {
	list  []reading
	names []byte
	aside []aside
	floor int64 // size below which no largest element mattered when the batch was last summed up
}

func (b *readings) empty() { b.list, b.names, b.aside = b.list[:0], b.names[:0], b.aside[:0] }

// aside is a key that is not counted.
type aside struct {
	db     int
	name   string
	typ    keyspace.Type
	reason string
}

func (s *fileScan) run(ctx context.Context) error {
	full, free := make(chan *readings, batchCount), make(chan *readings, batchCount)
	for range batchCount {
		free <- &readings{list: make([]reading, 0, batchKeys)}
	}
	var g errgroup.Group
	g.Go(func() error {
		for b := range full {
			s.sum(b)
			free <- b
		}
		return nil
	})
	err := s.read(ctx, full, free)
	close(full)
	return errors.Join(err, g.Wait())
}

// read fills batches until the file ends.
func (s *fileScan) read(ctx context.Context, full chan<- *readings, free <-chan *readings) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.progress()
		b := <-free
		b.empty()
		s.r.LargestFrom(b.floor)
		err := s.fill(b)
		full <- b
		if err == io.EOF {
			s.progress()
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *fileScan) fill(b *readings) error {
	for len(b.list) < batchKeys && len(b.names) < batchBytes && len(b.aside) < batchKeys {
		e, err := s.r.Next()
		if err != nil {
			return err
		}
		s.entry(e, b)
	}
	return nil
}

func (s *fileScan) progress() {
	if s.o.Progress != nil {
		s.o.Progress(s.r.Consumed(), s.size)
	}
}

// snapshot processes the entries of one RDB.
type snapshot struct {
	o       Config
	t       *tally
	model   memoryModel
	now     int64 // the time, in Unix ms, by which expiries are judged
	written int64 // when the RDB was written; 0: not known
}

func newSnapshot(node string, o Config) *snapshot {
	s := &snapshot{o: o, t: newTally(o), model: modelOf("redis", ""), now: o.now().UnixMilli()}
	s.t.totals.SizeBy = SizeByModel
	s.t.from(node)
	return s
}

// entry adds an entry of the RDB to a batch.
func (s *snapshot) entry(e *rdb.Entry, b *readings) {
	switch {
	case e.Kind == rdb.KindAux:
		s.aux(string(e.Name), string(e.Value))
	case e.Kind == rdb.KindKey && s.o.wantsDB(e.DB) && !bytes.HasPrefix(e.Key, ownPrefix):
		s.key(e, b)
	}
}

// sum adds a batch to the tally.
func (s *snapshot) sum(b *readings) {
	for i := range b.list {
		s.t.add(&b.list[i])
	}
	for _, k := range b.aside {
		s.t.setAside(k.db, []byte(k.name), k.typ, k.reason)
	}
	b.floor = s.t.largestFloor()
}

var ownPrefix = []byte(keyspace.Prefix)

// aux reads what the server tells about itself.
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

func (s *snapshot) key(e *rdb.Entry, b *readings) {
	typ := rdb.TypeOf(e.Type)
	if e.ExpireAt > 0 && e.ExpireAt <= s.now {
		b.aside = append(b.aside, aside{e.DB, string(e.Key), typ, reasonExpired})
		return
	}
	if len(s.o.Slots) > 0 && !s.o.Slots.Has(slotOf(e.Key)) {
		b.aside = append(b.aside, aside{e.DB, string(e.Key), typ, reasonForeign})
		return
	}
	from := len(b.names)
	b.names = append(b.names, e.Key...)
	k := reading{db: e.DB, name: b.names[from:len(b.names):len(b.names)], typ: typ, encoding: s.model.encoding(e.Shape), ttlMs: -1, idle: e.Idle, freq: e.Freq,
		bytes: s.model.usage(len(e.Key), e.ExpireAt > 0, e.Shape), serialized: e.Shape.Bytes, elements: e.Shape.Elements, largest: e.Shape.Largest}
	if e.ExpireAt > 0 {
		k.ttlMs = e.ExpireAt - s.now
	}
	if typ == keyspace.String {
		k.length = e.Shape.Length
	}
	b.list = append(b.list, k)
}
