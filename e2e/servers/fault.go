package servers

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// Kill ends the process with SIGKILL and returns when its port is closed.
func (s *Server) Kill() {
	s.t.Helper()
	s.signal("KILL")
	s.waitFor("end", func() error {
		if c, err := net.DialTimeout("tcp", s.Addr, time.Second); err == nil {
			c.Close()
			return fmt.Errorf("port still open")
		}
		return nil
	})
}

// Restart starts the process again, after Kill or while it runs, with the same arguments and its directory as it was,
// and returns when it answers.
func (s *Server) Restart() {
	s.t.Helper()
	if c, err := net.DialTimeout("tcp", s.Addr, time.Second); err == nil {
		c.Close()
		s.Kill()
	}
	s.closeClients()
	if _, err := run(s.container, s.process.start()); err != nil {
		s.t.Fatalf("restart %s: %v", s.Addr, err)
	}
	s.ready()
}

// Pause stops the process with SIGSTOP: connections stay open, nothing answers.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal("STOP")
}

// Resume undoes Pause.
func (s *Server) Resume() {
	s.t.Helper()
	s.signal("CONT")
}

// Log gives the last lines of the server's log. A server that could not read its options has none: then it is what
// the container printed.
func (s *Server) Log(lines int) string {
	text, err := run(s.container, fmt.Sprintf("tail -n %d %s/log", lines, s.process.dir()))
	if err == nil {
		return text
	}
	out, err := s.container.Logs(context.Background())
	if err != nil {
		return err.Error()
	}
	defer out.Close()
	printed, err := io.ReadAll(out)
	if err != nil {
		return err.Error()
	}
	return string(printed)
}

func (s *Server) signal(name string) {
	s.t.Helper()
	if _, err := run(s.container, fmt.Sprintf("kill -%s $(cat %s/pid)", name, s.process.dir())); err != nil {
		s.t.Fatalf("%s: %v", s.Addr, err)
	}
}
