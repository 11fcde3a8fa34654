package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"surecut/internal/resp"
)

// Commands reads the commands of one part. A server that loads the part begins it with database 0 selected.
type Commands struct {
	*resp.Reader
	from io.ReadCloser
	path string
	base int64 // byte of the part at which reading began
}

// Commands opens the part that contains the given byte of the source, which must lie between two commands. The result end is the
// byte at which the part ends, and fresh says that reading begins at the part's beginning. At the end of the source, c is nil.
func (s *Source) Commands(offset int64) (c *Commands, end int64, fresh bool, err error) {
	begin := int64(0)
	for _, p := range s.Parts {
		if end = begin + p.Size; offset < end {
			from, err := p.open(offset - begin)
			if err != nil {
				return nil, 0, false, err
			}
			r := resp.NewReaderOptions(from, resp.Options{NoInline: true})
			return &Commands{Reader: r, from: from, path: p.Path, base: offset - begin}, end, offset == begin, nil
		}
		begin = end
	}
	return nil, begin, false, nil
}

// Close closes the file.
func (c *Commands) Close() error { return c.from.Close() }

// Fail adds to an error about the commands the file and, for damage, the byte.
func (c *Commands) Fail(err error) error {
	var framing *resp.ProtocolError
	if errors.As(err, &framing) {
		return fmt.Errorf("%s is damaged at byte %d: expected %s, found %s; redis-check-aof shows more", c.path, c.base+framing.Offset, framing.Wanted, framing.Found)
	}
	return fmt.Errorf("read %s: %w", c.path, err)
}

// Cut describes an incomplete end of a source, which a server would not load.
type Cut struct {
	Path  string
	At    int64 // byte of the file at which the dropped end begins
	Bytes int64
}

func (c *Cut) String() string {
	return fmt.Sprintf("%s ends inside a command or a transaction: its last %d bytes, from byte %d, are not a complete command", c.Path, c.Bytes, c.At)
}

// CutError says that a file ends inside a command although other files follow it. Servers refuse such an AOF, too.
type CutError struct{ Cut }

func (e *CutError) Error() string {
	return e.Cut.String() + ", and other files of this AOF follow; copy it again, or repair it with redis-check-aof"
}

// CutAt returns what it means that the part which ends at byte end of the source has no complete command from byte offset on: a Cut
// in the last part, and an error in any other.
func (s *Source) CutAt(offset, end int64) (*Cut, error) {
	cut := Cut{Bytes: end - offset}
	cut.Path, cut.At = s.Where(offset)
	if end < s.Size() {
		return nil, &CutError{cut}
	}
	return &cut, nil
}

// isCommand says whether args call the command of the given name.
func isCommand(args [][]byte, name string) bool {
	return len(args[0]) == len(name) && bytes.EqualFold(args[0], []byte(name))
}
