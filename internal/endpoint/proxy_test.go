package endpoint

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
	"surecut/internal/sharding"
)

func TestDatabases(t *testing.T) {
	for kind, want := range map[Kind]keyspace.Databases{Standalone: {Home: 5}, Sentinel: {Home: 5}, Codis: {Home: 5}, Cluster: {Only: true}} {
		d := &Deployment{spec: Spec{Kind: kind, DB: 5}}
		if got := d.Databases(); got != want {
			t.Errorf("%s: %+v, want %+v", kind, got, want)
		}
	}
}

// TestQuietConn: a server that is told nothing but AUTH and its commands still serves a rueidis client.
func TestQuietConn(t *testing.T) {
	for _, password := range []string{"", "secret"} {
		here, there := net.Pipe()
		heard := make(chan string, 10)
		go func() {
			in := bufio.NewReader(there)
			for {
				n := 0
				if _, err := fmt.Fscanf(in, "*%d\r\n", &n); err != nil {
					return
				}
				var words []string
				for range n {
					size := 0
					fmt.Fscanf(in, "$%d\r\n", &size)
					word := make([]byte, size+2)
					io.ReadFull(in, word)
					words = append(words, string(word[:size]))
				}
				heard <- strings.Join(words, " ")
				io.WriteString(there, "+OK\r\n")
			}
		}()
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"x:1"}, Password: password, ForceSingleClient: true,
			DisableCache: true, AlwaysRESP2: true, ClientSetInfo: rueidis.DisableClientSetInfo, PipelineMultiplex: -1,
			DialCtxFn: dialOnce(&quietConn{Conn: here})})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Do(t.Context(), c.B().Arbitrary("ECHO", "HELLO").Build()).ToString(); err != nil || got != "OK" {
			t.Errorf("%q, %v", got, err)
		}
		if password != "" {
			if got := <-heard; got != "AUTH secret" {
				t.Errorf("the server heard %q first", got)
			}
		}
		if got := <-heard; got != "ECHO HELLO" {
			t.Errorf("the server heard %q", got)
		}
		c.Close()
		there.Close()
	}
}

func TestParseDashboardReply(t *testing.T) {
	slots := make([]string, sharding.CodisSlots)
	for i := range slots {
		slots[i] = fmt.Sprintf(`{"id":%d,"group_id":%d,"action":{}}`, i, i/600+1)
	}
	text := `{"stats":{"slots":[` + strings.Join(slots, ",") + `],"group":{"models":[
		{"id":1,"servers":[{"server":"a:1"},{"server":"b:1"}]},{"id":2,"servers":[{"server":"c:1"}]}]}}}`
	m, err := parseDashboardReply([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	shards, err := m.shards(nil)
	if err != nil || len(shards) != 2 || shards[0].Primary.Addr != "a:1" || len(shards[0].Replicas) != 1 || shards[0].Replicas[0].Addr != "b:1" ||
		len(shards[1].Slots) != 1 || shards[1].Slots[0] != (keyspace.SlotRange{First: 600, Last: 1023}) {
		t.Errorf("%+v, %v", shards, err)
	}
	if _, err := m.shards([]string{"a:1"}); err == nil || !strings.Contains(err.Error(), "c:1") {
		t.Errorf("a server that is not named: %v", err)
	}
	moving := strings.Replace(text, `"action":{}`, `"action":{"state":"migrating"}`, 1)
	if m, err := parseDashboardReply([]byte(moving)); err != nil || m.moving != 1 {
		t.Errorf("%d slots move, %v", m.moving, err)
	}
	m.owner[7] = ""
	if _, err := m.shards(nil); err == nil || !strings.Contains(err.Error(), "slot 7") {
		t.Errorf("a slot without a server: %v", err)
	}
}

func FuzzParseDashboardReply(f *testing.F) {
	f.Add([]byte(`{"stats":{"slots":[{"id":0,"group_id":1}],"group":{"models":[{"id":1,"servers":[{"server":"a:1"}]}]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := parseDashboardReply(data); err == nil {
			_, _ = m.shards(nil)
		}
	})
}

func TestTwemproxySpecs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "n.yml")
	if err := os.WriteFile(file, []byte("a: {redis: true, redis_auth: pw, redis_db: 3, servers: ['h:1:2 x', 'h:2:1 y']}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Parse("redis+twemproxy://p:1?config=" + file)
	if err != nil {
		t.Fatal(err)
	}
	d := &Deployment{spec: s}
	if d.proxy, err = newProxied(s); err != nil {
		t.Fatal(err)
	}
	if err := d.refreshTwemproxy(); err != nil {
		t.Fatal(err)
	}
	if dbs := d.Databases(); dbs != (keyspace.Databases{Home: 3, Only: true}) || d.password("h:1") != "pw" || !d.IsProxy("p:1") || d.IsProxy("h:1") || !d.Sharded() {
		t.Errorf("databases %+v", dbs)
	}
	for i := range 1000 {
		name := fmt.Sprint("key", i)
		n, ok := d.PrimaryOf(d.Slot(name))
		if !ok || !d.Holds(n.Addr, name) || d.proxy.pool.Servers[d.proxy.router.Server(name)].Addr != n.Addr {
			t.Fatalf("%s is on %v", name, n)
		}
	}
	for raw, says := range map[string]string{
		"redis+twemproxy://p?config=f&shards=a":            "remove one",
		"redis+twemproxy://p?shards=a&pool=x":              "no configuration",
		"redis+twemproxy://p?shards=a&distribution=random": "random",
		"redis+twemproxy://p?shards=a&via=moon":            "via=moon",
		"redis+codis://p?dashboard=ftp://x":                "http://",
		"redis+codis://p?dashboard=http://x:1&shards=a":    "remove one",
	} {
		if _, err := Parse(raw); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error that says %q", raw, err, says)
		}
	}
	raw := "redis+twemproxy://p:22121?shards=a:1,b:2:3,c:3:1+name&hash=murmur&tag=%7B%7D&via=proxy"
	if s, err := Parse(raw); err != nil || s.String() != raw {
		t.Errorf("%s became %s, %v", raw, s, err)
	}
}

func dialOnce(conn net.Conn) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) { return conn, nil }
}
