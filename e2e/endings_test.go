//go:build e2e

package e2e

import (
	"cmp"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// night is a source and a target, on which each run begins anew.
type night struct {
	t              *testing.T
	source, target *servers.Server
	out            string // of the current run
}

func newNight(t *testing.T) *night {
	t.Helper()
	n := &night{t: t, source: servers.Standalone(t, "redis:7.0"), target: servers.Standalone(t, "redis:7.0")}
	if _, err := dataset.Fill(t.Context(), open(t, []*servers.Server{n.source}), dataset.Options{Seed: 1, Keys: 5000, NoShortTTL: true}); err != nil {
		t.Fatal(err)
	}
	return n
}

// migrate begins a migration into an empty target, with a directory of its own for the reports.
func (n *night) migrate(more ...string) *surecut {
	n.t.Helper()
	empty(n.target)
	n.out = filepath.Join(n.t.TempDir(), "out")
	return n.run(append([]string{"migrate", "--accept-alarms", "--progress", "json", "--state", n.t.TempDir(), "--out", n.out}, more...)...)
}

func (n *night) run(args ...string) *surecut {
	n.t.Helper()
	return start(n.t, append([]string{args[0], "--source", n.source.URL(), "--target", n.target.URL()}, args[1:]...)...)
}

// waitTalk waits until stderr says something.
func (s *surecut) waitTalk(what string) {
	s.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(s.talk(), what); time.Sleep(2 * time.Millisecond) {
		select {
		case <-s.done:
			if !strings.Contains(s.talk(), what) {
				s.t.Fatalf("surecut ended with status %d before it said %q\nstdout: %.3000s\nstderr: %.9000s", s.cmd.ProcessState.ExitCode(), what, s.stdout.String(), s.talk())
			}
			return
		default:
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("surecut did not say %q\nstderr: %.9000s", what, s.talk())
		}
	}
}

func (s *surecut) waitSnapshot() {
	s.t.Helper()
	s.waitFor("keys of the snapshot", 0, time.Minute, func(p progress) bool { return p.Phase == "snapshot" && len(p.Links) > 0 && p.Links[0].Keys > 0 })
}

func (s *surecut) send(signals ...syscall.Signal) {
	s.t.Helper()
	for _, sig := range signals {
		if err := s.cmd.Process.Signal(sig); err != nil {
			s.t.Fatal(err)
		}
	}
}

// ends holds how a migration ended against what its directory says of it: how the run ended, and that only a GO is a GO.
func (n *night) ends(s *surecut, status int, ended, state string) {
	t := n.t
	t.Helper()
	s.want(s.end(2*time.Minute), status)
	var report struct {
		State, Ended string
		Why          string `json:"ended_why"`
	}
	if readJSON(t, filepath.Join(n.out, "migrate.json"), &report); report.Ended != ended || report.State != state || (ended == "complete") != (report.Why == "") {
		t.Errorf("the report says ended %s, state %s, %q; want %s, %s", report.Ended, report.State, report.Why, ended, state)
	}
	var gate struct{ Verdict string }
	if _, err := os.Stat(filepath.Join(n.out, "gate.json")); err == nil {
		readJSON(t, filepath.Join(n.out, "gate.json"), &gate)
	}
	untilSame := slices.Contains(s.cmd.Args, "same")
	if isGo := gate.Verdict == "GO"; isGo != (untilSame && status == 0) {
		t.Errorf("the gate says %q, and the status is %d", gate.Verdict, status)
	}
	if status == 0 && (untilSame || slices.Contains(s.cmd.Args, "scan")) {
		return
	}
	g := start(t, "gate", n.out)
	g.want(g.end(time.Minute), 3)
	if ended != "complete" && !strings.Contains(strings.Join(strings.Fields(g.stdout.String()), " "), "proves nothing") {
		t.Errorf("the gate does not say why the run proves nothing: %s", g.stdout.String())
	}
}

const (
	slow  = "--rate-limit=256KiB" // the snapshot takes some seconds
	never = "--quiet-for=10m"     // the quiet time does not end by itself
)

// TestEndings: the exit status of a migration is that of its goal, whatever ends it and whenever.
func TestEndings(t *testing.T) {
	beside(t, waiting)
	n := newNight(t)
	const interrupt, terminate, hangUp = syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP
	for _, c := range []struct {
		name   string
		args   []string
		until  func(s *surecut) // the moment
		send   []syscall.Signal
		status int
		ended  string
		state  string
	}{
		{"no goal, one signal in the snapshot", []string{slow}, (*surecut).waitSnapshot, []syscall.Signal{terminate}, 130, "interrupted", "stopped"},
		{"no goal, two signals in the snapshot", []string{slow}, (*surecut).waitSnapshot, []syscall.Signal{interrupt, terminate}, 130, "interrupted", "stopped"},
		{"no goal, one signal when caught up", nil, caughtUp, []syscall.Signal{terminate}, 0, "complete", "stopped"},
		{"no goal, two signals when caught up", nil, caughtUp, []syscall.Signal{interrupt, terminate}, 130, "interrupted", "stopped"},
		{"full copy, done", []string{"--mode", "full"}, nil, nil, 0, "complete", "done"},
		{"full copy, one signal in the snapshot", []string{"--mode", "full", slow}, (*surecut).waitSnapshot, []syscall.Signal{terminate}, 130, "interrupted", "stopped"},
		{"until caught up, done", []string{"--until", "caught-up"}, nil, nil, 0, "complete", "done"},
		{"until caught up, one signal in the snapshot", []string{"--until", "caught-up", slow}, (*surecut).waitSnapshot, []syscall.Signal{terminate}, 130, "interrupted", "stopped"},
		{"until same, GO", []string{"--until", "same", "--quiet-for", "1s"}, nil, nil, 0, "complete", "done"},
		{"until same, one signal in the snapshot", []string{"--until", "same", slow}, (*surecut).waitSnapshot, []syscall.Signal{terminate}, 130, "interrupted", "stopped"},
		{"until same, one signal while it verifies", []string{"--until", "same", never}, says("verifying"), []syscall.Signal{terminate}, 130, "interrupted", "stopped"},
		{"until same, two signals while it verifies", []string{"--until", "same", never}, says("verifying"), []syscall.Signal{interrupt, terminate}, 130, "interrupted", "stopped"},
		{"until same, one signal in the quiet time", []string{"--until", "same", never}, says("nobody writes to"), []syscall.Signal{terminate}, 130, "interrupted", "stopped"},
		{"no goal, the terminal is closed in the snapshot", []string{slow}, (*surecut).waitSnapshot, []syscall.Signal{hangUp, hangUp}, 130, "interrupted", "stopped"},
		{"no goal, the terminal is closed when caught up", nil, caughtUp, []syscall.Signal{hangUp, hangUp}, 0, "complete", "stopped"},
		{"until same, the terminal is closed in the quiet time", []string{"--until", "same", never}, says("nobody writes to"), []syscall.Signal{hangUp, hangUp}, 130, "interrupted", "stopped"},
		{"until same, two signals in the quiet time", []string{"--until", "same", never}, says("nobody writes to"), []syscall.Signal{interrupt, terminate}, 130, "interrupted", "stopped"},
		{"scanned, both sides agree", []string{"--capture", "scan"}, nil, nil, 0, "complete", "done"},
		{"scanned until same, one signal in the quiet time", []string{"--capture", "scan", "--until", "same", never}, says("nobody writes to"), []syscall.Signal{terminate}, 130, "interrupted", "stopped"},
		{"scanned until same, GO", []string{"--capture", "scan", "--until", "same", "--quiet-for", "1s"}, nil, nil, 0, "complete", "done"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.t = t
			s := n.migrate(c.args...)
			if c.until != nil {
				c.until(s)
				s.send(c.send...)
			}
			n.ends(s, c.status, c.ended, c.state)
			note("endings: migrate, %-55s %3d %s", c.name, c.status, c.ended)
		})
	}
}

