package target

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// A chunk is one command with several elements; it ends at whichever limit it reaches first. An element that is larger than chunkBytes is
// a chunk of its own.
const (
	chunkBytes    = 512 << 10
	chunkElements = 1000
)

// These are the errors by which rebuild refuses a value, which is then left unfinished.
var (
	fieldTTLUnsupported = &keyspace.UnsupportedError{What: "expiries of hash fields", Since: "7.4"}
	streamUnsupported   = &keyspace.UnsupportedError{What: "streams", Since: "5.0"}
	moduleUnsupported   = &keyspace.UnsupportedError{What: "values of modules"}
)

// rebuild is a keyspace.Visitor that builds a value by commands, in chunks of bounded size, under a key that must not exist. It leaves out
// what no command can set: encodings, when a consumer was last seen, and what Lost lists. Fields of a hash that have expired already are
// deleted by the target.
type rebuild struct {
	Lost []string // what could not be built, for the report

	key     []byte
	dialect *command.Dialect
	most    Bounds // of the target
	text    int64  // length of the string so far
	tooLong error  // the reply by which the target has refused to append to the string
	emit    func(args ...[]byte) error

	made     bool     // the key exists
	command  string   // the command of the open chunk; "": no chunk is open
	elements int      // number of elements in the open chunk
	arena    []byte   // arguments of the open chunk, one behind the other
	ends     []int    // the end of each argument in arena
	args     [][]byte // reused
	expiring expiringFields
	stream   streamRebuild
}

var _ keyspace.Visitor = (*rebuild)(nil)

// newRebuild returns a rebuild for a key on a target that understands dialect. emit sends a command; it must not keep args after it
// returns.
func newRebuild(key []byte, dialect *command.Dialect, emit func(args ...[]byte) error) *rebuild {
	return &rebuild{key: append([]byte{}, key...), dialect: dialect, emit: emit}
}

// Finish sends the open chunk and sets the expiry (Unix ms; 0: none). It returns keyspace.ErrEmpty if there was no element.
func (b *rebuild) Finish(expireAt int64) error {
	switch {
	case b.tooLong != nil:
		return b.explained(b.tooLong)
	case b.textTooLong():
		return &TooLargeError{"the string", b.text, b.most.Text, "bytes", bulkSetting}
	}
	if err := b.flush(); err != nil {
		return err
	}
	if !b.made {
		return keyspace.ErrEmpty
	}
	if expireAt <= 0 {
		return nil
	}
	return b.send("PEXPIREAT", b.key, strconv.AppendInt(nil, expireAt, 10))
}

// Repeated notes that a name stands in the value again. Servers before 6.2 hold such values, and find the first of them.
func (b *rebuild) Repeated(name []byte) {
	b.Lost = append(b.Lost, fmt.Sprintf("%s stands in the value more than once; the target has the first one, which is the one that the source finds", keyspace.PrintableShort(string(name))))
}

// StringChunk adds a piece of a string.
func (b *rebuild) StringChunk(p []byte) error {
	if b.text += int64(len(p)); b.textTooLong() {
		return nil // Finish says how long it is
	}
	err := b.appendText(p)
	if isTooLong(err) {
		b.tooLong, err = err, nil
	}
	return err
}

// textTooLong says whether the string is longer than the target lets any become.
func (b *rebuild) textTooLong() bool {
	return b.tooLong != nil || b.most.Text > 0 && b.text > b.most.Text
}

// isTooLong says whether a server refuses to append to a string, since that is too long.
func isTooLong(err error) bool {
	return endpoint.Code(err) == "ERR" && strings.Contains(err.Error(), "string exceeds maximum")
}

// explained returns an error of a command of the rebuild, with the length of the string if the target refuses it for that.
func (b *rebuild) explained(err error) error {
	if isTooLong(err) {
		return &TooLargeError{"the string", b.text, 0, "bytes", err.Error()}
	}
	return err
}

func (b *rebuild) appendText(p []byte) error {
	for len(p) > chunkBytes {
		if err := b.appendText(p[:chunkBytes]); err != nil {
			return err
		}
		p = p[chunkBytes:]
	}
	if b.command != "" && len(b.arena)+len(p) > chunkBytes {
		if err := b.flush(); err != nil {
			return err
		}
	}
	if b.command == "" {
		b.command = "APPEND"
		if !b.made {
			b.command = "SET"
		}
		b.ends = append(b.ends, 0)
	}
	b.arena = append(b.arena, p...)
	b.ends[0] = len(b.arena)
	return nil
}

