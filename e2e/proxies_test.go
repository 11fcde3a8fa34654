//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"surecut/e2e/servers"
)

// pool is servers behind a real nutcracker.
type pool struct {
	proxy   *servers.Proxy
	servers []*servers.Server
}

// newPool starts n servers of an image behind a proxy with these settings; server i has the name "s<i>" and the weight i+1.
func newPool(t *testing.T, image string, n int, settings ...string) *pool {
	t.Helper()
	p := &pool{}
	var texts []string
	for i := range n {
		s := servers.Standalone(t, image, "--repl-backlog-size", "64mb")
		p.servers = append(p.servers, s)
		texts = append(texts, fmt.Sprintf("%s:%d s%d", s.Addr, i+1, i))
	}
	p.proxy = servers.Twemproxy(t, settings, texts...)
	return p
}

func (p *pool) url(more string) string {
	return "redis+twemproxy://" + p.proxy.Addr + "?config=" + p.proxy.Config + more
}

func (p *pool) addr() string { return p.proxy.Addr }

// front is a proxy that a migration reads from behind.
type front interface {
	addr() string
	url(more string) string
}

// codis is servers behind a stand-in for codis-proxy.
type codis struct{ *servers.Codis }

func newCodis(t *testing.T, image string, n int) codis {
	t.Helper()
	var list []*servers.Server
	for range n {
		list = append(list, servers.Standalone(t, image, "--repl-backlog-size", "64mb"))
	}
	return codis{servers.CodisStandIn(t, list...)}
}

func (c codis) addr() string           { return c.Addr }
func (c codis) url(more string) string { return "redis+codis://" + c.Addr + more }

// TestCodis migrates from behind one Codis to behind another, through its proxy, killed on the way.
func TestCodis(t *testing.T) {
	beside(t, working)
	source, target := newCodis(t, "redis:6.0", 2), newCodis(t, "redis:6.0", 3)
	behindProxy(t, source, target.url(""), func(t *testing.T) *through { return dial(t, target.Addr) }, "repaired")
	fault := dial(t, target.Addr)
	fault.send("APPEND", "k:1", "x")
	fault.receive()
	verify(t, 3, source.url(""), target.url(""))
}

// TestTwemproxy migrates from behind one nutcracker to behind another under load, killed on the way, and wants every write
// once, where the target's proxy looks for it.
func TestTwemproxy(t *testing.T) {
	beside(t, working)
	source := newPool(t, "redis:7.0", 3, "hash: murmur")
	target := newPool(t, "redis:7.0", 2, "hash: fnv1a_64", "distribution: modula", `hash_tag: "{}"`)
	behindProxy(t, source, target.url(""), func(t *testing.T) *through { return dial(t, target.proxy.Addr) }, "exactly_once")

	// What lies where the proxy does not look for it is not the same, though both sides have it.
	name := target.servers[0].Must("RANDOMKEY").(string)
	for strings.HasPrefix(name, "__surecut") || target.servers[0].Must("PTTL", name) != int64(-1) {
		name = target.servers[0].Must("RANDOMKEY").(string)
	}
	target.servers[0].Must("DEL", name)
	target.servers[1].Must("SET", name, "astray")
	verify(t, 3, source.url(""), target.url(""))
	verify(t, 3, target.url(""), source.url(""))
}

// TestThroughTwemproxy writes through nutcracker, which is killed on the way as well as surecut: no write may be lost or
// applied twice, though there is no MULTI.
func TestThroughTwemproxy(t *testing.T) {
	beside(t, working)
	source := newPool(t, "redis:6.0", 2, "hash: crc32a")
	target := newPool(t, "redis:7.0", 3, "hash: one_at_a_time", `hash_tag: "{}"`)
	behindProxy(t, source, target.url("&via=proxy"), func(t *testing.T) *through { return dial(t, target.proxy.Addr) }, "repaired", target.proxy)
	fault := dial(t, target.proxy.Addr)
	fault.send("DEL", counterKey(3))
	fault.receive()
	verify(t, 3, source.url(""), target.url("&via=proxy"))
}

