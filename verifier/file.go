package verifier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/files"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// errModuleInFile is why module values in an RDB file stay unchecked: their encoding there is not that of DUMP.
var errModuleInFile = errors.New("values of modules in a file are not compared")

// mostLocated bounds for how many findings of a file the place is looked for where the values differ: the file is
// read once for all of them.
const mostLocated = 64

// isFile says that the side consists of RDB files: they do not change, have no servers, and are read from their
// beginning.
func (s *side) isFile() bool { return s.dep.Kind() == endpoint.RDB }

// checkFile refuses a source that cannot be compared.
func checkFile(o *Config) error {
	switch kind := o.Source.Kind(); {
	case kind == endpoint.AOF:
		return errors.New("an AOF cannot be compared, because it contains commands and no keys; compare with a server that has loaded it, or with an RDB file")
	case kind == endpoint.RDB && o.Applier != nil:
		return errors.New("Config.Applier: no migration reads from a file at an offset; leave it out")
	}
	return nil
}

// fileKey is one key of an RDB file with the reading of its value.
type fileKey struct {
	name string
	db   int
	*reading
}

// eachKey passes on the keys of a file that match the filter and that a server which loads the file now would hold.
// If wanted is not nil, it says which of them are read. Whole values are collected up to keep bytes.
func (s *side) eachKey(ctx context.Context, path string, keep int64, wanted func(db int, name string) bool, give func(fileKey) error) error {
	hasher := keyspace.NewHasher()
	return s.eachEntry(ctx, path, s.cfg.BigValue, wanted, func(r *rdb.Reader, e *rdb.Entry, now int64) error {
		out := &reading{Type: rdb.TypeOf(e.Type), ExpireAt: e.ExpireAt}
		out.TypeName = out.Type.String()
		if err := s.readEntry(r, e, out, hasher, keep, now); err != nil {
			return fmt.Errorf("%s %s: key %.200q: %w", s.name, path, e.Key, err)
		}
		if !out.present() {
			return nil
		}
		return give(fileKey{string(e.Key), e.DB, out})
	})
}

// eachEntry passes on the entries of the keys as they stand in a file. Values over the limit are not held in memory.
func (s *side) eachEntry(ctx context.Context, path string, limit int64, wanted func(db int, name string) bool, give func(r *rdb.Reader, e *rdb.Entry, now int64) error) error {
	file, err := files.OpenRDB(path)
	if err != nil {
		return err
	}
	source, err := file.RDB()
	if err != nil {
		return err
	}
	defer source.Close() // read only: nothing is lost
	r := rdb.NewReader(source, rdb.Options{MaxValue: int(limit)})
	databases := map[int]bool{}
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", s.name, path, err)
		}
		if e.Kind == rdb.KindKey {
			s.dbs.inFile(e.DB, databases)
		}
		now := time.Now().UnixMilli()
		name := string(e.Key)
		if _, ok := s.compared(e.DB, name); e.Kind != rdb.KindKey || !ok || strings.HasPrefix(name, keyspace.Prefix) ||
			e.ExpireAt > 0 && e.ExpireAt <= now || wanted != nil && !wanted(e.DB, name) {
			continue
		}
		if err := give(r, e, now); err != nil {
			return err
		}
	}
}

// readEntry reads the value of an entry into the reading, as deep as the options ask for.
func (s *side) readEntry(r *rdb.Reader, e *rdb.Entry, out *reading, hasher *keyspace.Hasher, keep, now int64) error {
	if out.Type == keyspace.Module {
		name, err := rdb.ModuleName(e.Raw)
		if err != nil { // the value is too large to be held
			out.Err = fmt.Errorf("%w (%w)", errModuleInFile, err)
			return nil
		}
		out.TypeName = name
	}
	if s.cfg.Depth == DepthKeys {
		return nil
	}
	if vectors := out.TypeName == rdb.VectorSet && s.cfg.Depth == DepthValue; out.Type == keyspace.Module && !vectors {
		return nil // its payload in a file is not that of DUMP
	}
	hasher.Reset()
	to := &sink{Hasher: hasher, room: keep}
	if keep > 0 {
		to.whole = &keyspace.Collector{V: keyspace.Value{Type: out.Type}}
	}
	alive := aliveFields{to, now}
	var err error
	switch {
	case e.Big:
		err = r.Walk(alive)
	case out.Type == keyspace.Module:
		if err := rdb.WalkVectorSet(e.Raw, to); err != nil { // its encoding is not known
			out.TypeName, out.Err = out.Type.String(), fmt.Errorf("%w (%w)", errModuleInFile, err)
			return nil
		}
	default:
		err = rdb.WalkValue(e.Type, e.Raw, alive)
	}
	if err != nil {
		return err
	}
	if to.finish(out); s.cfg.Depth == DepthLength {
		out.FP = keyspace.Fingerprint{Length: out.FP.Length}
	}
	return nil
}

// aliveFields leaves out the fields of a hash that have expired.
type aliveFields struct {
	*sink
	now int64
}

// HashField passes on a field that has not expired.
func (a aliveFields) HashField(name, value []byte, expireAt int64) error {
	if expireAt > 0 && expireAt <= a.now {
		return nil
	}
	return a.sink.HashField(name, value, expireAt)
}

// suspectOfFile returns a suspect that carries what the file says of the key: the file is not read again.
func (e *entry) suspectOfFile(id keyID) *record {
	r := record{keyID: id, flags: e.source.flags&clash | seen}
	if e.hasSource {
		r.holdAs(&e.source)
	}
	return &r
}

// ofFile returns what a server that loads the file now would hold of a suspect.
func (r *record) ofFile(now time.Time) reading {
	switch {
	case r.t == keyspace.None, r.expireAt > 0 && r.expireAt <= now.UnixMilli():
		return reading{}
	case r.module == keyspace.Module.String(): // the value could not be decoded
		return reading{Err: errModuleInFile}
	}
	return r.reading()
}

// outdated says that fields of a hash have expired since the file was read. A server hides them, so the file is read again for it.
func (r *record) outdated(now time.Time) bool {
	return r.fieldsAt > 0 && r.fieldsAt <= now.UnixMilli()
}

// observeFile returns what the file says of suspects at this moment.
func (v *verification) observeFile(ctx context.Context, batch []record) ([]reading, error) {
	now := v.clock.now()
	var keys []keyID
	var of []int
	for i := range batch {
		if batch[i].outdated(now) {
			keys, of = append(keys, batch[i].keyID), append(of, i)
		}
	}
	if len(keys) > 0 {
		again, err := v.probers.Source.probe(ctx, keys, 0)
		if err != nil {
			return nil, err
		}
		for j, i := range of {
			batch[i].hold(&again[j])
		}
	}
	out := make([]reading, len(batch))
	for i := range batch {
		out[i] = batch[i].ofFile(now)
	}
	return out, nil
}

// fileProber finds keys in files, with their values.
type fileProber struct{ *side }

func (p fileProber) probe(ctx context.Context, keys []keyID, keep int64) ([]reading, error) {
	out := make([]reading, len(keys))
	at := map[pairKey]int{}
	for i, k := range keys {
		at[pairKey{k.db, p.named(k)}] = i
	}
	wanted := func(db int, name string) bool {
		_, ok := at[pairKey{db, name}]
		return ok
	}
	for _, shard := range p.dep.Shards() {
		err := p.eachKey(ctx, shard.Primary.Addr, keep, wanted, func(k fileKey) error {
			out[at[pairKey{k.db, k.name}]] = *k.reading
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
