package compat

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"surecut/internal/files"
)

// maxLine is how many bytes of one line of MONITOR are read; keys after them are not seen.
const maxLine = 1 << 20

// Capture reads the output of redis-cli MONITOR from a file, which holds the lines of one server. Other lines are counted and
// mentioned. A file without a single line of MONITOR is an error.
func (t *Tally) Capture(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the MONITOR file: %w", err)
	}
	defer f.Close()
	e := t.Evidence(FromCapture, path)
	lines, other, cut, err := t.lines(ctx, e, f, path)
	if err != nil {
		return fmt.Errorf("read the MONITOR file %s: %w", path, err)
	}
	if lines == 0 {
		return fmt.Errorf("%s contains no line of MONITOR; create it with: redis-cli -h HOST monitor > FILE", path)
	}
	e.Lasts(span(e))
	var notes []string
	if other > 0 {
		notes = append(notes, fmt.Sprintf("%d lines are not lines of MONITOR.", other))
	}
	if cut > 0 {
		notes = append(notes, fmt.Sprintf("%d lines are longer than 1 MiB or end within an argument; keys after that point were not seen.", cut))
	}
	e.Note = strings.Join(notes, " ")
	return nil
}

// span returns the time between the first and the last call.
func span(e *Evidence) time.Duration {
	first, err1 := time.Parse(time.RFC3339, e.First)
	last, err2 := time.Parse(time.RFC3339, e.Last)
	if err1 != nil || err2 != nil {
		return 0
	}
	return last.Sub(first)
}

// lines adds the calls of all lines.
func (t *Tally) lines(ctx context.Context, e *Evidence, r io.Reader, stream string) (lines, other, cut int64, err error) {
	b := bufio.NewReaderSize(r, 256<<10)
	var line []byte
	var args [][]byte
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return lines, other, cut, ctx.Err()
		}
		next, whole, err := readLine(b, line[:0])
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return lines, other, cut, err
		}
		line = next
		c, notOne := parseLine(line, args[:0])
		switch {
		case notOne == nil || errors.Is(notOne, errCut):
			if !whole || notOne != nil {
				cut++
			}
			args = c.Args
			c.Stream = stream
			lines++
			t.Add(e, c)
		case len(line) > 0 && string(line) != "OK" && string(line) != `"OK"`:
			other++
		}
		if end {
			return lines, other, cut, nil
		}
	}
}

// readLine returns a line without its end, and only the first MiB of a longer one. The result whole says whether that is the
// complete line.
func readLine(b *bufio.Reader, line []byte) (_ []byte, whole bool, err error) {
	whole = true
	for {
		part, err := b.ReadSlice('\n')
		if room := maxLine - len(line); len(part) > room {
			part, whole = part[:room], false
		}
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return line, whole, err
		}
		for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
			line = line[:len(line)-1]
		}
		return line, whole, nil
	}
}

// AOF reads the writes from an AOF: from one file, or the directory of 7.0 and later. An RDB at its beginning contains no calls.
func (t *Tally) AOF(ctx context.Context, path string) error {
	s, err := files.OpenAOF(path)
	if err != nil {
		return err
	}
	w := t.Writes(FromAOF, path)
	facts, err := s.InspectCommands(ctx, anySize, func(db int, args [][]byte) {
		w.Add(db, args, time.Time{})
	})
	if err != nil {
		return err
	}
	var notes []string
	if s.HasRDB() {
		notes = append(notes, fmt.Sprintf("It begins with an RDB of %d keys, which contains no calls.", facts.Keys))
	}
	if facts.Cut != nil {
		notes = append(notes, facts.Cut.String()+".")
	}
	w.e.Note = strings.Join(notes, " ")
	return nil
}

// anySize is the size above which values of an RDB are skipped instead of held in memory.
const anySize = 64 << 20

// Writes adds the calls of a write stream in order.
type Writes struct {
	t      *Tally
	e      *Evidence
	stream string
}

// Writes begins a write stream of one server.
func (t *Tally) Writes(kind, subject string) *Writes {
	return &Writes{t: t, e: t.Evidence(kind, subject), stream: subject}
}

// Add adds one command of the stream, with the time when it was received if that is known. It does not keep the arguments.
func (w *Writes) Add(db int, args [][]byte, at time.Time) {
	w.t.Add(w.e, Call{At: at, Stream: w.stream, DB: db, Args: args})
}
