//go:build servers

package writes

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
)

// Whatever writes a key, it is in the set once the end was awaited; what nobody writes is not.
func TestWhatServersTell(t *testing.T) {
	for _, image := range servers.Must() {
		t.Run(image, func(t *testing.T) {
			s := servers.Standalone(t, image)
			for i := range 50 {
				s.Must("SET", "rest:"+strconv.Itoa(i), "v")
			}
			d := endpointtest.Open(t, s.URL())
			tracked, followed := NewSet(), NewSet()
			tracking, err := Track(t.Context(), dial(t, d, s), tracked)
			if err != nil {
				t.Fatal(err)
			}
			defer tracking.Close()
			if _, err := Follow(t.Context(), dial(t, d, s), followed); err == nil {
				t.Fatal("a server without a backlog was followed")
			}
			if fork := s.Info("stats")["sync_full"]; fork != "0" {
				t.Fatalf("sync_full is %s", fork)
			}
			servers.Replica(t, s)
			tracked = NewSet()
			tracking.Exchange(tracked)
			replica, err := Follow(t.Context(), dial(t, d, s), followed)
			if err != nil {
				t.Fatal(err)
			}
			defer replica.Close()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			written := writeAll(s, rand.New(rand.NewPCG(seed, 0)))
			offset, err := strconv.ParseInt(s.Info("replication")["master_repl_offset"], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := replica.Await(ctx, offset); err != nil {
				t.Fatal(err)
			}
			if err := tracking.Await(ctx); err != nil {
				t.Fatal(err)
			}
			for name, set := range map[string]*Set{"replication": followed, "tracking": tracked} {
				for _, k := range written {
					if !set.Has(k) {
						t.Errorf("%s: %s was written and is not in the set", name, k)
					}
				}
				if set.Has("rest:7") {
					t.Errorf("%s: a key that nobody wrote is in the set, everything: %q", name, set.All())
				}
			}
			s.Must("FLUSHALL")
			if err := tracking.Await(ctx); err != nil || tracked.All() == "" {
				t.Errorf("FLUSHALL: %v, %q", err, tracked.All())
			}
		})
	}
}

// writeAll writes keys in many ways and returns their names.
func writeAll(s *servers.Server, rnd *rand.Rand) []string {
	var names []string
	for i := range 60 {
		k := "{t}k" + strconv.Itoa(i)
		names = append(names, k)
		switch rnd.IntN(8) {
		case 0:
			s.Must("SET", k, "v")
		case 1:
			s.Must("INCR", k)
		case 2:
			s.Must("EVAL", "redis.call('RPUSH',KEYS[1],'a')", "1", k)
		case 3:
			s.Must("MSET", k, "v", k+":2", "w")
			names = append(names, k+":2")
		case 4:
			s.Must("SET", k+":from", "v")
			s.Must("RENAME", k+":from", k)
			names = append(names, k+":from")
		case 5:
			s.Must("SET", k, "v", "PX", "1")
			time.Sleep(2 * time.Millisecond) // past the expiry, which is an instant, and not waited for by luck
			s.Do("GET", k)
		case 6:
			s.Must("XADD", k, "*", "f", "v")
		case 7:
			s.Must("ZADD", k, "1", "m")
			s.Must("EXPIRE", k, "100")
			s.Must("PERSIST", k)
		}
	}
	return names
}

func dial(t *testing.T, d *endpoint.Deployment, s *servers.Server) net.Conn {
	t.Helper()
	conn, err := d.DialReplica(t.Context(), s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
