package servers

import (
	"fmt"
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
	if _, err := s.host.run(s.process.start()); err != nil {
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

// Log returns the last lines of the server's log, or why there is none.
func (s *Server) Log(lines int) string {
	text, err := s.host.run(fmt.Sprintf("tail -n %d %s/log", lines, s.process.dir()))
	if err != nil {
		return err.Error()
	}
	return text
}

func (s *Server) signal(name string) {
	s.t.Helper()
	if _, err := s.host.run(s.process.signal(name)); err != nil {
		s.t.Fatalf("%s: %v", s.Addr, err)
	}
}
