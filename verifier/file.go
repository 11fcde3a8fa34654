package verifier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint"
	"surecut/internal/files"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// errModuleInFile is why values of modules in an RDB stay unchecked: their encoding there is not the one of DUMP.
var errModuleInFile = errors.New("values of modules in a file are not compared")

// mostLocated bounds how many findings of a file are looked at for the place where the values differ: the file is read once for all.
const mostLocated = 64

// isFile says that the side is RDB files: they do not change, have no servers, and are read from their beginning.
func (s *side) isFile() bool { return s.dep.Kind() == endpoint.RDB }

// checkFile refuses what cannot be compared.
func checkFile(o *Options) error {
	switch kind := o.Source.Kind(); {
	case kind == endpoint.AOF:
		return errors.New("an AOF cannot be compared: it holds commands, not keys. Let a server load it and compare with that, or give the source's RDB")
	case kind == endpoint.RDB && o.Applier != nil:
		return errors.New("a file feeds no migration: leave Options.Applier out")
	}
	return nil
}

// fileKey is one key of an RDB, its value read.
type fileKey struct {
	name string
	db   int
	*reading
}

// eachKey passes on the keys of the side's files that match the filter and that a server which loads them now would hold. wanted, if
// not nil, says which of them are read; keep collects whole values up to so many bytes.
func (s *side) eachKey(ctx context.Context, path string, keep int64, wanted func(db int, name string) bool, give func(fileKey) error) error {
	hasher := keyspace.NewHasher()
	return s.eachEntry(ctx, path, s.opts.BigValue, wanted, func(r *rdb.Reader, e *rdb.Entry, now int64) error {
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

// eachEntry passes on the keys as they stand in a file; values over the limit are not held.
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
			s.inFile(e.DB, databases)
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

// readEntry takes the value of an entry into the reading, as deep as is asked for.
func (s *side) readEntry(r *rdb.Reader, e *rdb.Entry, out *reading, hasher *keyspace.Hasher, keep, now int64) error {
	if out.Type == keyspace.Module {
		name, err := rdb.ModuleName(e.Raw)
		if err != nil { // too large to be held
			out.Err = fmt.Errorf("%w (%w)", errModuleInFile, err)
			return nil
		}
		out.TypeName = name
	}
	if s.opts.Depth == DepthKeys {
		return nil
	}
	if vectors := out.TypeName == rdb.VectorSet && s.opts.Depth == DepthValue; out.Type == keyspace.Module && !vectors {
		return nil // its payload there is not the one of DUMP
	}
	hasher.Reset()
	to := &sink{Hasher: hasher, room: keep}
	if keep > 0 {
		to.whole = &keyspace.Collector{V: keyspace.Value{Type: out.Type}}
	}
	alive := &aliveFields{sink: to, now: now}
	var err error
	switch {
	case e.Big:
		err = r.Walk(alive)
	case out.Type == keyspace.Module:
		if err := rdb.WalkVectorSet(e.Raw, to); err != nil { // of an encoding that is not known
			out.TypeName, out.Err = out.Type.String(), fmt.Errorf("%w (%w)", errModuleInFile, err)
			return nil
		}
	default:
		err = rdb.WalkValue(e.Type, e.Raw, alive)
	}
	if err != nil {
		return err
	}
	to.finish(out)
	switch {
	case alive.gone > 0 && out.FP.Length == 0:
		*out = reading{} // with its last field
	case s.opts.Depth == DepthLength:
		out.FP = keyspace.Fingerprint{Length: out.FP.Length}
	}
	return nil
}

// aliveFields leaves out fields of a hash that have expired.
type aliveFields struct {
	*sink
	now  int64
	gone int
}

// HashField takes in a field that has not expired.
func (a *aliveFields) HashField(name, value []byte, expireAt int64) error {
	if expireAt > 0 && expireAt <= a.now {
		a.gone++
		return nil
	}
	return a.sink.HashField(name, value, expireAt)
}

// enumerateFiles puts a record per key of the files into the spill.
func (s *side) enumerateFiles(ctx context.Context, to *spill) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, shard := range s.dep.Shards() {
		g.Go(func() error {
			return s.eachKey(ctx, shard.Primary.Addr, 0, nil, func(k fileKey) error {
				id, _ := s.compared(k.db, k.name)
				rec := record{keyID: id}
				rec.hold(k.reading)
				if k.Err != nil {
					rec.flags = unread
				}
				s.keys.Add(1)
				s.total.Add(1)
				return to.add(&rec)
			})
		})
	}
	return g.Wait()
}

// suspectOfFile is a suspect that carries what the file says: it is not read again.
func (e *entry) suspectOfFile(id keyID) *record {
	r := record{keyID: id, flags: e.source.flags&clash | seen}
	if e.hasSource {
		r.holdAs(&e.source)
	}
	return &r
}

// ofFile returns what the file says of a suspect at this moment.
func (r *record) ofFile(now time.Time) reading {
	switch {
	case r.t == keyspace.None, r.expireAt > 0 && r.expireAt <= now.UnixMilli():
		return reading{}
	case r.module == keyspace.Module.String(): // it could not be looked into
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
