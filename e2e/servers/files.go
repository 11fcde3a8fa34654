package servers

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// CopyData copies the files of the server's data directory (its RDB, its AOF) below a local directory.
func (s *Server) CopyData(to string) {
	s.t.Helper()
	dir := s.process.dir()
	list, err := run(s.container, "cd "+dir+" && find . -type f")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range strings.Fields(list) {
		if err := s.copyFile(dir+"/"+name, filepath.Join(to, name)); err != nil {
			s.t.Fatalf("copy %s of %s: %v", name, s.Addr, err)
		}
	}
}

func (s *Server) copyFile(from, to string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	r, err := s.container.CopyFileFromContainer(ctx, from)
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}
