package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// Facts are what reading a source from beginning to end has shown.
type Facts struct {
	RDBVersion int   // of the RDB that the source is or begins with; 0: there is none
	Keys       int64 // number of keys in the RDB
	Commands   int64
	Server     string        // version of the server that wrote the RDB, as the RDB says; "" where it does not (before 3.2)
	Valkey     bool          // that server was a Valkey
	Databases  map[int]int64 // keys of the RDB and commands, by database
	Modules    []string      // module types of which the RDB holds values, sorted
	Relative   int64         // number of commands with a relative expiry, which a server counts from when it loads the file
	Big        []BigValue    // values of the RDB that are larger than the given size
	Cut        *Cut          // nil where the source ends with a complete command

	each func(db int, args [][]byte)
}

// BigValue is a value of an RDB that is larger than the given size.
type BigValue struct {
	Key   keyspace.Key
	Type  keyspace.Type
	Bytes int64 // serialized
}

// Inspect reads a whole source. It lists values that are larger than big. Damage is an error that names file and byte.
func (s *Source) Inspect(ctx context.Context, big int64) (*Facts, error) {
	return s.InspectCommands(ctx, big, func(int, [][]byte) {})
}

// InspectCommands is Inspect, and also passes every command to each, with the database in which it runs. SELECT, MULTI and EXEC are
// among the commands. The arguments are only valid during the call.
func (s *Source) InspectCommands(ctx context.Context, big int64, each func(db int, args [][]byte)) (*Facts, error) {
	f := &Facts{Databases: map[int]int64{}, each: each}
	offset := int64(0)
	var err error
	if s.rdb {
		if offset, err = f.readRDB(ctx, s, big); err != nil {
			return nil, err
		}
	}
	for s.AOF && offset < s.Size() {
		if offset, err = f.readPart(ctx, s, offset); err != nil || f.Cut != nil {
			break
		}
	}
	slices.Sort(f.Modules)
	return f, err
}

func (f *Facts) readRDB(ctx context.Context, s *Source, big int64) (end int64, err error) {
	from, err := s.RDB()
	if err != nil {
		return 0, err
	}
	defer from.Close() // only read: no error of Close matters
	r := rdb.NewReader(from, rdb.Options{MaxValue: int(big)})
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.Parts[0].Path, err)
		}
		if e.Kind == rdb.KindAux {
			f.aux(string(e.Name), string(e.Value))
		}
		if e.Kind != rdb.KindKey {
			continue
		}
		f.Keys++
		f.Databases[e.DB]++
		if e.Big {
			begin, b := r.Consumed(), BigValue{Key: keyspace.Key{DB: e.DB, Name: string(e.Key)}, Type: rdb.TypeOf(e.Type)}
			look := bigLook{Hasher: keyspace.NewHasher()}
			if err := r.Walk(&look); err != nil {
				return 0, fmt.Errorf("%s: %w", s.Parts[0].Path, err)
			}
			b.Bytes = r.Consumed() - begin
			f.Big = append(f.Big, b)
			f.module(b.Type, look.begin)
			continue
		}
		f.module(rdb.TypeOf(e.Type), e.Raw)
	}
	f.RDBVersion = r.Version()
	if rest := s.Parts[0].Size - r.Consumed(); rest > 0 && !s.AOF {
		return 0, fmt.Errorf("%s: %d bytes follow the end of the RDB at byte %d; if commands follow it, name it as aof:%s", s.Path, rest, r.Consumed(), s.Path)
	}
	return r.Consumed(), nil
}

// bigLook decodes a value, and keeps the beginning of a module value.
type bigLook struct {
	*keyspace.Hasher
	begin []byte
}

// ModulePayload takes a piece of a module value; the first piece begins with the module's ID.
func (b *bigLook) ModulePayload(p []byte) error {
	if b.begin == nil {
		b.begin = slices.Clone(p[:min(len(p), 16)])
	}
	return b.Hasher.ModulePayload(p)
}

// module notes the module type of a value, if the value has one.
func (f *Facts) module(t keyspace.Type, raw []byte) {
	if t != keyspace.Module {
		return
	}
	if name, err := rdb.ModuleName(raw); err == nil && !slices.Contains(f.Modules, name) {
		f.Modules = append(f.Modules, name)
	}
}

func (f *Facts) aux(name, value string) {
	switch name {
	case "redis-ver":
		f.Server = value
	case "valkey-ver":
		f.Server, f.Valkey = value, true
	}
}

// readPart reads the commands of one part, beginning at a byte of the source, and returns where the part ends.
func (f *Facts) readPart(ctx context.Context, s *Source, offset int64) (end int64, err error) {
	c, end, _, err := s.Commands(offset)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	db, multi, whole := 0, false, offset // whole: the end of the last command outside of a transaction
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		args, _, err := c.ReadCommand()
		switch {
		case err == io.EOF && !multi:
			return end, nil
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			f.Cut, err = s.CutAt(whole, end)
			return end, err
		case err != nil:
			return 0, c.Fail(err)
		}
		f.Commands++
		f.each(db, args)
		switch {
		case isCommand(args, "SELECT") && len(args) == 2:
			if db, err = strconv.Atoi(string(args[1])); err != nil || db < 0 {
				path, at := s.Where(offset + c.Offset())
				return 0, fmt.Errorf("%s is damaged before byte %d: SELECT %q names no database", path, at, args[1])
			}
		case isCommand(args, "MULTI"):
			multi = true
		case isCommand(args, "EXEC"):
			multi = false
		default:
			f.Databases[db]++
			if command.Relative(args) {
				f.Relative++
			}
		}
		if !multi {
			whole = offset + c.Offset()
		}
	}
}
