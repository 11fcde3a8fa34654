package verifier

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

// The first read of a value is bounded: a string by bytes, a collection by the memory that the server says it takes, or by elements
// where the server does not say.
const (
	firstBytes    = 4 << 10
	wholeBytes    = 32 << 10 // a collection of no more is read whole, together with others
	firstElements = 16
	firstEntries  = 16 // of a stream, and as many pending entries of each of its groups
	headBytes     = 64 // bytes of the replies about one key apart from its value
)

// reading is what one read found out about one key. If Err is set, it says why the key could not be read, and no other field
// counts.
type reading struct {
	Type     keyspace.Type // None: absent, or expired
	TypeName string        // as the server names the type; for a module value, the module's own name of it
	FP       keyspace.Fingerprint
	ExpireAt int64           // Unix ms by the server's clock, 0: never
	FieldsAt int64           // of a hash: when the first of its fields expires, Unix ms by the server's clock; 0: no field does
	Value    *keyspace.Value // the whole value; only where it was asked for and is not too large
	Err      error

	times *expiringFields // when the fields of a hash expire; only where it was asked for
}

func (r *reading) present() bool { return r.Type != keyspace.None }

// known says that the key was read and is present.
func (r *reading) known() bool { return r.Err == nil && r.present() }

// reader reads keys over one connection. It is not safe for concurrent use.
type reader struct {
	*conn
	sinks
	depth    Depth
	bigValue int64
	patience time.Duration
	bigs     chan struct{} // a token per big value that may be read at a time
	heads    headReader
	fields   fieldExpiries
	weights  *weights
}

func newReader(n *node, db int, o *Config, bigs chan struct{}) *reader {
	c := &conn{node: n, db: db}
	return &reader{conn: c, depth: o.Depth, bigValue: o.BigValue, patience: o.Patience, bigs: bigs, sinks: sinks{hasher: keyspace.NewHasher()},
		heads: headReader{c, n.expireTimes, map[string]typeInfo{}}, fields: fieldExpiries{conn: c}, weights: newWeights(n)}
}

// read fills out with one reading per name. Whole values are collected up to keep bytes each. The error concerns the node; errors
// of single keys are in their readings.
func (r *reader) read(ctx context.Context, names []string, out []reading, keep int64) error {
	return r.node.retry(ctx, r.patience, func() error {
		clear(out)
		err := r.try(ctx, names, out, keep)
		if broken := (*connError)(nil); errors.As(err, &broken) && r.alive(ctx) {
			return r.apart(ctx, names, out, keep, err)
		}
		return err
	})
}

func (r *reader) try(ctx context.Context, names []string, out []reading, keep int64) error {
	if err := r.heads.read(ctx, names, out, r.depth == DepthKeys); err != nil {
		return err
	}
	switch r.depth {
	case DepthKeys:
		return nil
	case DepthLength:
		return r.readLengths(ctx, names, out)
	}
	return r.readValues(ctx, names, out, keep)
}

// refused puts an error reply into the reading, or returns it where it concerns the whole node.
func (out *reading) refused(command string, err error) error {
	err = replyError(command, err)
	if passing(err) {
		return err
	}
	*out = reading{Err: err}
	return nil
}

// readLengths reads only the lengths of values: at depth length, a fingerprint holds nothing else.
func (r *reader) readLengths(ctx context.Context, names []string, out []reading) error {
	var asked []int
	results, err := r.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, len(names))
		for i, name := range names {
			if c, ok := lengthCommands[out[i].Type]; ok {
				cmds = append(cmds, b.Arbitrary(c).Keys(name).Build())
				asked = append(asked, i)
			}
		}
		return cmds
	})
	if err != nil {
		return err
	}
	var empty []int
	for j, i := range asked {
		n, err := results[j].ToInt64()
		if err != nil {
			if err := out[i].refused(lengthCommands[out[i].Type], err); err != nil {
				return err
			}
			continue
		}
		if n == 0 && neverEmpty(out[i].Type) { // it has been deleted since
			out[i] = reading{}
			continue
		}
		if out[i].FP.Length = n; n == 0 {
			empty = append(empty, i)
		}
	}
	if err := r.dropGone(ctx, names, out, empty); err != nil {
		return err
	}
	return r.readHLLs(ctx, names, out)
}

// dropGone tells strings and streams that are empty from those that have been deleted, whose length is 0 as well.
func (r *reader) dropGone(ctx context.Context, names []string, out []reading, empty []int) error {
	results, err := r.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(empty))
		for j, i := range empty {
			cmds[j] = b.Type().Key(names[i]).Build()
		}
		return cmds
	})
	if err != nil {
		return err
	}
	for j, i := range empty {
		name, err := results[j].ToString()
		if err != nil {
			err = out[i].refused("TYPE", err)
		} else if keyspace.ParseType(name) == keyspace.None {
			out[i] = reading{}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hllPipeline is how many HyperLogLogs are read at a time.
const hllPipeline = askBytes / keyspace.LongestHLL

// readHLLs sets the length of each HyperLogLog among the strings to that of the dense encoding, whichever encoding it has.
func (r *reader) readHLLs(ctx context.Context, names []string, out []reading) error {
	var asked []int
	for i := range out {
		if out[i].Type == keyspace.String && maybeHLL(out[i].FP.Length) {
			asked = append(asked, i)
		}
	}
	var found []int
	err := r.readBeginnings(ctx, names, out, asked, 5, func(i int, p []byte) {
		if keyspace.MayBeHLL(p) {
			found = append(found, i)
		}
	})
	if err != nil {
		return err
	}
	for some := range slices.Chunk(found, hllPipeline) {
		err := r.readBeginnings(ctx, names, out, some, keyspace.LongestHLL, func(i int, p []byte) {
			out[i].FP.Length = r.stringLength(p)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// maybeHLL says that a string of this length may be a HyperLogLog.
func maybeHLL(length int64) bool {
	return length >= keyspace.ShortestHLL && length <= keyspace.LongestHLL
}

// readBeginnings passes on the first bytes of strings.
func (r *reader) readBeginnings(ctx context.Context, names []string, out []reading, some []int, bytes int64, give func(i int, p []byte)) error {
	results, err := r.ask(ctx, int64(len(some))*(bytes+headBytes), func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(some))
		for j, i := range some {
			cmds[j] = b.Getrange().Key(names[i]).Start(0).End(bytes - 1).Build()
		}
		return cmds
	})
	if err != nil {
		return err
	}
	for j, i := range some {
		p, err := results[j].AsBytes()
		if err != nil {
			if err := out[i].refused("GETRANGE", err); err != nil {
				return err
			}
			continue
		}
		give(i, p)
	}
	return nil
}

var lengthCommands = map[keyspace.Type]string{
	keyspace.String: "STRLEN", keyspace.List: "LLEN", keyspace.Set: "SCARD", keyspace.ZSet: "ZCARD",
	keyspace.Hash: "HLEN", keyspace.Stream: "XLEN",
}
