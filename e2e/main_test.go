//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// binary is the surecut under test, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	if binary = os.Getenv("SURECUT_BINARY"); binary != "" {
		return run(m) // another version, judged by the same means
	}
	dir, err := os.MkdirTemp("", "surecut-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "surecut")
	if out, err := exec.Command("go", "build", "-o", binary, "surecut/cmd/surecut").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build surecut: %v\n%s", err, out)
		return 1
	}
	return run(m)
}

func run(m *testing.M) int {
	status := m.Run()
	matrixMu.Lock()
	defer matrixMu.Unlock()
	slices.Sort(matrix)
	for _, line := range matrix {
		fmt.Println(line)
		servers.Note(line)
	}
	return status
}

var (
	matrix   []string // one line per cell; guarded by matrixMu
	matrixMu sync.Mutex
)

// note puts a line into the matrix.
func note(format string, args ...any) {
	matrixMu.Lock()
	defer matrixMu.Unlock()
	matrix = append(matrix, fmt.Sprintf(format, args...))
}

// Tests run side by side, but not all of them: each takes servers, load and the binary on the same few cores. make e2e lets all begin
// (-parallel), so that these rooms alone bound them.
var (
	working = make(chan struct{}, 2) // tests with load
	waiting = make(chan struct{}, 2) // tests that mostly wait: for a quiet time, a phase or a failure
)

// beside runs a test beside others, as soon as its room has a place.
func beside(t *testing.T, room chan struct{}) {
	t.Helper()
	t.Parallel()
	room <- struct{}{}
	t.Cleanup(func() { <-room })
}

// surecut is one run of the binary.
type surecut struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer
	done   chan struct{} // closed when it has ended and all output was read

	mu     sync.Mutex
	stderr []string
	events []progress
}

// progress is what --progress json prints, as far as the tests read it.
type progress struct {
	Event string `json:"event"`
	Phase string `json:"phase"`
	Level string `json:"level"`
	Links []struct {
		Phase    string `json:"phase"`
		LagBytes int64  `json:"lag_bytes"`
		Keys     int64  `json:"keys"`
	} `json:"links"`
}

// start runs surecut in an empty directory of its own; it is killed with the test.
func start(t *testing.T, args ...string) *surecut {
	t.Helper()
	return startWith(t, nil, args...)
}

func startWith(t *testing.T, env []string, args ...string) *surecut {
	t.Helper()
	s := &surecut{t: t, cmd: exec.Command(binary, args...), done: make(chan struct{})}
	s.cmd.Dir = t.TempDir()
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stdout = &s.stdout
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go s.read(stderr)
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.done
	})
	return s
}

func (s *surecut) read(stderr io.Reader) {
	defer close(s.done)
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			s.take(strings.TrimRight(line, "\n"))
		}
		if err != nil {
			break
		}
	}
	_ = s.cmd.Wait() // the exit status is in ProcessState
}

func (s *surecut) take(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p progress
	if json.Unmarshal([]byte(line), &p) == nil && p.Event != "" {
		s.events = append(s.events, p)
		return
	}
	s.stderr = append(s.stderr, line)
}

// seen gives the progress events so far.
func (s *surecut) seen() []progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// talk gives stderr without the progress.
func (s *surecut) talk() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.stderr, "\n")
}

// tellIfFailed logs where a run stands whose test has failed for another reason.
func (s *surecut) tellIfFailed() {
	if !s.t.Failed() {
		return
	}
	events := s.seen()
	s.t.Logf("surecut %v: %d reports, the last %+v\nstderr: %.20000s", s.cmd.Args[1:], len(events), events[max(0, len(events)-5):], s.talk())
}

// waitFor polls the events after the given number until one fits, and fails when the run ends first.
func (s *surecut) waitFor(what string, after int, within time.Duration, fits func(progress) bool) {
	s.t.Helper()
	deadline := time.Now().Add(within)
	for {
		events := s.seen()
		if slices.ContainsFunc(events[min(after, len(events)):], fits) {
			return
		}
		select {
		case <-s.done:
			s.t.Fatalf("surecut ended with status %d before %s\nstdout: %.3000s\nstderr: %.60000s", s.cmd.ProcessState.ExitCode(), what, s.stdout.String(), s.talk())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			last := progress{}
			if len(events) > 0 {
				last = events[len(events)-1]
			}
			s.t.Fatalf("no %s within %v; last progress %+v\nstderr: %.60000s", what, within, last, s.talk())
		}
	}
}

func (s *surecut) waitPhase(phase string, within time.Duration) {
	s.t.Helper()
	s.waitFor("phase "+phase, 0, within, func(p progress) bool { return p.Phase == phase })
}

// waitDrained waits until a report made from now on says that nothing is on its way.
func (s *surecut) waitDrained(within time.Duration) {
	s.t.Helper()
	// The report after next: the next one may have been measured before.
	s.waitFor("lag of 0", len(s.seen())+1, within, func(p progress) bool {
		var lag int64
		for _, l := range p.Links {
			lag += l.LagBytes
		}
		return lag == 0
	})
}

// end waits for the exit status.
func (s *surecut) end(within time.Duration) int {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(within):
		_ = s.cmd.Process.Signal(syscall.SIGQUIT)
		<-s.done
		s.t.Fatalf("surecut %v did not end within %v\nstderr: %.90000s", s.cmd.Args[1:], within, s.talk())
	}
	return s.cmd.ProcessState.ExitCode()
}

// stop sends SIGTERM and waits for the exit status.
func (s *surecut) stop(within time.Duration) int {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	return s.end(within)
}

// want fails the test where the status is another.
func (s *surecut) want(got, want int) {
	s.t.Helper()
	if got != want {
		s.t.Fatalf("surecut %v: status %d, want %d\nstdout: %.3000s\nstderr: %.60000s", s.cmd.Args[1:], got, want, s.stdout.String(), s.talk())
	}
}

// open gives the test's own view of a deployment.
func open(t *testing.T, nodes []*servers.Server) *dataset.Side {
	t.Helper()
	addrs := make([]string, len(nodes))
	for i, n := range nodes {
		addrs[i] = n.Addr
	}
	side, err := dataset.Open(t.Context(), addrs, nodes[0].Password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(side.Close)
	return side
}

// same compares by the tests' own means and fails on any difference.
func same(t *testing.T, p dataset.Pair, o dataset.CompareOptions) *dataset.Result {
	t.Helper()
	result, err := dataset.Compare(t.Context(), p, o)
	if err != nil {
		t.Fatalf("compare: %v", err)
	}
	if result.Count != 0 {
		t.Fatalf("compare: %v", result)
	}
	return result
}
