//go:build servers

package migrator

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
	"surecut/internal/resp"
)

// primary is a stand-in for the server that a fixture was recorded from: it repeats what that one sent.
type primary struct {
	f       fixtures.Fixture
	old     bool // it is of a time before PSYNC, REPLCONF, ROLE and TIME
	replica bool // it replicates another one, whose offsets are ahead
	l       net.Listener
	wg      sync.WaitGroup
	over    chan struct{}

	syncs atomic.Int32 // how often SYNC was asked for
	mu    sync.Mutex
	conns map[net.Conn]bool // that replicate
}

// cut closes the connections that replicate.
func (p *primary) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
}

func replay(t *testing.T, f fixtures.Fixture) *primary { return standIn(t, f, false) }

func standIn(t *testing.T, f fixtures.Fixture, old bool) *primary {
	t.Helper()
	return serving(t, &primary{f: f, old: old})
}

func serving(t *testing.T, p *primary) *primary {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.l, p.over, p.conns = l, make(chan struct{}), map[net.Conn]bool{}
	p.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		close(p.over)
		l.Close()
		p.wg.Wait()
	})
	return p
}

// serve answers what a migration asks beside the replication.
func (p *primary) serve(conn net.Conn) {
	defer conn.Close()
	done := make(chan struct{})
	defer close(done)
	p.wg.Go(func() {
		select {
		case <-p.over:
			conn.Close()
		case <-done:
		}
	})
	in := resp.NewReader(bufio.NewReader(conn))
	for {
		args, _, err := in.ReadCommand()
		if err != nil {
			return
		}
		if len(args) == 0 {
			continue
		}
		if p.old && strings.EqualFold(string(args[0]), "SYNC") {
			p.syncs.Add(1)
			p.mu.Lock()
			p.conns[conn] = true
			p.mu.Unlock()
		}
		if _, err := io.WriteString(conn, p.reply(args)); err != nil {
			return
		}
	}
}

func (p *primary) reply(args [][]byte) string {
	name := strings.ToUpper(string(args[0]))
	if p.old {
		switch name {
		case "SYNC":
			return "\n\n" + string(p.f.PsyncBin[p.snapshot():])
		case "PSYNC", "REPLCONF", "ROLE", "TIME", "CLIENT":
			return "-ERR unknown command '" + name + "'\r\n"
		}
	}
	switch name {
	case "PING":
		return "+PONG\r\n"
	case "TIME":
		now := time.Now()
		return resptext(strconv.FormatInt(now.Unix(), 10), strconv.Itoa(now.Nanosecond()/1000))
	case "INFO":
		text := p.info()
		return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)
	case "ROLE":
		if p.replica {
			return fmt.Sprintf("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$9\r\nconnected\r\n:%d\r\n", p.end()+replicaAhead)
		}
		return fmt.Sprintf("*3\r\n$6\r\nmaster\r\n:%d\r\n*0\r\n", p.end())
	case "CONFIG":
		return resptext("databases", "16")
	case "REPLCONF":
		if strings.EqualFold(string(args[1]), "ACK") {
			return ""
		}
		return "+OK\r\n"
	case "PSYNC":
		return "+" + p.f.Meta.PsyncReply + "\r\n" + string(p.f.PsyncBin[p.snapshot():])
	case "CLIENT", "SELECT", "READONLY", "MULTI":
		return "+OK\r\n"
	case "HELLO", "COMMAND":
		return "-ERR unknown command `" + name + "`\r\n"
	}
	return "-ERR the stand-in does not know " + string(args[0]) + "\r\n"
}

// replicaAhead is how far the offsets of a replica's primary are ahead of its own.
const replicaAhead = 1_000_000

func (p *primary) info() string {
	text := fmt.Sprintf("# Server\r\nredis_version:%s\r\nredis_mode:standalone\r\nrun_id:%s\r\n# Replication\r\nconnected_slaves:0\r\n", p.version(), p.replID())
	switch {
	case p.old:
		return text + "role:master\r\n"
	case p.replica:
		text += fmt.Sprintf("role:slave\r\nslave_repl_offset:%d\r\n", p.end()+replicaAhead)
	default:
		text += "role:master\r\n"
	}
	if p.f.Number >= 40000 {
		text += fmt.Sprintf("master_replid:%s\r\n", p.replID())
	}
	return text + fmt.Sprintf("master_repl_offset:%d\r\n", p.end())
}

