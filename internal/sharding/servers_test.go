//go:build servers

package sharding_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/resp"
	"surecut/internal/sharding"
)

// TestNutcrackerAgrees puts keys through the real proxy and sees that each lies where the router says.
func TestNutcrackerAgrees(t *testing.T) {
	backends := make([]*servers.Server, 3)
	for i := range backends {
		backends[i] = servers.Standalone(t, "redis:7.0")
	}
	type pool struct {
		name     string
		settings []string
		weights  []int
		names    bool
	}
	var pools []pool
	for _, hash := range sharding.Hashes() {
		pools = append(pools, pool{name: hash + " ketama", settings: []string{"hash: " + hash}, weights: []int{1, 1, 1}},
			pool{name: hash + " modula", settings: []string{"hash: " + hash, "distribution: modula"}, weights: []int{1, 2, 1}})
	}
	pools = append(pools,
		pool{name: "weights and names", weights: []int{3, 1, 7}, names: true},
		pool{name: "hash tag", settings: []string{`hash_tag: "{}"`}, weights: []int{1, 1, 1}, names: true},
		pool{name: "odd hash tag", settings: []string{`hash_tag: "$$"`, "hash: murmur", "distribution: modula"}, weights: []int{5, 4, 3}})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, p := range pools {
		t.Run(p.name, func(t *testing.T) {
			var texts []string
			for i, b := range backends {
				b.Must("FLUSHALL")
				text := fmt.Sprintf("%s:%d", b.Addr, p.weights[i])
				if p.names {
					text += fmt.Sprintf(" server-%d", i)
				}
				texts = append(texts, text)
			}
			proxy := servers.Twemproxy(t, p.settings, texts...)
			data, err := os.ReadFile(proxy.Config)
			if err != nil {
				t.Fatal(err)
			}
			configured, err := sharding.ParseConfig(data, "")
			if err != nil {
				t.Fatal(err)
			}
			router, err := sharding.NewRouter(configured.Pool)
			if err != nil {
				t.Fatal(err)
			}
			keys := setMany(t, proxy.Addr, random, 10000)
			found := 0
			for i, b := range backends {
				names, err := b.Do("KEYS", "*").AsStrSlice()
				if err != nil {
					t.Fatal(err)
				}
				found += len(names)
				for _, name := range names {
					slot := router.Slot(name)
					first, last := router.Share(i)
					if router.Server(name) != i || slot < first || slot > last {
						t.Fatalf("key %q is on server %d, and the router says %d (slot %d)", name, i, router.Server(name), slot)
					}
				}
			}
			if found != keys {
				t.Fatalf("%d keys on the servers, %d were set", found, keys)
			}
		})
	}
}

// setMany sets keys of all kinds of bytes through a proxy and gives how many.
func setMany(t *testing.T, addr string, random *rand.Rand, n int) int {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	keys := map[string]bool{}
	for len(keys) < n {
		name := make([]byte, 1+random.IntN(40))
		for i := range name {
			name[i] = byte(random.IntN(256))
			if random.IntN(8) == 0 {
				name[i] = "{}$$"[random.IntN(4)]
			}
		}
		keys[string(name)] = true
	}
	in := bufio.NewReader(conn)
	var out bytes.Buffer
	pending := 0
	drain := func() {
		if _, err := conn.Write(out.Bytes()); err != nil {
			t.Fatal(err)
		}
		out.Reset()
		for ; pending > 0; pending-- {
			line, err := in.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "+OK") {
				t.Fatalf("SET: %q %v", line, err)
			}
		}
	}
	for name := range keys {
		out.Write(resp.AppendCommand(nil, []byte("SET"), []byte(name), []byte("v")))
		if pending++; pending == 500 {
			drain()
		}
	}
	drain()
	return n
}