// ListElement adds the next element.
func (b *rebuild) ListElement(p []byte) error { return b.add("RPUSH", p) }

// SetMember adds a member.
func (b *rebuild) SetMember(p []byte) error { return b.add("SADD", p) }

// ZSetMember adds a member. Its score is sent as the shortest text that reads back as the same number.
func (b *rebuild) ZSetMember(name []byte, score float64) error {
	if math.IsNaN(score) {
		return fmt.Errorf("member %s of a sorted set: its score is not a number", strconv.Quote(string(name)))
	}
	var text [32]byte
	return b.add("ZADD", appendScore(text[:0], score), name)
}

func appendScore(dst []byte, score float64) []byte {
	switch {
	case math.IsInf(score, 1):
		return append(dst, "inf"...)
	case math.IsInf(score, -1):
		return append(dst, "-inf"...)
	}
	return strconv.AppendFloat(dst, score, 'g', -1, 64)
}

// HashField adds a field.
func (b *rebuild) HashField(name, value []byte, expireAt int64) error {
	verb := "HSET"
	if !b.dialect.Has(command.HashSetMany) {
		verb = "HMSET"
	}
	if expireAt > 0 && !b.dialect.Knows("HPEXPIREAT") {
		return fieldTTLUnsupported
	}
	if err := b.add(verb, name, value); err != nil || expireAt <= 0 {
		return err
	}
	b.expiring.add(name, expireAt)
	if len(b.expiring.names) > chunkBytes {
		return b.flush()
	}
	return nil
}

// ModulePayload refuses the value of a module.
func (b *rebuild) ModulePayload([]byte) error { return moduleUnsupported }

// add adds the parts of one element to the open chunk, and sends the chunk when it is full.
func (b *rebuild) add(command string, parts ...[]byte) error {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if b.command != "" && len(b.arena)+size > chunkBytes {
		if err := b.flush(); err != nil {
			return err
		}
	}
	if size > chunkBytes { // sent at once, without copying it to arena
		b.made = true
		if err := b.send(command, append([][]byte{b.key}, parts...)...); err != nil {
			return err
		}
		return nil
	}
	b.command = command
	for _, p := range parts {
		b.arena = append(b.arena, p...)
		b.ends = append(b.ends, len(b.arena))
	}
	if b.elements++; b.elements >= chunkElements {
		return b.flush()
	}
	return nil
}

// flush sends the open chunk, and then the expiries of its hash fields.
func (b *rebuild) flush() error {
	if b.command != "" {
		args := append(b.args[:0], []byte(b.command), b.key)
		from := 0
		for _, end := range b.ends {
			args = append(args, b.arena[from:end])
			from = end
		}
		b.args, b.command, b.elements, b.arena, b.ends, b.made = args, "", 0, b.arena[:0], b.ends[:0], true
		if err := b.emit(args...); err != nil {
			return err
		}
	}
	return b.expiring.send(b)
}

func (b *rebuild) send(command string, args ...[]byte) error {
	return b.emit(append([][]byte{[]byte(command)}, args...)...)
}

// expiringFields are the fields of the open chunk that expire, in runs of the same expiry.
type expiringFields struct {
	names []byte
	ends  []int
	runs  []fieldRun
}

type fieldRun struct {
	expireAt int64
	fields   int
}

func (f *expiringFields) add(name []byte, expireAt int64) {
	f.names = append(f.names, name...)
	f.ends = append(f.ends, len(f.names))
	if n := len(f.runs); n > 0 && f.runs[n-1].expireAt == expireAt {
		f.runs[n-1].fields++
		return
	}
	f.runs = append(f.runs, fieldRun{expireAt: expireAt, fields: 1})
}

func (f *expiringFields) send(b *rebuild) error {
	from, next := 0, 0
	for _, run := range f.runs {
		args := [][]byte{b.key, strconv.AppendInt(nil, run.expireAt, 10), []byte("FIELDS"), strconv.AppendInt(nil, int64(run.fields), 10)}
		for range run.fields {
			args = append(args, f.names[from:f.ends[next]])
			from = f.ends[next]
			next++
		}
		if err := b.send("HPEXPIREAT", args...); err != nil {
			return err
		}
	}
	f.names, f.ends, f.runs = f.names[:0], f.ends[:0], f.runs[:0]
	return nil
}

// isUnsupported says whether err refuses a value that cannot be built by commands.
func isUnsupported(err error) bool { return errors.As(err, new(*keyspace.UnsupportedError)) }