// TestSignalWhileTheSourceIsAhead: a run whose way to the source is cut off, and one that cannot know how far the source has come, do not
// end as if everything had arrived. A last write that is on its way when the signal comes arrives.
func TestSignalWhileTheSourceIsAhead(t *testing.T) {
	beside(t, waiting)
	n := newNight(t)
	for _, c := range []struct {
		name   string
		key    string
		cut    bool // the way to the source, before it is written
		status int
		ended  string
	}{
		{name: "the way is open, and a write comes just before the signal", key: "late", status: 0, ended: "complete"},
		{name: "the way is cut, and the source is written", key: "later", cut: true, status: 130, ended: "interrupted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.t = t
			way := newWay(t, n.source.Addr)
			empty(n.target)
			n.out = filepath.Join(t.TempDir(), "out")
			s := start(t, "migrate", "--source", "redis://"+way.addr, "--target", n.target.URL(), "--accept-alarms", "--progress", "json", "--state", t.TempDir(), "--out", n.out)
			caughtUp(s)
			if c.cut {
				way.cut()
			}
			for i := range 100 {
				n.source.Must("SET", c.key+strconv.Itoa(i), "1")
			}
			s.send(syscall.SIGINT)
			n.ends(s, c.status, c.ended, "stopped")
			if arrived := n.target.Must("EXISTS", c.key+"99"); (arrived == int64(1)) == c.cut {
				t.Errorf("the last write: EXISTS says %v", arrived)
			}
			if c.cut && !strings.Contains(s.talk(), "it is not known how far the source") {
				t.Errorf("it does not say what is not known: %s", s.talk())
			}
			note("endings: migrate, %-55s %3d %s", c.name, c.status, c.ended)
		})
	}
}

