package stream

import (
	"bufio"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"surecut/internal/command"
	"surecut/internal/durable"
)

// mostScripts bounds the texts of scripts that are kept, in bytes. The oldest are dropped first.
const mostScripts = 64 << 20

// Scripts holds the scripts that a source has sent, by their SHA1. Until 5.0 a source replicates the calls of scripts, and names a script
// that a replica has seen before by its SHA1 only. The scripts are kept in a file, since a run that resumes does not receive them again.
//
// A record is: length of the text (uvarint), text, SHA1 of the text.
type Scripts struct {
	mu    sync.Mutex
	path  string
	most  int
	f     *os.File
	size  int64 // size of the file
	dirty bool
	texts map[scriptID]string
	order []scriptID // oldest first
	bytes int        // total length of the texts
}

type scriptID [sha1.Size]byte

// OpenScripts opens the file with the scripts that were seen before.
func OpenScripts(path string) (*Scripts, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the list of scripts: %w", err)
	}
	s := &Scripts{path: path, most: mostScripts, f: f, texts: map[scriptID]string{}}
	if err := s.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the list of scripts: %w", err), f.Close())
	}
	return s, nil
}

// read reads the records of the file. It cuts the file before a record that a crash has cut off, so that a new record is not read as the
// rest of that one.
func (s *Scripts) read() error {
	r := bufio.NewReader(s.f)
	for {
		text, err := readScript(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errScriptDamaged) {
			return s.f.Truncate(s.size)
		}
		if err != nil {
			return err
		}
		s.size += int64(len(appendScript(nil, text)))
		s.keep(sha1.Sum([]byte(text)), text)
	}
}

var errScriptDamaged = errors.New("the SHA1 of a script does not match its text")

func readScript(r *bufio.Reader) (string, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return "", err
	}
	if n > mostScripts {
		return "", errScriptDamaged
	}
	buf := make([]byte, int(n)+sha1.Size)
	if _, err := io.ReadFull(r, buf); err != nil {
		return "", err
	}
	if sum := sha1.Sum(buf[:n]); string(sum[:]) != string(buf[n:]) {
		return "", errScriptDamaged
	}
	return string(buf[:n]), nil
}

func appendScript(buf []byte, text string) []byte {
	buf = append(binary.AppendUvarint(buf, uint64(len(text))), text...)
	sum := sha1.Sum([]byte(text))
	return append(buf, sum[:]...)
}

// keep adds a script, and says whether it is a new one.
func (s *Scripts) keep(id scriptID, text string) bool {
	if _, known := s.texts[id]; known {
		return false
	}
	s.texts[id] = text
	s.order = append(s.order, id)
	s.bytes += len(text)
	for s.bytes > s.most {
		s.bytes -= len(s.texts[s.order[0]])
		delete(s.texts, s.order[0])
		s.order = s.order[1:]
	}
	return true
}

// Add adds a script. save makes that durable.
func (s *Scripts) Add(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(text) > s.most || !s.keep(sha1.Sum([]byte(text)), text) {
		return nil
	}
	record := appendScript(nil, text)
	if _, err := s.f.WriteAt(record, s.size); err != nil {
		return fmt.Errorf("write the list of scripts: %w", err)
	}
	s.size += int64(len(record))
	s.dirty = true
	if s.size > 2*int64(s.most)+1<<20 {
		return s.compact()
	}
	return nil
}

// compact writes the file anew with the scripts that are still kept.
func (s *Scripts) compact() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("rewrite the list of scripts: %w", err)
		}
	}()
	f, err := os.OpenFile(s.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	size := int64(0)
	for _, id := range s.order {
		record := appendScript(nil, s.texts[id])
		if _, err := f.WriteAt(record, size); err != nil {
			return errors.Join(err, f.Close())
		}
		size += int64(len(record))
	}
	if err := errors.Join(f.Sync(), os.Rename(s.path+".new", s.path), durable.SyncDir(filepath.Dir(s.path))); err != nil {
		return errors.Join(err, f.Close())
	}
	old := s.f
	s.f, s.size, s.dirty = f, size, false
	return old.Close()
}

// text returns the script with a SHA1, which is given in hexadecimal digits of any case.
func (s *Scripts) text(digits []byte) (string, bool) {
	var id scriptID
	if len(digits) != 2*len(id) {
		return "", false
	}
	if _, err := hex.Decode(id[:], digits); err != nil {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text, ok := s.texts[id]
	return text, ok
}

// Save makes durable what was added. It is called before a checkpoint is saved.
func (s *Scripts) Save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty {
		return nil
	}
	if err := s.f.Sync(); err != nil {
		return fmt.Errorf("save the list of scripts: %w", err)
	}
	s.dirty = false
	return nil
}

// Close saves the scripts and closes the file.
func (s *Scripts) Close() error { return errors.Join(s.Save(), s.f.Close()) }

// byText returns a call of a script with its text in place of its SHA1, which the target, or one of its nodes, may not know. The call of a
// script that was never seen stays as it is; if the target does not know it either, its declared keys are copied.
func (p *planner) byText(c *sourceCommand, spec *command.Spec) (*sourceCommand, error) {
	switch {
	case len(c.args) < 2:
	case spec.Name == "EVAL":
		return c, p.Scripts.Add(string(c.args[1]))
	case spec.Name == "EVALSHA":
		if text, ok := p.Scripts.text(c.args[1]); ok {
			by := *c
			by.args = append([][]byte{[]byte("EVAL"), []byte(text)}, c.args[2:]...)
			return &by, nil
		}
	}
	return c, nil
}
