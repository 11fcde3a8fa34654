package writes

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
	"strings"

	"surecut/internal/command"
)

const (
	keptArgument = 16 << 10 // bytes; of a longer argument, only the beginning and a hash are kept
	keptBegin    = 64
	keptCommand  = 1 << 20 // bytes of all arguments; the keys of a command with more are not known
	mostLength   = 1 << 40 // no server sends anything that long
)

// skimmer reads commands and keeps what tells their keys. It skips values, so that a value of 500 MB takes no memory.
type skimmer struct {
	in     *bufio.Reader
	offset int64 // number of bytes read

	seed  maphash.Seed
	kept  []byte
	ends  []int
	long  map[int]uint64 // by argument: hashes of those that are not kept completely
	heavy bool           // some arguments are not kept at all, not even their beginnings
	args  [][]byte
	keys  []int
}

func newSkimmer(r io.Reader) *skimmer {
	return &skimmer{in: bufio.NewReaderSize(r, 128<<10), seed: maphash.MakeSeed(), long: map[int]uint64{}}
}

// next reads one command. Long arguments are hashed with the given seed.
func (s *skimmer) next(seed maphash.Seed) error {
	s.seed = seed
	s.kept, s.ends, s.heavy = s.kept[:0], s.ends[:0], false
	clear(s.long)
	for {
		b, err := s.in.ReadByte()
		if err != nil {
			return err
		}
		s.offset++
		if b == '*' {
			break
		}
		if b != '\n' && b != '\r' {
			return fmt.Errorf("the stream contains %q where a command must begin", b)
		}
	}
	n, err := s.number()
	if err != nil {
		return err
	}
	for i := range int(n) {
		b, err := s.in.ReadByte()
		if err != nil {
			return err
		}
		s.offset++
		if b != '$' {
			return fmt.Errorf("the stream contains %q where an argument must begin", b)
		}
		if err := s.argument(i); err != nil {
			return err
		}
	}
	return nil
}

func (s *skimmer) number() (int64, error) {
	line, err := s.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	s.offset += int64(len(line))
	n, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 10, 64)
	if err != nil || n < 0 || n > mostLength {
		return 0, fmt.Errorf("the stream contains the length %q, which is not valid", line)
	}
	return n, nil
}

func (s *skimmer) argument(i int) error {
	n, err := s.number()
	if err != nil {
		return err
	}
	switch {
	case len(s.kept)+int(min(n, keptArgument)) > keptCommand:
		s.heavy = true
		err = s.pass(n, nil)
	case n <= keptArgument:
		from := len(s.kept)
		s.kept = append(s.kept, make([]byte, n)...)
		_, err = io.ReadFull(s.in, s.kept[from:])
		s.offset += n
		s.ends = append(s.ends, len(s.kept))
	default:
		var h maphash.Hash
		h.SetSeed(s.seed)
		err = s.pass(n, &h)
		s.long[i] = h.Sum64()
		s.ends = append(s.ends, len(s.kept))
	}
	if err != nil {
		return err
	}
	s.offset += 2
	_, err = s.in.Discard(2)
	return err
}

// pass skips n bytes. If there is a hash, it adds the bytes to it and keeps the beginning.
func (s *skimmer) pass(n int64, h *maphash.Hash) error {
	for first := true; n > 0; first = false {
		p, err := s.in.Peek(int(min(n, 64<<10)))
		if err != nil {
			return err
		}
		if h != nil {
			h.Write(p)
			if first {
				s.kept = append(s.kept, p[:min(len(p), keptBegin)]...)
			}
		}
		if _, err := s.in.Discard(len(p)); err != nil {
			return err
		}
		s.offset += int64(len(p))
		n -= int64(len(p))
	}
	return nil
}

// tell puts the keys of the last command into the set.
func (s *skimmer) tell(to *Set) {
	s.args = s.args[:0]
	from := 0
	for _, end := range s.ends {
		s.args = append(s.args, s.kept[from:end:end])
		from = end
	}
	if len(s.args) == 0 {
		return
	}
	spec, ok := command.Lookup(s.args)
	switch {
	case !ok:
		to.AddAll(fmt.Sprintf("the command %.40q was run, and its keys are not known", s.args[0]))
		return
	case s.heavy:
		to.AddAll("a " + spec.Name + " with very many arguments was run")
		return
	case spec.Class == command.Script && !s.scriptDeclares(spec):
		to.AddAll("a script was run that may write keys that it does not declare")
		return
	}
	var err error
	s.keys, err = spec.Keys(s.args, s.keys[:0])
	switch {
	case err != nil:
		to.AddAll("the keys of a " + spec.Name + " are not known")
	case len(s.keys) == 0 && spec.Write && !strings.HasPrefix(spec.Name, "FUNCTION "):
		to.AddAll(spec.Name + " was run")
	}
	for _, i := range s.keys {
		if h, ok := s.long[i]; ok {
			to.add(h)
		} else {
			to.Add(s.args[i])
		}
	}
}

// scriptDeclares says whether a script writes only keys that it declares. Only EVAL shows the text of the script.
func (s *skimmer) scriptDeclares(spec *command.Spec) bool {
	if spec.Name != "EVAL" || len(s.args) < 2 {
		return false
	}
	_, cut := s.long[1]
	return !cut && command.DeclaresKeys(string(s.args[1]))
}