// replID is the ID of the recorded stream, by which the primary is known.
func (p *primary) replID() string {
	if words := strings.Fields(p.f.Meta.PsyncReply); len(words) > 1 && !p.old {
		return words[1]
	}
	return fmt.Sprintf("%040d", 1)
}

func (p *primary) version() string {
	if p.old {
		return "2.6.17"
	}
	return strings.TrimSuffix(p.f.Version, "-m01")
}

// snapshot is where the header of the RDB begins: behind the reply to PSYNC.
func (p *primary) snapshot() int {
	head := string(p.f.PsyncBin[:p.f.Meta.RDBStart])
	i := strings.Index(head, p.f.Meta.PsyncReply) + len(p.f.Meta.PsyncReply) + 2
	return i
}

// end is the offset of the last byte recorded.
func (p *primary) end() int64 {
	if p.old {
		return int64(len(p.f.Stream()))
	}
	words := strings.Fields(p.f.Meta.PsyncReply)
	n, _ := strconv.ParseInt(words[2], 10, 64)
	return n + int64(len(p.f.Stream()))
}

func resptext(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

// TestRecordedStreams migrates what eleven servers sent, byte for byte, into every target that is there, older ones included, and
// compares with what the source held in the end. What the target has no type for must be reported, key by key.
func TestRecordedStreams(t *testing.T) {
	t.Parallel()
	images := servers.Images()
	cells := map[string]string{}
	for _, image := range images {
		t.Run(strings.NewReplacer("/", "-", ":", "-").Replace(image), func(t *testing.T) {
			target := servers.Standalone(t, image)
			for _, f := range fixtures.All(t) {
				cell := f.Version + " to " + image
				cells[cell] = "failed"
				t.Run(f.Version, func(t *testing.T) {
					reported := replayInto(t, target, f)
					if !t.Failed() {
						if cells[cell] = "same"; reported > 0 {
							cells[cell] = fmt.Sprintf("same but %d", reported)
						}
					}
				})
			}
		})
	}
	t.Log("recorded streams into targets (\"but n\": n keys or libraries that the target has no type for, each reported):\n" + matrix(fixtures.All(t), images, cells))
}

func matrix(all []fixtures.Fixture, images []string, cells map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s", "")
	for _, image := range images {
		fmt.Fprintf(&b, "%-13s", strings.TrimPrefix(image, "valkey/"))
	}
	for _, f := range all {
		fmt.Fprintf(&b, "\n%-10s", f.Version)
		for _, image := range images {
			fmt.Fprintf(&b, "%-13s", cells[f.Version+" to "+image])
		}
	}
	return b.String()
}

// replayInto gives how much was reported for want of a type.
func replayInto(t *testing.T, target *servers.Server, f fixtures.Fixture) (reported int) {
	target.Must("FLUSHALL")
	target.Do("FUNCTION", "FLUSH") // since 7.0
	p := replay(t, f)
	r := begin(t, urls{"redis://" + p.l.Addr().String(), target.URL()}, t.TempDir(), func(c *Config) { c.HoldExpiry = 0 })
	poll(t, "end of the recording", func() bool {
		select {
		case <-r.ended:
			t.Fatal(r.err)
		default:
		}
		return r.m.Report().Links[0].AppliedOffset >= p.end()
	})
	report := r.stop()
	addsUp(t, report)
	if report.Counters.CommandsRepaired > 0 {
		t.Errorf("%d commands were refused", report.Counters.CommandsRepaired)
	}
	side := r.m.target.Dialect
	lost := map[keyspace.Key]bool{}
	for _, problem := range report.Problems {
		k := keyspace.Key{DB: problem.DB, Name: problem.Key}
		v, held := f.Final[k]
		switch {
		case problem.Key == "" && strings.HasPrefix(problem.Command, "FUNCTION") && !side.Knows("FUNCTION"):
			reported++
		case held && lacksType(side, v):
			if !lost[k] {
				reported++
			}
			lost[k] = true
		default:
			t.Errorf("%+v", problem)
		}
	}
	for k, v := range f.Final {
		if lacksType(side, v) && !lost[k] {
			t.Errorf("%v, a %v, cannot be held by the target and was not reported", k, v.Type)
		}
	}
	compareFinal(t, target, f, lost)
	return reported
}

// lacksType says that a server has no type for a value.
func lacksType(d *command.Dialect, v keyspace.Value) bool {
	return v.Type == keyspace.Stream && !d.Knows("XADD") ||
		!d.Knows("HPEXPIREAT") && slices.ContainsFunc(v.Hash, func(f keyspace.Field) bool { return f.ExpireAt > 0 })
}

func compareFinal(t *testing.T, target *servers.Server, f fixtures.Fixture, lost map[keyspace.Key]bool) {
	t.Helper()
	now := time.Now().UnixMilli()
	for k, want := range f.Final {
		if want.ExpireAt > 0 && want.ExpireAt < now+1000 || lost[k] {
			continue
		}
		got, ok := valueOf(t, target, k)
		if !ok {
			t.Errorf("%v is missing", k)
			continue
		}
		if d := want.ExpireAt - got.ExpireAt; (want.ExpireAt > 0) != (got.ExpireAt > 0) {
			t.Errorf("%v expires at %d, want %d", k, got.ExpireAt, want.ExpireAt)
		} else if relative := k.Name == "s:ex" || k.Name == "s:setex"; !relative && f.Number >= 70000 && max(d, -d) > tolerance(target) {
			// before 7.0 the stream has relative times of another day; of these two the fixture says no true time
			t.Errorf("%v expires %d ms too early", k, d)
		}
		got.ExpireAt = want.ExpireAt
		dropAges(&want, &got)
		if d := fixtures.Diff(want, got); d != "" {
			t.Errorf("%v: %s", k, d)
		}
	}
	for db := range 16 {
		c := target.Client(db)
		names, err := c.Do(context.Background(), endpoint.Arbitrary(c, "KEYS", "*")).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if _, ok := f.Final[keyspace.Key{DB: db, Name: name}]; !ok && !strings.HasPrefix(name, keyspace.Prefix) {
				t.Errorf("database %d: %q is extra", db, name)
			}
		}
	}
}