// way is a TCP relay to a server that can be cut: then nothing passes any more, and nobody is told.
type way struct {
	addr string
	open atomic.Bool
}

func newWay(t *testing.T, to string) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{addr: l.Addr().String()}
	w.open.Store(true)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	pass := func(from, to net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				to.Close()
				return
			}
			if w.open.Load() {
				_, _ = to.Write(buf[:n]) // a failure shows in the next read
			}
		}
	}
	wg.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, a, b)
			mu.Unlock()
			wg.Go(func() { pass(a, b) })
			wg.Go(func() { pass(b, a) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return w
}

func (w *way) cut() { w.open.Store(false) }

// TestNobodyReads: the reader of surecut's output ends while it migrates. The migration goes on to its goal, and says what it has reached
// in its reports; without a report on stdout, the status is not that of the goal.
func TestNobodyReads(t *testing.T) {
	beside(t, waiting)
	n := newNight(t)
	for _, c := range []struct {
		name           string
		stdout, stderr bool // is cut off
		status         int
	}{{"stderr", false, true, 0}, {"stdout", true, false, 1}, {"both", true, true, 1}} {
		empty(n.target)
		out := filepath.Join(t.TempDir(), "out")
		cmd := exec.Command(binary, "migrate", "--source", n.source.URL(), "--target", n.target.URL(), "--accept-alarms", "--progress", "json", slow,
			"--until", "caught-up", "--state", t.TempDir(), "--out", out)
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if c.stdout {
			cmd.Stdout = writer
		}
		if c.stderr {
			cmd.Stderr = writer
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(reader.Close(), writer.Close()); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // the exit status is in ProcessState
		timer.Stop()
		if status := cmd.ProcessState.ExitCode(); status != c.status {
			t.Errorf("%s is not read: status %d, want %d (%v)", c.name, status, c.status, cmd.ProcessState)
		}
		var report struct{ Ended string }
		if readJSON(t, filepath.Join(out, "migrate.json"), &report); report.Ended != "complete" {
			t.Errorf("%s is not read: the report says %q", c.name, report.Ended)
		}
	}
}

func caughtUp(s *surecut) { s.waitPhase("caught_up", time.Minute) }

func says(what string) func(*surecut) { return func(s *surecut) { s.waitTalk(what) } }

// TestEndingsByFault: what is lost or full is a failure, and leaves no verdict.
func TestEndingsByFault(t *testing.T) {
	beside(t, waiting)
	n := newNight(t)
	t.Run("a wrong value, and a signal while it verifies", func(t *testing.T) {
		n.t = t
		n.source.Must("SET", "wrong", "1")
		s := n.migrate("--until", "same")
		s.waitPhase("caught_up", time.Minute)
		n.target.Must("SET", "wrong", "2")
		s.send(syscall.SIGTERM)
		if status := s.end(time.Minute); status != 130 && status != 3 { // the verdict may have come first
			t.Errorf("status %d, want 130", status)
		}
		n.source.Must("DEL", "wrong")
	})
	t.Run("disk of the reports full", func(t *testing.T) {
		n.t = t
		disk, fill := smallDisk(t)
		empty(n.target)
		s := n.run("migrate", "--accept-alarms", "--progress", "json", "--state", t.TempDir(), "--out", filepath.Join(disk, "out"), "--until", "same", "--quiet-for", "2s")
		s.waitTalk("nobody writes to")
		fill()
		s.want(s.end(time.Minute), 1)
		if _, err := os.Stat(filepath.Join(disk, "out", "gate.json")); err == nil {
			t.Error("a verdict without the reports that it rests on")
		}
		v := n.run("verify", "--out", filepath.Join(disk, "out"))
		v.want(v.end(time.Minute), 1)
		note("endings: migrate, %-55s %3d no report", "disk of the reports full", 1)
	})
	for _, c := range []struct {
		name string
		args []string
		at   func(*surecut)
		lost func() *servers.Server
	}{
		{"target lost", nil, caughtUp, func() *servers.Server { return n.target }},
		{"until same, target lost in the quiet time", []string{"--until", "same", never}, says("nobody writes to"), func() *servers.Server { return n.target }},
		{"until same, source lost in the quiet time", []string{"--until", "same", never}, says("nobody writes to"), func() *servers.Server { return n.source }},
		{"source lost", nil, caughtUp, func() *servers.Server { return n.source }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.t = t
			s := n.migrate(append(c.args, "--retry-for", "1s")...)
			c.at(s)
			c.lost().Kill()
			n.ends(s, 1, "failed", "failed")
			c.lost().Restart()
			n.source.Must("SET", "key", "value")
			note("endings: migrate, %-55s %3d failed", c.name, 1)
		})
	}
}

// smallDisk is a file system that can be filled. It needs the right to mount.
func smallDisk(t *testing.T) (dir string, fill func()) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatalf("mount a small file system, which needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir, func() {
		f, err := os.Create(filepath.Join(dir, "fill"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for block := make([]byte, 4096); err == nil; {
			_, err = f.Write(block)
		}
	}
}

// TestEndingsOfOthers: a signal ends each command with 130, while it waits for a server that does not answer as well, and its directory
// holds that it was interrupted, not the verdict of the run before.
func TestEndingsOfOthers(t *testing.T) {
	beside(t, waiting)
	n := newNight(t)
	n.source.Must("SET", "key", "value")
	out := filepath.Join(t.TempDir(), "night")
	first := n.migrate("--until", "caught-up")
	first.want(first.end(time.Minute), 0)
	for _, command := range [][]string{{"check", "--accept-alarms", "--on-existing", "replace"}, {"verify"}} {
		s := n.run(append(command, "--out", out)...)
		s.want(s.end(time.Minute), 0)
	}
	g := start(t, "gate", out)
	g.want(g.end(time.Minute), 0)
	for _, c := range []struct {
		name, kind string
		args       []string
		signals    []syscall.Signal // none: killed
	}{
		{"verify, one signal", "verify", []string{"verify", "--target", n.target.URL()}, []syscall.Signal{syscall.SIGTERM}},
		{"verify, two signals", "verify", []string{"verify", "--target", n.target.URL()}, []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}},
		{"verify, killed", "", []string{"verify", "--target", n.target.URL()}, nil},
		{"check, one signal", "check", []string{"check", "--target", n.target.URL()}, []syscall.Signal{syscall.SIGTERM}},
		{"scan bigkeys, one signal", "bigkeys", []string{"scan", "bigkeys"}, []syscall.Signal{syscall.SIGTERM}},
		{"scan compat, one signal", "compat", []string{"scan", "compat", "--to", "cluster"}, []syscall.Signal{syscall.SIGTERM}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.source.Pause()
			defer n.source.Resume()
			s := start(t, append(c.args, "--source", n.source.URL(), "--out", out)...)
			waitGone(t, filepath.Join(out, "gate.json"), filepath.Join(out, cmp.Or(c.kind, "verify")+".json"), filepath.Join(out, ".surecut.lock"))
			status := 130
			if s.send(c.signals...); c.signals == nil {
				status = -1
				s.send(syscall.SIGKILL)
			}
			s.want(s.end(time.Minute), status)
			var report struct{ Ended string }
			if c.kind == "" {
				if _, err := os.Stat(filepath.Join(out, "verify.json")); err == nil {
					t.Error("a killed run leaves the report of the run before it")
				}
			} else if readJSON(t, filepath.Join(out, c.kind+".json"), &report); report.Ended != "interrupted" {
				t.Errorf("the report says %q", report.Ended)
			}
			g := start(t, "gate", out)
			g.want(g.end(time.Minute), 3)
			note("endings: %-64s %3d %s", c.name, status, report.Ended)
		})
	}
}