// single is one server in the place of a proxy.
type single struct{ *servers.Server }

func (s single) addr() string           { return s.Addr }
func (s single) url(more string) string { return s.URL() + more }

// pace is that of the load: every slot is a transaction of its own.
func (single) pace() time.Duration { return 10 * time.Millisecond }

// TestClusterProxy migrates to a cluster behind one address, killed on the way as the proxy's connections are, and wants every
// write once; then back from there, where there is no replication.
func TestClusterProxy(t *testing.T) {
	beside(t, working)
	source := single{servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb")}
	proxy := servers.ClusterProxyStandIn(t, servers.Cluster(t, "redis:7.0", 3, 0)...)
	target := "redis+cluster://" + proxy.Addr + "?proxy=tencent"
	behindProxy(t, source, target, func(t *testing.T) *through { return dial(t, proxy.Addr) }, "exactly_once", dropping{proxy})
	fault := dial(t, proxy.Addr)
	fault.send("DEL", counterKey(3))
	fault.receive()
	verify(t, 3, source.url(""), target)

	back := servers.Standalone(t, "redis:7.0")
	refused := start(t, "migrate", "--source", target, "--target", back.URL(), "--state", t.TempDir())
	refused.want(refused.end(time.Minute), 5)
	s := start(t, "migrate", "--source", target, "--target", back.URL(), "--capture", "scan", "--accept-alarms", "--progress", "none", "--state", t.TempDir())
	s.want(s.end(2*time.Minute), 4) // both sides agree, and through the proxy nobody knows whether the source is still written
	verify(t, 0, target, back.URL())
}

// dropping is a proxy that loses its connections in place of dying.
type dropping struct{ *servers.ClusterProxy }

func (d dropping) Kill() { d.Drop() }
func (dropping) Start()  {}

// TestTwemproxyToOne migrates from behind nutcracker to one server.
func TestTwemproxyToOne(t *testing.T) {
	beside(t, working)
	source, target := newPool(t, "redis:6.0", 2), servers.Standalone(t, "redis:8.0")
	behindProxy(t, source, target.URL(), func(t *testing.T) *through { return dial(t, target.Addr) }, "exactly_once")
	target.Must("SET", "k:1", "another")
	verify(t, 3, source.url(""), target.URL())
}

// verify runs the comparison and wants its status.
func verify(t *testing.T, want int, source, target string) {
	t.Helper()
	v := start(t, "verify", "--source", source, "--target", target, "--progress", "none")
	v.want(v.end(2*time.Minute), want)
}

// mortal is a proxy that can be killed and started again.
type mortal interface {
	Kill()
	Start()
}

// behindProxy migrates a pool under load, kills the migration twice, and compares what arrived.
func behindProxy(t *testing.T, source front, target string, open func(*testing.T) *through, level string, faulty ...mortal) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	fill := dial(t, source.addr())
	for i := range 3000 {
		fill.send("SET", "k:"+strconv.Itoa(i), strings.Repeat("v", i%300))
		fill.send("HSET", "h:{"+strconv.Itoa(i%40)+"}:"+strconv.Itoa(i), "f", strconv.Itoa(i))
		if i%10 == 0 {
			fill.send("EXPIRE", "k:"+strconv.Itoa(i), "3600")
		}
	}
	fill.receive()
	pace := 2 * time.Millisecond
	if s, slow := source.(interface{ pace() time.Duration }); slow {
		pace = s.pace()
	}
	load := startLoad(t, source.addr(), seed, pace)
	defer load.stop()

	state := t.TempDir()
	run := func() *surecut {
		return start(t, "migrate", "--source", source.url(""), "--target", target, "--accept-alarms", "--progress", "json", "--state", state)
	}
	s := run()
	for range kills(4) {
		s.waitFor("stream", 0, time.Minute, func(p progress) bool { return p.Phase == "streaming" || p.Phase == "caught_up" })
		time.Sleep(time.Duration(rand.IntN(700)) * time.Millisecond) // any moment will do
		if err := s.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-s.done
		s = run()
	}
	s.waitPhase("caught_up", time.Minute)
	for _, p := range faulty {
		for range 5 {
			p.Kill()
			time.Sleep(50 * time.Millisecond) // commands find nobody
			p.Start()
			time.Sleep(1500 * time.Millisecond) // what was lost has been noticed, and commands are on their way again
		}
	}
	increments := load.stop()
	s.waitDrained(time.Minute)
	if got := s.seen()[0].Level; got != level {
		t.Errorf("level %q, want %q", got, level)
	}
	s.want(s.stop(time.Minute), 0)

	verify(t, 0, source.url(""), target)
	there := open(t)
	var sum int64
	for i := range counters {
		there.send("GET", counterKey(i))
	}
	for _, text := range there.receive() {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if sum != increments {
		t.Errorf("the target counted %d increments, the source was sent %d", sum, increments)
	}
}

// load writes through a proxy.
type load struct {
	quit       chan struct{}
	once       sync.Once
	wg         sync.WaitGroup
	increments int64 // written by the goroutine, read after it
}

func startLoad(t *testing.T, addr string, seed uint64, pace time.Duration) *load {
	l := &load{quit: make(chan struct{})}
	c := dial(t, addr)
	random := rand.New(rand.NewPCG(seed, 1))
	l.wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-l.quit:
				return
			case <-time.After(pace):
			}
			c.send("INCR", counterKey(random.IntN(counters)))
			l.increments++
			i := strconv.Itoa(random.IntN(3000))
			c.send("SET", "k:"+i, strconv.Itoa(n))
			c.send("LPUSH", "l:"+i, strconv.Itoa(n))
			c.send("LTRIM", "l:"+i, "0", "20")
			c.send("SADD", "s:"+strconv.Itoa(n%50), strconv.Itoa(n))
			c.send("SPOP", "s:"+strconv.Itoa((n+7)%50))
			c.send("SETEX", "e:"+i, "5000", strconv.Itoa(n))
			c.send("SUNIONSTORE", "u:{a}", "s:{a}", "s:{b}")
			c.send("MSET", "m:"+i, "1", "m:"+strconv.Itoa(n), "2")
			c.send("DEL", "k:"+strconv.Itoa(random.IntN(3000)), "m:"+strconv.Itoa(n-50))
			c.send("ZINCRBY", "z:"+strconv.Itoa(n%20), "1.5", i)
			c.receive()
		}
	})
	return l
}

