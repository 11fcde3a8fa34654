//go:build e2e

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// clearly holds a run that had to fail against what every failure owes its user: the status, one line that says what
// and where, no panic, no password, and no report that could be taken for a whole one.
func (s *surecut) clearly(t *testing.T, status int, out string, says ...string) {
	t.Helper()
	got := s.end(time.Minute)
	if got != status {
		t.Errorf("status %d, want %d", got, status)
	}
	talk := s.talk()
	var complaints []string
	for line := range strings.SplitSeq(talk, "\n") {
		if strings.HasPrefix(line, "surecut: ") {
			complaints = append(complaints, line)
		}
	}
	if len(complaints) != 1 {
		t.Errorf("%d lines of complaint, want one", len(complaints))
	}
	for _, word := range says {
		if !strings.Contains(strings.ToLower(strings.Join(complaints, "\n")), strings.ToLower(word)) {
			t.Errorf("the complaint does not say %q", word)
		}
	}
	for _, bad := range []string{"panic", "goroutine ", "runtime error", secret} {
		if strings.Contains(talk, bad) || strings.Contains(s.stdout.String(), bad) {
			t.Errorf("the output holds %q", bad)
		}
	}
	if out != "" {
		noHalfReport(t, out)
	}
	if t.Failed() {
		t.Logf("surecut %v\nstdout: %.2000s\nstderr: %.4000s", s.cmd.Args[1:], s.stdout.String(), talk)
	}
}

const secret = "Tr0ub4dor&3"

// noHalfReport wants only whole reports in a directory: no temporary files, and each JSON file one that report renders.
func noHalfReport(t *testing.T, out string) {
	t.Helper()
	files, err := os.ReadDir(out)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	known := []string{"check", "migrate", "verify", "gate", "bigkeys", "compat"}
	for _, f := range files {
		kind, extension, _ := strings.Cut(f.Name(), ".")
		if !slices.Contains(known, kind) || strings.Contains(f.Name(), "tmp") {
			t.Errorf("%s was left behind", f.Name())
		}
		if extension == "json" {
			r := start(t, "report", filepath.Join(out, f.Name()))
			r.want(r.end(time.Minute), 0)
		}
	}
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestBadInput(t *testing.T) {
	beside(t, waiting)
	source := servers.Standalone(t, "redis:7.0")
	target := servers.Standalone(t, "redis:7.0")
	locked := servers.Standalone(t, "redis:7.0", "--requirepass", "the right one")
	source.Must("SET", "a", "1")
	closed := closedPort(t)
	withPassword := strings.Replace(locked.URL(), "redis://", "redis://:"+"Tr0ub4dor%263"+"@", 1)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	noRDB := file("dump.rdb", strings.Repeat("this is no RDB file\n", 100))
	config := file("surecut.yaml", "migrate:\n  no-such-key: 1\n")
	top := file("surecut.yaml", "no-such-key: 1\n")
	cutShort := truncatedRDB(t)

	for _, c := range []struct {
		name   string
		why    string
		args   []string
		status int
		says   []string
	}{
		{"verify, unreachable source", "nothing was compared", []string{"verify", "--source", "redis://" + closed, "--target", target.URL()}, 1, []string{closed}},
		{"verify, unreachable target", "", []string{"verify", "--source", source.URL(), "--target", "redis://" + closed}, 1, []string{closed}},
		{"migrate, unreachable source", "a failed check stops it", []string{"migrate", "--source", "redis://" + closed, "--target", target.URL()}, 3, []string{"connectivity", closed}},
		{"migrate, unknown host", "", []string{"migrate", "--source", "redis://no-such-host.invalid:6379", "--target", target.URL()}, 3, []string{"no-such-host.invalid"}},
		{"scan, unreachable source", "", []string{"scan", "bigkeys", "--source", "redis://" + closed}, 1, []string{closed}},
		{"verify, wrong password", "the password must not be shown", []string{"verify", "--source", withPassword, "--target", target.URL()}, 1, []string{locked.Addr}},
		{"migrate, wrong password", "", []string{"migrate", "--source", withPassword, "--target", target.URL()}, 3, []string{locked.Addr}},
		{"migrate, no password", "", []string{"migrate", "--source", locked.URL(), "--target", target.URL()}, 3, []string{locked.Addr}},
		{"wrong scheme", "", []string{"verify", "--source", "http://127.0.0.1:1", "--target", target.URL()}, 5, []string{"--source", "http"}},
		{"wrong URL with a password", "an URL that cannot be read may still hold one", []string{"verify", "--source", "redis://:" + secret + "@:port:", "--target", target.URL()}, 5, []string{"--source"}},
		{"no target", "", []string{"verify", "--source", source.URL()}, 5, []string{"--target"}},
		{"unknown flag", "", []string{"migrate", "--sauce", "x"}, 5, []string{"sauce"}},
		{"unknown command", "", []string{"migrat"}, 5, []string{"migrat"}},
		{"unknown value", "", []string{"migrate", "--source", source.URL(), "--target", target.URL(), "--on-existing", "perhaps"}, 5, []string{"perhaps"}},
		{"unknown config key", "", []string{"--config", config, "migrate", "--source", source.URL(), "--target", target.URL()}, 5, []string{"no-such-key"}},
		{"unknown config section", "", []string{"--config", top, "migrate", "--source", source.URL(), "--target", target.URL()}, 5, []string{"no-such-key"}},
		{"missing config", "", []string{"--config", "/no/such/file.yaml", "verify"}, 5, []string{"/no/such/file.yaml"}},
		{"unwritable out, migrate", "before anything is copied", []string{"migrate", "--source", source.URL(), "--target", target.URL(), "--accept-alarms", "--out", "/proc/no/reports"}, 5, []string{"--out", "/proc/no"}},
		{"unwritable out, verify", "before anything is read", []string{"verify", "--source", source.URL(), "--target", target.URL(), "--out", "/proc/no/reports"}, 5, []string{"--out", "/proc/no"}},
		{"unwritable out, check", "", []string{"check", "--source", source.URL(), "--target", target.URL(), "--out", "/proc/no/reports"}, 5, []string{"--out", "/proc/no"}},
		{"unwritable out, scan", "", []string{"scan", "bigkeys", "--source", source.URL(), "--out", "/proc/no/reports"}, 5, []string{"--out", "/proc/no"}},
		{"no RDB", "", []string{"scan", "bigkeys", "--source", "rdb:" + noRDB}, 1, []string{noRDB, "RDB"}},
		{"truncated RDB", "half a scan is none", []string{"scan", "bigkeys", "--source", "rdb:" + cutShort}, 1, []string{cutShort}},
		{"truncated RDB, migrate", "nothing of it may be in the target when it shows", []string{"migrate", "--source", "rdb:" + cutShort, "--target", target.URL(), "--accept-alarms"}, 3, []string{"source_file", cutShort}},
		{"truncated RDB, verify", "half a comparison is none", []string{"verify", "--source", "rdb:" + cutShort, "--target", target.URL()}, 1, []string{cutShort, "copy the file"}},
		{"unwritable out, repair", "before anything is repaired", []string{"repair", "--source", source.URL(), "--target", target.URL(), "--report", noRDB, "--apply", "--out", "/proc/no/reports"}, 5, []string{"--out", "/proc/no"}},
		{"no report, repair", "", []string{"repair", "--source", source.URL(), "--target", target.URL(), "--report", noRDB, "--apply"}, 1, []string{noRDB}},
		{"an argument", "flags behind it would not be read", []string{"migrate", "--source", source.URL(), "--target", target.URL(), "--accept", "backlog", "clock_skew", "--until", "same"}, 5, []string{"clock_skew", "only flags"}},
		{"an argument with a password", "", []string{"verify", "redis://:" + secret + "@" + locked.Addr}, 5, []string{locked.Addr}},
		{"missing RDB", "", []string{"scan", "bigkeys", "--source", "rdb:/no/such.rdb"}, 1, []string{"/no/such.rdb"}},
		{"no report", "", []string{"gate", noRDB}, 1, []string{noRDB}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, out := c.args, ""
			if !slices.Contains(args, "--out") && slices.Contains([]string{"migrate", "verify", "scan"}, args[0]) && c.status != 5 {
				out = filepath.Join(t.TempDir(), "out")
				args = append(args, "--out", out)
			}
			start(t, args...).clearly(t, c.status, out, c.says...)
		})
	}
	if got := target.Must("DBSIZE"); got != int64(0) {
		t.Errorf("%v keys were written to the target of migrations that could not start", got)
	}
}

