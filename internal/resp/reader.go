package resp

import (
	"bytes"
	"fmt"
	"io"
	"math"
)

const (
	baseBuffer = 64 << 10 // size of the buffer at the start, and again after a large command
	keepBuffer = 1 << 20  // a buffer larger than this is released once its command is done
	keepArgs   = 64 << 10 // the same for the list of arguments
	minRead    = 16 << 10 // the least room for a read
	maxHeader  = 20       // digits and sign of a length
	maxInline  = 64 << 10 // Redis: PROTO_INLINE_MAX_SIZE
)

// Options bound what a Reader accepts. Zero fields stand for the defaults.
type Options struct {
	// MaxArgs bounds the number of arguments of a command. The default is 2^31-1, as in Redis since 7.0; older servers accept
	// 1024*1024.
	MaxArgs int
	// MaxBulk bounds the bytes of one argument. The default is 512 MiB, like that of proto-max-bulk-len.
	MaxBulk int64
	// MaxCommand bounds the bytes of a whole command. The default is 1 GiB, like that of client-query-buffer-limit.
	MaxCommand int64
	// NoInline refuses commands that are sent as a plain line, which an AOF does not contain.
	NoInline bool
}

func (o Options) withDefaults() Options {
	if o.MaxArgs <= 0 {
		o.MaxArgs = math.MaxInt32
	}
	if o.MaxBulk <= 0 {
		o.MaxBulk = 512 << 20
	}
	if o.MaxCommand <= 0 {
		o.MaxCommand = 1 << 30
	}
	return o
}

// Reader splits a stream into commands. It is not safe for concurrent use.
type Reader struct {
	src io.Reader
	opt Options

	buf        []byte
	start, end int   // buf[start:end] has been read but not consumed
	offset     int64 // bytes of the stream before buf[start]
	skipped    int64 // those of the offset's bytes that no command has been charged with yet
	broken     error // the framing is lost for good

	// The fields below describe the command in progress. They survive a failed read, so that a read that timed out can be repeated.
	// Positions are relative to start, because the buffer may move.
	pos   int // the command is parsed up to here
	left  int // arguments that are still to come; -1: no multibulk header was parsed yet
	bulk  int // length of the argument whose header was parsed; -1: none
	spans []span
	args  [][]byte

	last []byte // see Last
}

type span struct{ from, to int }

// NewReader reads commands from src with the default limits.
func NewReader(src io.Reader) *Reader { return NewReaderOptions(src, Options{}) }

// NewReaderOptions reads commands from src within the limits of o.
func NewReaderOptions(src io.Reader, o Options) *Reader {
	return &Reader{src: src, opt: o.withDefaults(), left: -1, bulk: -1}
}

// Offset returns how many bytes of the stream have been consumed: those of all commands that were returned, and of the keep-alives
// after them.
func (r *Reader) Offset() int64 { return r.offset }

// Buffered returns how many bytes have been read but not consumed.
func (r *Reader) Buffered() int { return r.end - r.start }

// ReadCommand returns the next command, whose name is args[0], and the number of bytes that it took in the stream, including
// keep-alives, annotations and empty commands before it. The args are slices of the Reader's buffer, and valid until the next call.
//
// At the end of the stream it returns io.EOF and the number of bytes of the keep-alives that no command followed. If the stream
// ends inside a command, the error wraps io.ErrUnexpectedEOF. A *ProtocolError is final. Any other error is that of the source,
// wrapped, and the call may be repeated if the source can be read again.
func (r *Reader) ReadCommand() (args [][]byte, n int64, err error) {
	if r.broken != nil {
		return nil, 0, r.broken
	}
	r.shrink()
	for {
		whole, err := r.parse()
		if err != nil {
			r.broken = err
			return nil, 0, err
		}
		if !whole {
			if err := r.fill(); err != nil {
				return r.ended(err)
			}
			continue
		}
		args := r.take()
		if len(args) == 0 { // "*0\r\n", an empty line, an annotation
			continue
		}
		n, r.skipped = r.skipped, 0
		return args, n, nil
	}
}

// Last returns the bytes of the command that ReadCommand has returned, as they came, without what was before it. They are valid until the
// next call of ReadCommand.
func (r *Reader) Last() []byte { return r.last }

// ended returns the result of ReadCommand for an error of the source.
func (r *Reader) ended(err error) ([][]byte, int64, error) {
	at := r.offset + int64(r.end-r.start)
	switch {
	case err != io.EOF:
		return nil, 0, fmt.Errorf("command stream: read at byte %d: %w", at, err)
	case r.end > r.start:
		return nil, 0, fmt.Errorf("command stream: ends at byte %d, inside the command that begins at byte %d: %w",
			at, r.offset, io.ErrUnexpectedEOF)
	}
	n := r.skipped
	r.skipped = 0
	return nil, n, io.EOF
}

// take consumes the command that parse has found to be complete.
func (r *Reader) take() [][]byte {
	cmd := r.buf[r.start : r.start+r.pos]
	r.last = cmd
	r.args = r.args[:0]
	for _, s := range r.spans {
		r.args = append(r.args, cmd[s.from:s.to:s.to])
	}
	r.consume(r.pos)
	r.pos, r.left, r.bulk, r.spans = 0, -1, -1, r.spans[:0]
	return r.args
}

func (r *Reader) consume(n int) {
	r.start += n
	r.offset += int64(n)
	r.skipped += int64(n)
}