func (l *load) stop() int64 {
	l.once.Do(func() { close(l.quit) })
	l.wg.Wait()
	return l.increments
}

// through is a connection that sends what it is told and nothing else; a proxy may know no more.
type through struct {
	t       *testing.T
	conn    net.Conn
	in      *bufio.Reader
	out     []byte
	pending int
}

func dial(t *testing.T, addr string) *through {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &through{t: t, conn: conn, in: bufio.NewReader(conn)}
}

func (c *through) send(args ...string) {
	c.out = fmt.Appendf(c.out, "*%d\r\n", len(args))
	for _, a := range args {
		c.out = fmt.Appendf(c.out, "$%d\r\n%s\r\n", len(a), a)
	}
	if c.pending++; c.pending == 1000 {
		c.receive()
	}
}

// receive sends what is waiting and gives its replies; an error reply fails the test.
func (c *through) receive() []string {
	if _, err := c.conn.Write(c.out); err != nil {
		c.t.Errorf("%s: %v", c.conn.RemoteAddr(), err)
	}
	c.out = c.out[:0]
	var replies []string
	for ; c.pending > 0; c.pending-- {
		line, err := c.in.ReadString('\n')
		line = strings.TrimSpace(line)
		if err != nil || strings.HasPrefix(line, "-") {
			c.t.Errorf("%s: reply %q, %v", c.conn.RemoteAddr(), line, err)
			c.pending = 0
			return nil
		}
		if n, err := strconv.Atoi(line[1:]); line[0] == '$' && err == nil && n >= 0 {
			data := make([]byte, n+2)
			if _, err := io.ReadFull(c.in, data); err != nil {
				c.t.Error(err)
			}
			line = " " + string(data[:n])
		}
		replies = append(replies, line[1:])
	}
	return replies
}