// waitGone waits until a run has taken its directory: its lock is there, and earlier reports of its kind are not.
func waitGone(t *testing.T, gate, report, lock string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		_, errGate := os.Stat(gate)
		_, errReport := os.Stat(report)
		_, errLock := os.Stat(lock)
		if os.IsNotExist(errGate) && os.IsNotExist(errReport) && errLock == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the run does not take its directory")
		}
	}
}

// TestGoMeansTheWritersAreOff: while somebody writes there is no GO, whoever it is and however little; the report names him. What is
// nobody's write stands against no GO.
func TestGoMeansTheWritersAreOff(t *testing.T) {
	beside(t, waiting)
	n := newNight(t)
	servers.Replica(t, n.source) // so that the offset moves with all that is replicated
	every := func(period time.Duration, write func(i int)) (stop func()) {
		quit, over := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(over)
			for i := 0; ; i++ {
				select {
				case <-quit:
					return
				case <-time.After(period):
					write(i)
				}
			}
		}()
		return func() { close(quit); <-over }
	}
	c := n.source.Client(0)
	do := func(args ...string) func(int) {
		return func(i int) {
			full := slices.Clone(args)
			for j := range full {
				full[j] = strings.ReplaceAll(full[j], "#", strconv.Itoa(i))
			}
			_ = c.Do(t.Context(), c.B().Arbitrary(full...).Build()).Error()
		}
	}
	for _, w := range []struct {
		name   string
		period time.Duration
		write  func(int)
		status int
		says   string
	}{
		{"300 writes a second", 3 * time.Millisecond, do("SET", "w:#", "#"), 3, "last command set"},
		{"one write every 700 ms", 700 * time.Millisecond, do("INCR", "counter"), 3, "last command incr"},
		{"a script", 50 * time.Millisecond, do("EVAL", "return redis.call('incr', KEYS[1])", "1", "counter"), 3, "calls of commands that write"},
		{"counters that are reset while it is written", 50 * time.Millisecond, func(i int) { do("INCR", "counter")(i); do("CONFIG", "RESETSTAT")(i) }, 3, "changes of its data"},
		{"keys that expire, messages and readers", 5 * time.Millisecond, func(i int) { do("PUBLISH", "news", "#")(i); do("GET", "counter")(i); do("SORT", "nothing")(i) }, 0, ""},
	} {
		t.Run(w.name, func(t *testing.T) {
			n.t = t
			if w.status == 0 {
				for i := range 500 {
					n.source.Must("SET", "expires:"+strconv.Itoa(i), "1", "PX", strconv.Itoa(3000+20*i))
				}
			}
			stop := every(w.period, w.write)
			s := n.migrate("--until", "same", "--quiet-for", "3s")
			status := s.end(2 * time.Minute)
			stop()
			s.want(status, w.status)
			report, err := os.ReadFile(filepath.Join(n.out, "gate.md"))
			if err != nil || !strings.Contains(string(report), w.says) {
				t.Errorf("the gate does not say %q: %s %v", w.says, report, err)
			}
			var m struct {
				Quiet struct {
					Quiet bool
					Nodes []struct {
						Begin   int64 `json:"offset_begin"`
						End     int64 `json:"offset_end"`
						Applied int64 `json:"applied_offset"`
					}
				}
			}
			readJSON(t, filepath.Join(n.out, "migrate.json"), &m)
			if m.Quiet.Quiet != (w.status == 0) || len(m.Quiet.Nodes) != 1 {
				t.Fatalf("the report says %+v", m.Quiet)
			}
			if node := m.Quiet.Nodes[0]; node.Begin == 0 || node.End < node.Begin || w.status == 0 && node.Applied < node.End {
				t.Errorf("the offsets are %+v", node)
			}
			note("quiet: %-45s %3d", w.name, w.status)
		})
	}
	t.Run("one shard of a cluster", func(t *testing.T) {
		nodes := servers.Cluster(t, "redis:7.0", 3, 0)
		c := &night{t: t, source: nodes[0], target: n.target}
		shard := nodes[2].Client(0)
		key := ""
		for i := 0; key == ""; i++ { // one that the last node holds
			if name := "k" + strconv.Itoa(i); nodes[2].Do("SET", name, "1").Error() == nil {
				key = name
			}
		}
		stop := every(20*time.Millisecond, func(int) { _ = shard.Do(t.Context(), shard.B().Incr().Key(key).Build()).Error() })
		s := c.migrate("--until", "same", "--quiet-for", "2s")
		status := s.end(2 * time.Minute)
		stop()
		s.want(status, 3)
		if !strings.Contains(s.stdout.String(), nodes[2].Addr+": it is still written") {
			t.Errorf("it does not name the node: %s", s.stdout.String())
		}
		s = c.migrate("--until", "same", "--quiet-for", "1s")
		c.ends(s, 0, "complete", "done")
		note("quiet: %-45s %3d", "one shard of a cluster", 3)
	})
	for _, w := range []struct {
		name, says string
		args       []string
	}{
		{"a key of the target is deleted", "calls of DEL (", []string{"DEL", "counter"}},
		{"a key of the target is overwritten", "calls of SET (", []string{"SET", "counter", "other"}},
	} {
		t.Run(w.name, func(t *testing.T) {
			n.t = t
			s := n.migrate("--until", "same", "--quiet-for", "3s")
			s.waitTalk("nobody writes to")
			for range 100 { // the keys of the source that expire now explain some calls
				n.target.Must(w.args...)
			}
			s.want(s.end(2*time.Minute), 3)
			report, err := os.ReadFile(filepath.Join(n.out, "gate.md"))
			if err != nil || !strings.Contains(string(report), w.says) || !strings.Contains(s.talk(), "the target may have changed since it was compared") {
				t.Errorf("the gate does not say %q: %s %v\n%s", w.says, report, err, s.talk())
			}
			note("quiet: %-45s %3d", w.name, 3)
		})
	}
	t.Run("writes held back", func(t *testing.T) {
		n.t = t
		n.source.Must("SET", "counter", "0")
		s := n.migrate("--until", "same", "--quiet-for", "2s", "--pause-writes", "5m")
		s.waitTalk("are held back")
		wrote := make(chan error, 1)
		go func() { wrote <- c.Do(t.Context(), c.B().Incr().Key("counter").Build()).Error() }()
		s.want(s.end(time.Minute), 3)
		if err := <-wrote; err != nil { // it would wait for five minutes
			t.Error(err)
		}
		if !strings.Contains(s.talk(), "CLIENT UNPAUSE") || !strings.Contains(s.stdout.String(), "are waiting to write") {
			t.Errorf("it does not say what it did\n%s\n%s", s.talk(), s.stdout.String())
		}
		s = n.migrate("--until", "same", "--quiet-for", "10m", "--pause-writes", "10m")
		s.waitTalk("nobody writes to")
		s.send(syscall.SIGTERM)
		n.ends(s, 130, "interrupted", "stopped")
		n.source.Must("INCR", "counter") // not paused any more
		note("quiet: %-45s %3d", "a client waits for the end of the pause", 3)
	})
}

// empty takes all keys and function libraries from a server.
func empty(s *servers.Server) {
	s.Must("FLUSHALL")
	_ = s.Do("FUNCTION", "FLUSH") // before 7.0 there are none
}
