package servers

import "fmt"

// CopyData copies the files of the server's data directory (its RDB, its AOF) to a directory below os.TempDir.
func (s *Server) CopyData(to string) {
	s.t.Helper()
	if _, err := s.host.run(fmt.Sprintf("mkdir -p '%[2]s' && cp -R %[1]s/. '%[2]s' && chmod -R a+rwX '%[2]s'", s.process.dir(), to)); err != nil {
		s.t.Fatalf("copy the data of %s: %v", s.Addr, err)
	}
}
