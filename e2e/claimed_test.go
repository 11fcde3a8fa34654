//go:build e2e

package e2e

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/e2e/tunnels"
)

// TestNeverTwoWriters starts two migrations at one target: at once, and so that the second takes over from one that is suspended or cut off,
// while that one still trusts its claim, and which goes on then. What the target executes (MONITOR) must never show a write of the first after
// one of the second, and no write over a connection without a name. SURECUT_CLAIMS is the number of rounds of each kind.
func TestNeverTwoWriters(t *testing.T) {
	beside(t, working)
	rounds := 1
	if n, err := strconv.Atoi(os.Getenv("SURECUT_CLAIMS")); err == nil {
		rounds = n
	}
	for _, cluster := range []bool{false, true} {
		target := deployment(t, "redis:7.0", cluster)
		primaries := target[:1]
		if cluster {
			primaries = target[:3]
		}
		seen, holder := monitor(t, primaries), primaries[0]
		if cluster {
			holder = primaries[holder.Must("CLUSTER", "KEYSLOT", claimKey).(int64)*3/16384]
		}
		writing := map[string]bool{}
		for _, c := range holder.Must("COMMAND").([]any) {
			writing[c.([]any)[0].(string)] = slices.Contains(c.([]any)[2].([]any), any("write"))
		}
		b := claimBench{target: target, holder: holder, old: servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb"), source: servers.Standalone(t, "redis:7.0"), socks: tunnels.NewProxy(t)}
		traffic := dataset.StartTraffic(t.Context(), open(t, []*servers.Server{b.old}), dataset.TrafficOptions{Seed: 1, BulkKeys: 1000, Rate: 1000, MaxTime: 2 * time.Hour})
		defer traffic.Stop()
		if _, err := dataset.Fill(t.Context(), open(t, []*servers.Server{b.source}), dataset.Options{Seed: 2, Keys: 1000}); err != nil {
			t.Fatal(err)
		}
		runs := 0 // that must have written
		for _, how := range []string{"at once", "suspended", "partitioned"} {
			for range rounds {
				switch how {
				case "at once":
					b.atOnce(t)
				case "suspended":
					b.takeOver(t, func(first *surecut, stop bool) {
						if err := first.cmd.Process.Signal(map[bool]syscall.Signal{true: syscall.SIGSTOP, false: syscall.SIGCONT}[stop]); err != nil {
							t.Fatal(err)
						}
					})
				case "partitioned":
					b.takeOver(t, func(_ *surecut, stop bool) { b.socks.Freeze(stop) })
				}
				if how == "at once" {
					runs++
				} else {
					runs += 2
				}
			}
			writers, writes, err := oneAfterTheOther(seen.all(), writing)
			for deadline := time.Now().Add(time.Minute); err == nil && writers < runs && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				writers, writes, err = oneAfterTheOther(seen.all(), writing) // MONITOR may be behind
			}
			if err != nil || writers < runs {
				t.Fatalf("%s, cluster %v: of %d runs %d have written: %v", how, cluster, runs, writers, err)
			}
			t.Logf("two migrations at one target, %s, cluster %v: %d rounds, never two writers; %d writes of %d runs so far", how, cluster, rounds, writes, writers)
		}
	}
}

// claimKey is the record that says to whom a target belongs.
const claimKey = "__surecut:migration"

// claimBench is a target, the server of it that holds the claim, and the sources of two migrations. The first writes through a proxy.
type claimBench struct {
	target      []*servers.Server
	holder      *servers.Server
	old, source *servers.Server
	socks       *tunnels.Proxy
}

func (b *claimBench) run(t *testing.T, source *servers.Server, more ...string) *surecut {
	return start(t, append([]string{"migrate", "--source", source.URL(), "--target", b.target[0].URL(), "--accept-alarms", "--progress", "json",
		"--state", t.TempDir(), "--on-existing", "replace"}, more...)...)
}

// atOnce starts both at the same instant. One of them is refused.
func (b *claimBench) atOnce(t *testing.T) {
	t.Helper()
	runs := []*surecut{b.run(t, b.old), b.run(t, b.source)}
	refused := 0
	select {
	case <-runs[0].done:
	case <-runs[1].done:
		refused = 1
	case <-time.After(2 * time.Minute):
		t.Fatalf("none was refused: %s\n%s", runs[0].talk(), runs[1].talk())
	}
	if code := runs[refused].end(time.Minute); code != 1 && code != 3 || !strings.Contains(runs[refused].talk()+runs[refused].stdout.String(), "migration") {
		t.Fatalf("exit status %d: %s", code, runs[refused].talk())
	}
	other := runs[1-refused]
	other.waitPhase("caught_up", 2*time.Minute)
	other.want(other.stop(time.Minute), 0)
}