// truncatedRDB gives a real server's RDB file without its last kilobyte.
func truncatedRDB(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := servers.Standalone(t, "redis:7.0", "--dir", dir, "--dbfilename", "whole.rdb")
	if _, err := dataset.Fill(t.Context(), open(t, []*servers.Server{s}), dataset.Options{Seed: 1, Keys: 1000}); err != nil {
		t.Fatal(err)
	}
	s.Must("SAVE")
	whole, err := os.ReadFile(filepath.Join(dir, "whole.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "short.rdb")
	if err := os.WriteFile(path, whole[:len(whole)-1024], 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// In the middle of a snapshot the target begins to refuse: the migration ends with the target's word, and goes on from there when
// the cause is gone.
func TestTargetRefuses(t *testing.T) {
	beside(t, waiting)
	for _, c := range []struct {
		name         string
		refuse, cure []string
		says         string
	}{
		{"full", []string{"CONFIG", "SET", "maxmemory", "1mb"}, []string{"CONFIG", "SET", "maxmemory", "0"}, "OOM"},
		{"forbidden", []string{"ACL", "SETUSER", "mover", "-restore", "-set"}, []string{"ACL", "SETUSER", "mover", "+@all"}, "NOPERM"},
		{"read-only", []string{"CONFIG", "SET", "min-replicas-to-write", "3"}, []string{"CONFIG", "SET", "min-replicas-to-write", "0"}, "NOREPLICAS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
			pair := dataset.Pair{Source: open(t, []*servers.Server{source}), Target: open(t, []*servers.Server{target})}
			fill := dataset.Options{Seed: 1, Keys: 20_000, BigKeys: 2, NoShortTTL: true}
			if _, err := dataset.Fill(t.Context(), pair.Source, fill); err != nil {
				t.Fatal(err)
			}
			target.Must("ACL", "SETUSER", "mover", "on", ">"+secret, "~*", "&*", "+@all")
			state, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
			run := func(more ...string) *surecut {
				return startWith(t, []string{"SURECUT_TARGET_PASSWORD=" + secret}, append([]string{"migrate", "--source", source.URL(),
					"--target", "redis://mover@" + target.Addr, "--accept-alarms", "--progress", "json", "--state", state, "--out", out}, more...)...)
			}
			s := run("--rate-limit", "2MiB", "--retry-for", "3s")
			s.waitFor("keys of the snapshot", 0, time.Minute, func(p progress) bool {
				return p.Phase == "snapshot" && len(p.Links) > 0 && p.Links[0].Keys > 0
			})
			target.Must(c.refuse...)
			s.clearly(t, 1, out, c.says, target.Addr)

			target.Must(c.cure...)
			s = run()
			s.waitPhase("caught_up", time.Minute)
			s.waitDrained(time.Minute)
			s.want(s.stop(2*time.Minute), 0)
			same(t, pair, dataset.CompareOptions{})
		})
	}
}
