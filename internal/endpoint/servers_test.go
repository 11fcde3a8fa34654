//go:build servers

package endpoint

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/keyspace"
)

func open(t *testing.T, url string) *Deployment {
	t.Helper()
	spec, err := Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestStandaloneOfEveryVersion(t *testing.T) {
	for _, image := range servers.Images() {
		t.Run(image, func(t *testing.T) {
			s := servers.Standalone(t, image, "--requirepass", "p@ss/word")
			d := open(t, "redis://:p@ss/word@"+s.Addr)
			server, err := d.Server(t.Context(), s.Addr)
			if err != nil || server.Flavor != s.Flavor || server.Version != s.Version || server.Databases != 16 || server.Role != "master" {
				t.Errorf("Server = %+v, %v, want %s %s", server, err, s.Flavor, s.Version)
			}
			if n, ok := d.PrimaryOf(12345); !ok || n.Addr != s.Addr {
				t.Errorf("PrimaryOf = %v, %v: one server has every slot", n, ok)
			}
			if required, err := d.RequiresAuth(t.Context(), s.Addr); err != nil || !required {
				t.Errorf("RequiresAuth = %v, %v", required, err)
			}
			checkCodes(t, d, s.Addr)
			checkDatabases(t, d, s.Addr)
			checkRDBVersion(t, d, s, server.RDBVersion)
		})
	}
}

// checkCodes provokes replies, with and without a code of their own.
func checkCodes(t *testing.T, d *Deployment, addr string) {
	t.Helper()
	c, err := d.Client(t.Context(), addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	c.Do(t.Context(), c.B().Set().Key("s").Value("v").Build())
	for want, args := range map[string][]string{"WRONGTYPE": {"LPUSH", "s", "v"}, "ERR": {"SELECT", "99"}, "NOSCRIPT": {"EVALSHA", strings.Repeat("0", 40), "0"}} {
		if err := c.Do(t.Context(), c.B().Arbitrary(args...).Build()).Error(); Code(err) != want {
			t.Errorf("Code of %v = %q (%v), want %s", args, Code(err), err, want)
		}
	}
	err = c.Do(t.Context(), c.B().Get().Key("absent").Build()).Error()
	if !IsNil(err) || Code(err) != "" {
		t.Errorf("the nil reply: %v, code %q", err, Code(err))
	}
}

func checkDatabases(t *testing.T, d *Deployment, addr string) {
	t.Helper()
	c, err := d.Client(t.Context(), addr, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), c.B().Set().Key("in3").Value("v").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	zero, err := d.Client(t.Context(), addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := Info(t.Context(), zero, "keyspace")
	if err != nil || !strings.HasPrefix(info["db3"], "keys=1,") {
		t.Errorf("db3 is %q, %v", info["db3"], err)
	}
}

// checkRDBVersion holds the table against the version at the end of a DUMP payload.
func checkRDBVersion(t *testing.T, d *Deployment, s *servers.Server, want int) {
	t.Helper()
	c, err := d.Client(t.Context(), s.Addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	dump, err := c.Do(t.Context(), c.B().Dump().Key("s").Build()).ToString()
	if err != nil || len(dump) < 10 {
		t.Fatalf("DUMP gave %d bytes, %v", len(dump), err)
	}
	if got := int(dump[len(dump)-10]) | int(dump[len(dump)-9])<<8; got != want {
		t.Errorf("%s writes RDB version %d, the table says %d", s.Image, got, want)
	}
	before := s.Info("server")["run_id"]
	if accepted, probed, err := d.AcceptedRDB(t.Context(), s.Addr); accepted != want || !probed || err != nil {
		t.Errorf("%s accepts RDB version %d (probed %v), %v, want %d", s.Image, accepted, probed, err, want)
	}
	if s.Info("server")["run_id"] != before || s.Must("DBSIZE") != int64(1) {
		t.Errorf("the probe left %v keys, or restarted the server", s.Must("DBSIZE"))
	}
}

func TestClusterOfEveryVersion(t *testing.T) {
	for _, image := range servers.Must() {
		t.Run(image, func(t *testing.T) {
			nodes := servers.Cluster(t, image, 3, 1)
			// The first seed is dead, the second a replica: any that answers will do.
			d := open(t, "redis+cluster://127.0.0.1:1,"+nodes[4].Addr)
			shards := d.Shards()
			if len(shards) != 3 {
				t.Fatalf("%d shards: %+v", len(shards), shards)
			}
			for i, s := range shards {
				if s.Primary.Addr != nodes[i].Addr || len(s.Replicas) != 1 || s.Replicas[0].Addr != nodes[3+i].Addr {
					t.Errorf("shard %d is %+v, want %s and %s", i, s, nodes[i].Addr, nodes[3+i].Addr)
				}
				if reads, err := d.ReadsAtOffset(t.Context(), s, nodes[3+i].Addr); err != nil || !reads {
					t.Errorf("a replica of shard %d reads at an offset: %v, %v", i, reads, err)
				}
			}
			for slot := range uint16(keyspace.Slots) {
				if _, ok := d.PrimaryOf(slot); !ok {
					t.Fatalf("slot %d has no primary", slot)
				}
			}
			own, _ := d.PrimaryOf(keyspace.Slot("foo"))
			for _, s := range shards {
				c, err := d.Client(t.Context(), s.Primary.Addr, 0)
				if err != nil {
					t.Fatal(err)
				}
				err = c.Do(t.Context(), c.B().Set().Key("foo").Value("v").Build()).Error()
				if want := map[bool]string{true: "", false: "MOVED"}[s.Primary == own]; Code(err) != want || want == "" && err != nil {
					t.Errorf("SET at %s: %v, want code %q", s.Primary.Addr, err, want)
				}
			}
		})
	}
}

func TestKindMismatch(t *testing.T) {
	one := servers.Standalone(t, "redis:7.0")
	cluster := servers.Cluster(t, "redis:7.0", 3, 0)
	for url, says := range map[string]string{
		"redis://" + cluster[0].Addr:          "redis+cluster://" + cluster[0].Addr,
		"redis+cluster://" + one.Addr:         "redis://" + one.Addr,
		"redis://" + one.Addr + "/99":         "database 99",
		"redis://:wrong@" + one.Addr:          "no password set",
		"redis://nobody:pw@" + one.Addr:       "password is wrong",
		"rediss+cluster://" + one.Addr:        "TLS",
		"redis+cluster://127.0.0.1:1,[::1]:1": "127.0.0.1:1",
	} {
		spec, err := Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if d, err := Open(ctx, spec); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Open(%s): %v, want an error that says %q", url, err, says)
			if d != nil {
				d.Close()
			}
		}
		cancel()
	}
}

func TestRefreshFollowsFailover(t *testing.T) {
	nodes := servers.Cluster(t, "redis:7.0", 3, 1)
	d := open(t, "redis+cluster://"+nodes[0].Addr)
	nodes[0].Kill()
	deadline := time.Now().Add(time.Minute)
	for {
		err := d.Refresh(t.Context())
		if n, ok := d.PrimaryOf(0); err == nil && ok && n.Addr == nodes[3].Addr {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("slot 0 still belongs to %+v (%v)", d.Shards()[0], err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestDialReplicaBuffersNothing(t *testing.T) {
	s := servers.Standalone(t, "redis:6.0", "--requirepass", "pw")
	d := open(t, "redis://:pw@"+s.Addr)
	conn, err := d.DialReplica(t.Context(), s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, "*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "$2\r\nhi\r\n" {
		t.Errorf("after the greeting came %q, %v", got, err)
	}
}