// takeOver has a second migration take the target over from the first while that one is held up, and lets the first go on then. The claim is
// made to look old, so that the first still trusts it when it goes on: only its connections tell it.
func (b *claimBench) takeOver(t *testing.T, hold func(first *surecut, stop bool)) {
	t.Helper()
	first := b.run(t, b.old, "--target-socks5", b.socks.User+":"+b.socks.Password+"@"+b.socks.Addr)
	first.waitPhase("caught_up", 2*time.Minute)
	hold(first, true)
	held := true
	release := func() {
		if held {
			held = false
			hold(first, false)
		}
	}
	defer release()
	var second *surecut
	for deadline := time.Now().Add(2 * time.Minute); ; {
		b.holder.Must("HMSET", claimKey, "seen_ms", "1", "heartbeat_ms", "1")
		second = b.run(t, b.source)
		if second.catchesUp(deadline) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the second did not get the target: %s", second.talk())
		}
	}
	release()
	if code := first.end(2 * time.Minute); code != 1 || !strings.Contains(first.talk(), "the target belongs to migration") {
		t.Fatalf("exit status %d: %s", code, first.talk())
	}
	second.waitDrained(time.Minute)
	second.want(second.stop(time.Minute), 0)
}

// catchesUp says whether a run catches up before it ends.
func (s *surecut) catchesUp(deadline time.Time) bool {
	for time.Now().Before(deadline) {
		if slices.ContainsFunc(s.seen(), func(p progress) bool { return p.Phase == "caught_up" }) {
			return true
		}
		select {
		case <-s.done:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

// executed is a command as MONITOR shows it.
type executed struct {
	at   float64 // Unix time in seconds
	from string  // node and client
	args []string
}

// trace is what the nodes of a target execute.
type trace struct {
	mu    sync.Mutex
	lines []executed // guarded by mu
}

var (
	monitorLine = regexp.MustCompile(`^\+([0-9.]+) \[[0-9]+ ([^\]]+)\] (.*)$`)
	monitorWord = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
)

// monitor follows all nodes until the test ends.
func monitor(t *testing.T, nodes []*servers.Server) *trace {
	t.Helper()
	var out trace
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait) // after the connections are closed
	for _, s := range nodes {
		conn, err := net.Dial("tcp", s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReaderSize(conn, 1<<20)
		if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
			t.Fatal(err)
		}
		if line, err := in.ReadString('\n'); err != nil || line != "+OK\r\n" {
			t.Fatal(line, err)
		}
		wg.Go(func() {
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				out.add(s.Addr, strings.TrimRight(line, "\r\n"))
			}
		})
		t.Cleanup(func() { conn.Close() })
	}
	return &out
}

func (m *trace) add(node, line string) {
	parts := monitorLine.FindStringSubmatch(line)
	if parts == nil || parts[2] == "lua" {
		return
	}
	e := executed{from: node + " " + parts[2]}
	e.at, _ = strconv.ParseFloat(parts[1], 64)
	for _, w := range monitorWord.FindAllStringSubmatch(parts[3], 4) {
		e.args = append(e.args, w[1])
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, e)
}

// all returns what came so far, in the order of time.
func (m *trace) all() []executed {
	m.mu.Lock()
	defer m.mu.Unlock()
	lines := slices.Clone(m.lines)
	slices.SortStableFunc(lines, func(a, b executed) int { return cmp.Compare(a.at, b.at) })
	return lines
}

// oneAfterTheOther looks at the commands that write, by their names. It returns how many runs have written, and an error if one of them writes after another one that has begun to write later.
func oneAfterTheOther(lines []executed, writing map[string]bool) (writers, writes int, err error) {
	names := map[string]string{}
	var order []string // the runs that have written
	for _, e := range lines {
		name := strings.ToLower(e.args[0])
		if name == "client" && len(e.args) > 2 && strings.EqualFold(e.args[1], "SETNAME") {
			names[e.from] = e.args[2]
			continue
		}
		if !writing[name] || len(e.args) > 1 && (e.args[1] == claimKey || strings.HasPrefix(e.args[1], "__surecut:probe")) {
			continue // the claim is taken by comparison, and probes hold nothing
		}
		writer := names[e.from]
		if writer == "" {
			return len(order), writes, fmt.Errorf("a write over a connection without a name: %v %.200q", e.from, e.args)
		}
		writes++
		switch i := slices.Index(order, writer); {
		case i < 0:
			order = append(order, writer)
		case i < len(order)-1:
			return len(order), writes, fmt.Errorf("%s writes %.200q at %f, after %s has written", writer, e.args, e.at, order[len(order)-1])
		}
	}
	return len(order), writes, nil
}