// tolerance is within how many ms an expiry of the target can be read.
func tolerance(target *servers.Server) int64 {
	if target.Do("COMMAND", "INFO", "PEXPIRETIME").Error() == nil && strings.Contains(fmt.Sprint(target.Must("COMMAND", "INFO", "PEXPIRETIME")), "pexpiretime") {
		return 0
	}
	return 1000
}

// dropAges leaves out what an older server's stream does not keep.
func dropAges(want, got *keyspace.Value) {
	fixtures.DropCounters(want, got)
	for _, v := range []*keyspace.Value{want, got} {
		for i := range v.Groups {
			g := &v.Groups[i]
			pending := map[string]bool{}
			for j := range g.Pending {
				g.Pending[j].DeliveryMs = 0
				pending[string(g.Pending[j].Consumer)] = true
			}
			var consumers []keyspace.Consumer
			for _, c := range g.Consumers {
				if pending[string(c.Name)] {
					c.SeenMs, c.ActiveMs = 0, 0
					consumers = append(consumers, c)
				}
			}
			g.Consumers = consumers
		}
	}
}

func valueOf(t *testing.T, s *servers.Server, k keyspace.Key) (keyspace.Value, bool) {
	t.Helper()
	c := s.Client(k.DB)
	payload, err := c.Do(context.Background(), endpoint.Arbitrary(c, "DUMP", k.Name)).ToString()
	if err != nil {
		return keyspace.Value{}, false
	}
	v, err := rdb.DecodeDump([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	at, err := c.Do(context.Background(), endpoint.Arbitrary(c, "PEXPIRETIME", k.Name)).AsInt64()
	if err != nil { // before 7.0
		at, err = c.Do(context.Background(), endpoint.Arbitrary(c, "PTTL", k.Name)).AsInt64()
		if at >= 0 {
			at += time.Now().UnixMilli()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	v.ExpireAt = max(at, 0)
	return v, true
}
