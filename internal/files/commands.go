package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"surecut/internal/resp"
)

// Commands reads the commands of one part, which begins where the server that loads it has selected database 0.
type Commands struct {
	*resp.Reader
	from io.ReadCloser
	path string
	base int64 // byte of the part where reading began
}

// Commands opens the part that holds what follows a byte of the source; the byte must lie between two commands. end is where
// the part ends, fresh says that it is at its beginning. At the end of the source it gives nil.
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

// Close gives the file back.
func (c *Commands) Close() error { return c.from.Close() }

// Fail names file and byte of what is wrong with the commands.
func (c *Commands) Fail(err error) error {
	var framing *resp.ProtocolError
	if errors.As(err, &framing) {
		return fmt.Errorf("%s is damaged at byte %d: want %s, found %s; redis-check-aof shows more", c.path, c.base+framing.Offset, framing.Wanted, framing.Found)
	}
	return fmt.Errorf("read %s: %w", c.path, err)
}

// Cut is the end of a source that a server would not load.
type Cut struct {
	Path  string
	At    int64 // byte of the file from where on it is dropped
	Bytes int64
}

func (c *Cut) String() string {
	return fmt.Sprintf("%s ends inside a command or a transaction: its last %d bytes, from byte %d, are no whole command", c.Path, c.Bytes, c.At)
}

// CutError says that a file that others follow ends inside a command: servers refuse that, too.
type CutError struct{ Cut }

func (e *CutError) Error() string {
	return e.Cut.String() + ", and other files of this AOF follow; copy it again, or mend it with redis-check-aof"
}

// CutAt judges that the commands of the part that ends at end stop being whole at a byte of the source: in the last part that is a
// Cut, in others an error.
func (s *Source) CutAt(offset, end int64) (*Cut, error) {
	cut := Cut{Bytes: end - offset}
	cut.Path, cut.At = s.Where(offset)
	if end < s.Size() {
		return nil, &CutError{cut}
	}
	return &cut, nil
}

// isCommand says whether args are a command of this name.
func isCommand(args [][]byte, name string) bool {
	return len(args[0]) == len(name) && bytes.EqualFold(args[0], []byte(name))
}
