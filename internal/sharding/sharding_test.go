package sharding

import (
	"slices"
	"strings"
	"testing"
)

func TestCodisSlot(t *testing.T) {
	for _, tt := range []struct {
		key  string
		want uint16
		why  string
	}{
		{"", 0, "the CRC of nothing is 0"},
		{"a{}b", 0, "an empty tag is a tag"},
		{"x{}y", CodisSlot("{}"), "all keys of an empty tag share a slot"},
		{"{user}1", CodisSlot("user"), "a tag decides"},
		{"{user", CodisSlot("{user"), "no tag without an end"},
		{"}{a}", CodisSlot("a"), "what closes before it opens is no tag"},
		{"123456789", 0xcbf43926 % 1024, "the CRC's check value"},
	} {
		if got := CodisSlot(tt.key); got != tt.want {
			t.Errorf("CodisSlot(%q) = %d, want %d (%s)", tt.key, got, tt.want, tt.why)
		}
	}
}

const config = `
alpha:
  listen: 127.0.0.1:22121
  hash: murmur
  hash_tag: "{}"
  distribution: modula
  auto_eject_hosts: true
  redis: true
  redis_auth: secret
  redis_db: 2
  server_connections: 1
  servers:
   - 10.0.0.1:6379:1 one
   - 10.0.0.2:6379:3
memcache:
  listen: 127.0.0.1:22122
  servers:
   - 10.0.0.3:11211:1
`

func TestParseConfig(t *testing.T) {
	got, err := ParseConfig([]byte(config), "")
	if err != nil {
		t.Fatal(err)
	}
	want := []Server{{"10.0.0.1:6379", "one", 1}, {"10.0.0.2:6379", "", 3}}
	if !slices.Equal(got.Servers, want) || got.Hash != "murmur" || got.Distribution != "modula" || got.Tag != "{}" ||
		!got.Ejects || got.Password != "secret" || got.DB != 2 {
		t.Errorf("%+v", got)
	}
	for _, tt := range []struct{ name, text, pool, says string }{
		{"no YAML", "\t", "", "not a twemproxy configuration"},
		{"no Redis", "a:\n  servers: []\n", "", "no pool of Redis"},
		{"another pool", config, "beta", "alpha"},
		{"of memcached", config, "memcache", "alpha"},
		{"two pools", config + "beta: {redis: true}", "", "alpha, beta"},
		{"no weight", "a: {redis: true, servers: ['h:1']}", "", "host:port:weight"},
		{"a socket", "a: {redis: true, servers: ['/tmp/s:1']}", "", "unix socket"},
		{"a port", "a: {redis: true, servers: ['h:0:1']}", "", "port"},
	} {
		if _, err := ParseConfig([]byte(tt.text), tt.pool); err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want an error that says %q", tt.name, err, tt.says)
		}
	}
}

func TestNewRouterRefuses(t *testing.T) {
	one := []Server{{"a:1", "", 1}}
	for _, tt := range []struct {
		name string
		pool Pool
		says string
	}{
		{"no server", Pool{}, "servers"},
		{"random", Pool{Servers: one, Distribution: "random"}, "random"},
		{"unknown distribution", Pool{Servers: one, Distribution: "x"}, `"x"`},
		{"unknown hash", Pool{Servers: one, Hash: "sha"}, `"sha"`},
		{"half a tag", Pool{Servers: one, Tag: "{"}, "hash_tag"},
		{"no weight", Pool{Servers: []Server{{"a:1", "", 0}}}, "weight"},
		{"a name twice", Pool{Servers: []Server{{"a:1", "x", 1}, {"b:1", "x", 1}}}, "twice"},
	} {
		if _, err := NewRouter(tt.pool); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want an error that says %q", tt.name, err, tt.says)
		}
	}
}

// FuzzRouter: whatever the key, its slot is within the share of its server.
func FuzzRouter(f *testing.F) {
	f.Add("key{tag}", uint8(3), uint8(0))
	f.Add("", uint8(1), uint8(9))
	f.Fuzz(func(t *testing.T, key string, count, hash uint8) {
		p := Pool{Hash: Hashes()[int(hash)%len(Hashes())], Tag: "{}", Distribution: []string{"ketama", "modula"}[count%2]}
		for i := range int(count)%20 + 1 {
			p.Servers = append(p.Servers, Server{Addr: "10.0.0." + string(rune('a'+i)) + ":1", Weight: i%3 + 1})
		}
		r, err := NewRouter(p)
		if err != nil {
			t.Fatal(err)
		}
		first, last := r.Share(r.Server(key))
		if s := r.Slot(key); s < first || s > last || int(s) >= r.Slots() {
			t.Errorf("%q: slot %d of server %d, whose share is %d to %d of %d", key, s, r.Server(key), first, last, r.Slots())
		}
	})
}

// FuzzParseConfig: what is read has servers that a router takes, or an error.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(config), "")
	f.Add([]byte("a: {redis: true, servers: ['[::1]:1:1 x']}"), "a")
	f.Fuzz(func(t *testing.T, data []byte, pool string) {
		c, err := ParseConfig(data, pool)
		if err != nil {
			return
		}
		for _, s := range c.Servers {
			if !strings.Contains(s.Addr, ":") {
				t.Errorf("server %+v", s)
			}
		}
	})
}
