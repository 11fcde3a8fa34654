package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Part is one file of a source.
type Part struct {
	Path string
	Size int64 // when the source was opened; bytes that are appended later do not belong to the source
}

// Source is the data that one server would load.
type Source struct {
	Path  string // as it was named
	AOF   bool
	Parts []Part // in the order in which they are loaded
	rdb   bool   // the first part begins with an RDB
}

// OpenRDB returns a source that is the RDB file at path.
func OpenRDB(path string) (*Source, error) {
	s := &Source{Path: path}
	if err := s.add(path); err != nil {
		return nil, err
	}
	s.rdb = true
	return s, nil
}

// OpenAOF finds the parts of an AOF. The path names the single file of servers before 7.0, or the directory or the manifest that
// servers keep since 7.0. For a name such as appendonly.aof it also looks in the directory appendonlydir beside it, where Redis
// puts the manifest.
func OpenAOF(path string) (*Source, error) {
	s := &Source{Path: path, AOF: true}
	file, manifest, err := locate(path)
	if err != nil {
		return nil, err
	}
	names := []string{file}
	if manifest {
		if names, err = listed(file); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	for _, name := range names {
		if err := s.add(name); err != nil {
			return nil, err
		}
	}
	if len(s.Parts) == 0 {
		return nil, fmt.Errorf("%s names no file that can be loaded", file)
	}
	return s, s.lookForRDB()
}

// locate returns the file that represents the AOF, and whether it is a manifest.
func locate(path string) (file string, manifest bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		if beside := filepath.Join(filepath.Dir(path), "appendonlydir"); exists(filepath.Join(beside, filepath.Base(path)+".manifest")) {
			return filepath.Join(beside, filepath.Base(path)+".manifest"), true, nil
		}
	}
	switch {
	case err != nil:
		return "", false, fmt.Errorf("AOF: %w", err)
	case info.IsDir():
		file, err = manifestIn(path)
		return file, err == nil, err
	case strings.HasSuffix(path, ".manifest"):
		return path, true, nil
	}
	if at := strings.LastIndex(path, ".aof."); at >= 0 && exists(path[:at+4]+".manifest") {
		return "", false, fmt.Errorf("%s is one part of an AOF of several files; name the directory: aof:%s", path, filepath.Dir(path))
	}
	return path, false, nil
}

func manifestIn(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.manifest"))
	if err != nil {
		return "", fmt.Errorf("AOF: %w", err)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("%s contains no manifest of an AOF (*.manifest); name the directory of the server's setting appenddirname, or the file of an AOF from before 7.0", dir)
	}
	return "", fmt.Errorf("%s contains %d manifests; name one of them: %s", dir, len(found), strings.Join(found, ", "))
}

// escapeGlob returns a pattern that matches only the path itself.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

func listed(manifest string) ([]string, error) {
	f, err := os.Open(manifest)
	if err != nil {
		return nil, err
	}
	entries, err := parseManifest(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = filepath.Join(filepath.Dir(manifest), e.name)
	}
	return names, nil
}

func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func (s *Source) add(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	s.Parts = append(s.Parts, Part{Path: path, Size: info.Size()})
	return nil
}

func (s *Source) lookForRDB() error {
	f, err := os.Open(s.Parts[0].Path)
	if err != nil {
		return err
	}
	magic := make([]byte, 6)
	n, err := io.ReadFull(f, magic)
	if err = errors.Join(ignoreEnd(err), f.Close()); err != nil {
		return err
	}
	s.rdb = strings.HasPrefix(string(magic[:n]), "REDIS") || string(magic[:n]) == "VALKEY"
	return nil
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// Size returns the number of bytes in all parts.
func (s *Source) Size() (n int64) {
	for _, p := range s.Parts {
		n += p.Size
	}
	return n
}

// HasRDB says whether the source begins with an RDB.
func (s *Source) HasRDB() bool { return s.rdb }

// RDB reads the first part from its beginning. In an AOF, commands may follow the RDB.
func (s *Source) RDB() (io.ReadCloser, error) { return s.Parts[0].open(0) }

// open reads a part from a byte to where the part ended when the source was opened.
func (p Part) open(from int64) (io.ReadCloser, error) {
	f, err := os.Open(p.Path)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, from, p.Size-from), f}, nil
}

// Where converts a byte of the source to a file and a byte of that file.
func (s *Source) Where(offset int64) (path string, at int64) {
	for i, p := range s.Parts {
		if offset < p.Size || i == len(s.Parts)-1 {
			return p.Path, offset
		}
		offset -= p.Size
	}
	return s.Path, offset
}

// Fingerprint distinguishes this source from one that has been written or replaced since. It covers the names and sizes of the
// parts, and their first and last 64 KiB.
func (s *Source) Fingerprint() (string, error) {
	sum := xxhash.New()
	for _, p := range s.Parts {
		fmt.Fprintf(sum, "%s\x00%d\x00", filepath.Base(p.Path), p.Size)
		for _, from := range slices.Compact([]int64{0, max(p.Size-fingerprinted, 0)}) {
			r, err := p.open(from)
			if err != nil {
				return "", err
			}
			_, err = io.CopyN(sum, r, fingerprinted)
			if err = errors.Join(ignoreEnd(err), r.Close()); err != nil {
				return "", fmt.Errorf("read %s: %w", p.Path, err)
			}
		}
	}
	return fmt.Sprintf("%s-%d-%016x", map[bool]string{false: "rdb", true: "aof"}[s.AOF], s.Size(), sum.Sum64()), nil
}

const fingerprinted = 64 << 10

// Expand returns the files that a list names. The list has names between commas, each of which may be a pattern as in the shell.
func Expand(path string) ([]string, error) {
	var out []string
	for part := range strings.SplitSeq(path, ",") {
		if part = strings.TrimSpace(part); part == "" {
			return nil, fmt.Errorf("%s: there is an empty name between commas", path)
		}
		found := []string{part}
		if _, err := os.Stat(part); err != nil && strings.ContainsAny(part, "*?[") {
			if found, err = filepath.Glob(part); err != nil {
				return nil, fmt.Errorf("%s: %w", part, err)
			}
			if len(found) == 0 {
				return nil, fmt.Errorf("%s matches no file", part)
			}
		}
		for _, name := range found {
			if slices.Contains(out, name) {
				return nil, fmt.Errorf("%s is named twice", name)
			}
			out = append(out, name)
		}
	}
	return out, nil
}
