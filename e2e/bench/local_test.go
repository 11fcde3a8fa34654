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
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/dataset"
)

// deployment is a standalone server, or a cluster of primaries, of local redis-server processes.
type deployment struct {
	ports []string
	side  *dataset.Side
	nodes []*exec.Cmd
}

// startServer starts a standalone server.
func startServer(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{}
	d.start(t)
	d.open(t)
	return d
}

// startCluster starts a cluster of so many primaries.
func startCluster(t *testing.T, primaries int) *deployment {
	t.Helper()
	d := &deployment{}
	args := []string{"--cluster", "create"}
	for range primaries {
		d.start(t, "--cluster-enabled", "yes", "--cluster-port", freePort(t))
		args = append(args, d.addrs()[len(d.ports)-1])
	}
	var out []byte
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) { // until all nodes answer
		var err error
		if out, err = exec.Command("redis-cli", append(args, "--cluster-yes")...).CombinedOutput(); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("create a cluster: %v\n%s", err, out)
		}
	}
	d.open(t)
	return d
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// start starts one process.
func (d *deployment) start(t *testing.T, more ...string) {
	t.Helper()
	port := freePort(t)
	dir, err := os.MkdirTemp("", "surecut-bench-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", append([]string{
		"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir, "--logfile", filepath.Join(dir, "log"),
		"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "swapdb",
		"--client-output-buffer-limit", "replica", "0", "0", "0", "--repl-backlog-size", "64mb",
	}, more...)...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("redis-server must be installed: %v", err)
	}
	d.ports, d.nodes = append(d.ports, port), append(d.nodes, cmd)
	t.Cleanup(func() {
		d.stop()
		os.RemoveAll(dir)
	})
}

// open connects once the deployment answers.
func (d *deployment) open(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if d.side, err = dataset.Open(t.Context(), d.addrs(), ""); err == nil && d.side.Cluster {
			var client rueidis.Client
			if client, err = d.side.Client(0); err == nil {
				err = client.Do(t.Context(), client.B().Get().Key("any").Build()).Error()
			}
			if rueidis.IsRedisNil(err) {
				err = nil
			}
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// stop ends the processes before the test does, to give their memory back.
func (d *deployment) stop() {
	if d.side != nil {
		d.side.Close()
	}
	for _, n := range d.nodes {
		_ = n.Process.Kill()
		_ = n.Wait() // killed: its status says nothing
	}
	d.nodes = nil
}

func (d *deployment) addrs() []string {
	addrs := make([]string, len(d.ports))
	for i, port := range d.ports {
		addrs[i] = "127.0.0.1:" + port
	}
	return addrs
}

func (d *deployment) url() string {
	if len(d.ports) > 1 {
		return "redis+cluster://" + strings.Join(d.addrs(), ",")
	}
	return "redis://" + d.addrs()[0]
}

// cpu returns the CPU time of the deployment's processes, those that made snapshots included.
func (d *deployment) cpu() (sum time.Duration) {
	for _, n := range d.nodes {
		sum += cpuOf(n.Process.Pid)
	}
	return sum
}

// cpuOf returns the CPU time of a process and of its children that have ended; 0 where it has ended itself.
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, ok := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if err != nil || !ok || len(fields) < 15 {
		return 0
	}
	var ticks int64
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(field, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ is 100 on every machine that Go runs on
}

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
				s.peak.Store(max(s.peak.Load(), statusOf(s.cmd.Process.Pid, "VmHWM")))
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

// copyAll runs a full copy to its end.
func copyAll(t *testing.T, source, target *deployment) *surecut {
	t.Helper()
	s := startSurecut(t, "migrate", "--source", source.url(), "--target", target.url(), "--mode", "full", "--accept-alarms", "--progress", "none")
	s.wait(t)
	return s
}

// migrate starts a migration, and waits until it has caught up.
func migrate(t *testing.T, source *deployment, target string, more ...string) *surecut {
	t.Helper()
	s := startSurecut(t, append([]string{"migrate", "--source", source.url(), "--target", target, "--accept-alarms", "--progress", "json", "--state", t.TempDir()}, more...)...)
	for line := range s.lines {
		if strings.Contains(line, `"phase":"caught_up"`) && strings.Contains(line, `"event":"progress"`) {
			return s
		}
	}
	t.Fatalf("surecut ended before it had caught up\n%.4000s", s.stderr.String())
	return nil
}

func (s *surecut) cpu() time.Duration { return cpuOf(s.cmd.Process.Pid) }

// spent returns the CPU time of a run that has ended.
func (s *surecut) spent() time.Duration {
	return s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
}

// stop stops a migration, and waits for its good end.
func (s *surecut) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.wait(t)
}

// wait waits for a good end.
func (s *surecut) wait(t *testing.T) {
	t.Helper()
	if err := <-s.ended; err != nil {
		t.Fatalf("surecut %v: %v\n%.4000s", s.cmd.Args[1:], err, s.stderr.String())
	}
}

// statusOf returns a size of a process in bytes, from /proc: VmRSS, or VmHWM for its peak; 0 where it has ended.
func statusOf(pid int, name string) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err == nil {
				return kb << 10
			}
		}
	}
	return 0
}