// shrink releases the memory of a large command.
func (r *Reader) shrink() {
	if len(r.buf) > keepBuffer && r.end-r.start <= baseBuffer {
		r.moveTo(make([]byte, baseBuffer))
	}
	if r.left < 0 && cap(r.args) > keepArgs {
		r.args, r.spans = nil, nil
	}
}

func (r *Reader) moveTo(buf []byte) {
	r.end = copy(buf, r.buf[r.start:r.end])
	r.start, r.buf = 0, buf
}

// fill reads at least one byte. A full buffer is doubled, so that it is never more than twice as large as the data that has
// arrived.
func (r *Reader) fill() error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if len(r.buf)-r.end < minRead {
		if r.start > 0 {
			r.moveTo(r.buf)
		}
		if len(r.buf)-r.end < minRead {
			r.moveTo(make([]byte, max(baseBuffer, 2*len(r.buf))))
		}
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		if n > 0 {
			return nil // an error that came with the bytes will come again
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// parse continues with the command at start, and says whether it is complete.
func (r *Reader) parse() (whole bool, err error) {
	if r.left < 0 {
		r.skipKeepAlives()
		if r.start == r.end {
			return false, nil
		}
		if r.buf[r.start] != '*' {
			return r.parseInline()
		}
		n, ok, err := r.parseHeader('*', "a number of arguments", int64(r.opt.MaxArgs))
		if !ok || err != nil {
			return false, err
		}
		r.left = int(max(n, 0)) // "*0" and "*-1" are commands without words, which Redis skips
	}
	for r.left > 0 {
		if ok, err := r.parseArg(); !ok || err != nil {
			return false, err
		}
		r.left--
	}
	return true, nil
}

func (r *Reader) skipKeepAlives() {
	n := 0
	for _, c := range r.buf[r.start:r.end] {
		if c != '\n' && c != '\r' {
			break
		}
		n++
	}
	r.consume(n)
}

func (r *Reader) parseArg() (ok bool, err error) {
	if r.bulk < 0 {
		n, ok, err := r.parseHeader('$', "the length of an argument", r.opt.MaxBulk)
		if !ok || err != nil {
			return false, err
		}
		if n < 0 {
			return false, r.failure(r.pos, "the length of an argument, not below 0")
		}
		if int64(r.pos)+n+2 > r.opt.MaxCommand {
			return false, r.failure(r.pos, fmt.Sprintf("a command of at most %d bytes", r.opt.MaxCommand))
		}
		r.bulk = int(n)
	}
	from, to := r.pos, r.pos+r.bulk
	if r.end-r.start < to+2 {
		return false, nil
	}
	if tail := r.buf[r.start+to:]; tail[0] != '\r' || tail[1] != '\n' {
		return false, r.failure(to, fmt.Sprintf(`\r\n after an argument of %d bytes`, r.bulk))
	}
	r.spans = append(r.spans, span{from, to})
	r.pos, r.bulk = to+2, -1
	return true, nil
}

// parseHeader parses marker, a decimal number and "\r\n" at pos, and moves pos after them. If ok is false without an error, more
// bytes are needed.
func (r *Reader) parseHeader(marker byte, what string, limit int64) (n int64, ok bool, err error) {
	b := r.buf[r.start+r.pos : r.end]
	if len(b) == 0 {
		return 0, false, nil
	}
	if b[0] != marker {
		return 0, false, r.failure(r.pos, fmt.Sprintf("%q and %s", marker, what))
	}
	i, negative := 1, false
	if len(b) > 1 && b[1] == '-' {
		i, negative = 2, true
	}
	first := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' && i < maxHeader-1 {
		n = n*10 + int64(b[i]-'0') // at most 18 digits
		i++
	}
	if i == len(b) || i+1 == len(b) && b[i] == '\r' && i > first {
		return 0, false, nil
	}
	if i == first || b[i] != '\r' || b[i+1] != '\n' {
		return 0, false, r.failure(r.pos, fmt.Sprintf(`%s ending in \r\n`, what))
	}
	if n > limit {
		return 0, false, r.failure(r.pos, fmt.Sprintf("%s of at most %d", what, limit))
	}
	if negative {
		n = -n
	}
	r.pos += i + 2
	return n, true, nil
}

// parseInline parses one line. Servers send only plain words in this form, so the line must begin with a letter: anything else
// means that the framing is lost, and must not be taken for a command.
func (r *Reader) parseInline() (whole bool, err error) {
	b := r.buf[r.start:r.end]
	if c := b[0]; c != '#' && (r.opt.NoInline || c|0x20 < 'a' || c|0x20 > 'z') {
		return false, r.failure(0, "a command")
	}
	eol := bytes.IndexByte(b[r.pos:], '\n')
	if eol < 0 {
		r.pos = len(b)
		if len(b) > maxInline {
			r.pos = 0
			return false, r.failure(0, fmt.Sprintf("an inline command of at most %d bytes", maxInline))
		}
		return false, nil
	}
	line := b[:r.pos+eol]
	r.pos += eol + 1
	if b[0] == '#' { // AOF annotation, since 7.0
		return true, nil
	}
	if at, ok := r.splitInline(bytes.TrimSuffix(line, []byte("\r"))); !ok {
		return false, r.failure(at, "an inline command of printable words with balanced quotes")
	}
	return true, nil
}

// failure returns an error that shows the bytes at pos, which is relative to start.
func (r *Reader) failure(pos int, wanted string) error {
	found := r.buf[r.start+pos : r.end]
	more := ""
	if len(found) > 24 {
		found, more = found[:24], "..."
	}
	return &ProtocolError{Offset: r.offset + int64(pos), Wanted: wanted, Found: fmt.Sprintf("%q%s", found, more)}
}
