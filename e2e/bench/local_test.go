//go:build bench

package bench

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"surecut/e2e/dataset"
)

// server is one local redis-server process.
type server struct {
	addr string
	port string
	side *dataset.Side
	cmd  *exec.Cmd
}

func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String()}
	l.Close()
	_, s.port, _ = net.SplitHostPort(s.addr)
	dir, err := os.MkdirTemp("", "surecut-bench-")
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{
		"--port", s.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir, "--logfile", filepath.Join(dir, "log"),
		"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "swapdb",
		"--client-output-buffer-limit", "replica", "0", "0", "0", "--repl-backlog-size", "64mb",
	}, args...)
	s.cmd = exec.Command("redis-server", args...)
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("redis-server must be installed: %v", err)
	}
	t.Cleanup(func() {
		s.stop()
		os.RemoveAll(dir)
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if s.side, err = dataset.Open(t.Context(), []string{s.addr}, ""); err == nil {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// stop ends the server before its test does, to give its memory back.
func (s *server) stop() {
	if s.cmd.ProcessState != nil {
		return
	}
	s.side.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // killed: its status says nothing
}

func (s *server) url() string { return "redis://" + s.addr }

// surecut is one run of the binary with its peak of resident memory.
type surecut struct {
	cmd    *exec.Cmd
	lines  chan string // of stderr
	peak   atomic.Int64
	ended  chan error
	stderr strings.Builder // read after ended
}

func startSurecut(t *testing.T, args ...string) *surecut {
	t.Helper()
	s := &surecut{cmd: exec.Command(binary, args...), lines: make(chan string, 10_000), ended: make(chan error, 1)}
	s.cmd.Dir = t.TempDir()
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				s.peak.Store(max(s.peak.Load(), highWater(s.cmd.Process.Pid)))
			}
		}
	}()
	go func() {
		defer close(stop)
		lines := bufio.NewScanner(pipe)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			fmt.Fprintln(&s.stderr, lines.Text())
			select {
			case s.lines <- lines.Text():
			default: // nobody reads any more
			}
		}
		close(s.lines)
		s.ended <- s.cmd.Wait()
	}()
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	return s
}

// wait waits for a good end.
func (s *surecut) wait(t *testing.T) {
	t.Helper()
	if err := <-s.ended; err != nil {
		t.Fatalf("surecut %v: %v\n%.4000s", s.cmd.Args[1:], err, s.stderr.String())
	}
}

// waitPhase reads progress until a phase comes.
func (s *surecut) waitPhase(t *testing.T, phase string) {
	t.Helper()
	for line := range s.lines {
		if strings.Contains(line, `"phase":"`+phase+`"`) && strings.Contains(line, `"event":"progress"`) {
			return
		}
	}
	t.Fatalf("surecut ended before phase %s\n%.4000s", phase, s.stderr.String())
}

// highWater gives a process's peak of resident memory in bytes; 0 where it has ended.
func highWater(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err == nil {
				return kb << 10
			}
		}
	}
	return 0
}
