package quiet

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
)

// pausable serves a server that can be paused, and whose answer to CLIENT LIST a test tells.
func pausable(t *testing.T, clients func() string) (*endpointtest.Server, *endpoint.Deployment) {
	s := endpointtest.Serve(t, "7.0.15")
	s.Always("CLIENT PAUSE", "+OK\r\n")
	s.Always("CLIENT UNPAUSE", "+OK\r\n")
	s.On("CLIENT LIST", func([]string) string { return clients() })
	return s, endpointtest.Open(t, s.URL())
}

// judged pauses the writes, lets something happen meanwhile, and judges a source whose counters tell of no write.
func judged(t *testing.T, d *endpoint.Deployment, most time.Duration, meanwhile func()) (r Report, found bool) {
	t.Helper()
	p, err := PauseWrites(t.Context(), d, most)
	if err != nil {
		t.Fatal(err)
	}
	before, err := Read(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	meanwhile()
	after, err := Read(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	r = Compare(before, after)
	if !r.Quiet {
		t.Fatalf("%+v; want a source that only the pause can tell about", r)
	}
	found = p.Judge(t.Context(), &r)
	if err := p.End(); err != nil {
		t.Error(err)
	}
	return r, found
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// TestPauseRemembersWhoTried: a client that tries to write during the pause, and gives up before its end, is a writer. Nothing but CLIENT
// LIST tells of it, and only while it waits.
func TestPauseRemembersWhoTried(t *testing.T) {
	var tries atomic.Bool
	s, d := pausable(t, func() string {
		text := "id=3 addr=10.0.0.1:50000 idle=9 flags=b cmd=blpop\n"
		if tries.Load() {
			text += "id=7 addr=10.0.0.2:50001 name=orders idle=0 flags=b cmd=set\n"
		}
		return endpointtest.Bulk(text)
	})
	asked := func(more int) {
		t.Helper()
		now := len(s.Calls("CLIENT LIST"))
		eventually(t, "the clients are not asked for during the pause", func() bool { return len(s.Calls("CLIENT LIST")) >= now+more })
	}
	r, found := judged(t, d, time.Minute, func() { asked(2) })
	if !r.Quiet || found || r.PausedMs != 60_000 {
		t.Errorf("%+v; want quiet, since only the BLPOP waits that did so before", r)
	}
	r, found = judged(t, d, time.Minute, func() {
		tries.Store(true)
		asked(2)
		tries.Store(false)
		asked(2)
	})
	if n := r.Nodes[0]; r.Quiet || !found || !strings.Contains(n.Reason, "1 of its clients are waiting to write") || len(n.Writers) != 1 || n.Writers[0].Name != "orders" {
		t.Errorf("quiet %v, %+v; want the client that has tried to write", r.Quiet, n)
	}
	if n := len(s.Calls("CLIENT UNPAUSE")); n != 2 {
		t.Errorf("%d pauses were ended, want 2", n)
	}
}

// TestPauseThatTellsNothing: where it is not known who waits, or the pause did not last, the source is not quiet.
func TestPauseThatTellsNothing(t *testing.T) {
	var refuses atomic.Bool
	s, d := pausable(t, func() string {
		if refuses.Load() {
			return "-NOPERM this user has no permissions to run the 'client|list' command\r\n"
		}
		return endpointtest.Bulk("")
	})
	r, found := judged(t, d, time.Minute, func() { refuses.Store(true) })
	if r.Quiet || !found || !strings.Contains(r.Nodes[0].Reason, "is not known whether clients are waiting") {
		t.Errorf("%+v; want that CLIENT LIST was refused", r)
	}
	pauses := len(s.Calls("CLIENT PAUSE"))
	if err := CanPause(t.Context(), d, time.Minute); err == nil || !strings.Contains(err.Error(), "+client|list") {
		t.Errorf("%v; want that the pause is refused before a migration begins", err)
	}
	if _, err := PauseWrites(t.Context(), d, time.Minute); err == nil || len(s.Calls("CLIENT PAUSE")) != pauses {
		t.Errorf("paused, although nobody would see who waits: %v", err)
	}
	refuses.Store(false)
	r, found = judged(t, d, time.Nanosecond, func() {})
	if r.Quiet || !found || !strings.Contains(r.Nodes[0].Reason, "allow a longer pause") {
		t.Errorf("%+v; want that the pause had ended", r)
	}
}

// TestPauseSparesSentinels: a pause holds back what sentinels send, so they would fail the source over in one that is too long for them.
func TestPauseSparesSentinels(t *testing.T) {
	named := "id=5 addr=10.0.0.9:50000 name=sentinel-0123abcd-cmd idle=0 flags=N cmd=ping\n"
	for _, row := range []struct {
		name    string
		clients string
		down    string // down-after-milliseconds, where the URL names the sentinel
		most    time.Duration
		want    string // part of the error
	}{
		{"no sentinel", "id=5 addr=10.0.0.9:50000 name=sentinel idle=0 flags=N cmd=ping\n", "", time.Hour, ""},
		{"sentinels that cannot be asked", named, "", 10 * time.Second, "name the source as redis+sentinel://"},
		{"a short pause", named, "", 2500 * time.Millisecond, ""},
		{"sentinels that were asked", named, "5000", 3 * time.Second, "they wait for 5s (down-after-milliseconds); pause for at most 2.5s"},
		{"sentinels that were asked, and are not connected", "", "5000", 3 * time.Second, "pause for at most 2.5s"},
		{"patient sentinels", named, "60000", 30 * time.Second, ""},
		{"a sentinel that does not say", "", "soon", 10 * time.Second, "name the source as redis+sentinel://"},
	} {
		s, d := pausable(t, func() string { return endpointtest.Bulk(row.clients) })
		if row.down != "" {
			d = endpointtest.Open(t, "redis+sentinel://"+sentinelOf(t, s, row.down).Addr+"/main")
		}
		p, err := PauseWrites(t.Context(), d, row.most)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if paused := len(s.Calls("CLIENT PAUSE")) > 0; paused != (row.want == "") {
			t.Errorf("%s: paused %v", row.name, paused)
		}
		if p != nil {
			if err := p.End(); err != nil {
				t.Error(err)
			}
		}
	}
}

// sentinelOf serves a sentinel that watches a server.
func sentinelOf(t *testing.T, primary *endpointtest.Server, down string) *endpointtest.Server {
	host, port, err := net.SplitHostPort(primary.Addr)
	if err != nil {
		t.Fatal(err)
	}
	s := endpointtest.Serve(t, "7.0.15")
	s.On("SENTINEL", func(args []string) string {
		switch args[1] {
		case "get-master-addr-by-name":
			return endpointtest.Strings(host, port)
		case "master":
			return endpointtest.Strings("flags", "master", "quorum", "1", "down-after-milliseconds", down)
		}
		return "*0\r\n"
	})
	return s
}
