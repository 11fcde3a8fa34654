package endpoint

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"surecut/internal/keyspace"
)

// Lines as servers of these versions sent them, with the IDs shortened.
const (
	nodes30 = "aa 127.0.0.1:7000 myself,master - 0 0 1 connected 0-5460\n" +
		"bb 127.0.0.1:7001 master - 0 1 2 connected 5461-10922 16383\n" +
		"cc :0 slave,fail,noaddr bb 0 1 2 disconnected\n"
	nodes70 = "aa 10.0.0.1:7000@17000,redis-1 myself,master - 0 0 1 connected 0-100 [101->-bb] [102-<-bb]\n" +
		"bb 10.0.0.2:7000@17000,,tls-port=0,shard-id=ff master - 0 1 2 connected 103-16383\n" +
		"cc 10.0.0.3:7000@17000 slave aa 0 1 2 connected\n" +
		"dd 10.0.0.4:7000@17000 slave,fail? bb 0 1 2 connected\n" +
		"ee 10.0.0.5:7000@17000 master - 0 1 3 connected\n"
)

func TestParseClusterNodes(t *testing.T) {
	nodes, err := ParseClusterNodes(nodes70, "10.9.9.9:7000")
	if err != nil {
		t.Fatal(err)
	}
	a, b := nodes[0], nodes[1]
	if a.Addr != "10.0.0.1:7000" || a.Host != "redis-1" || !a.Has("myself") || !reflect.DeepEqual(a.Slots, keyspace.SlotRanges{{First: 0, Last: 100}}) {
		t.Errorf("first node is %+v", a)
	}
	if a.Migrating[101] != "bb" || a.Importing[102] != "bb" || len(a.Migrating) != 1 || len(a.Importing) != 1 {
		t.Errorf("slots on the move are %v and %v", a.Migrating, a.Importing)
	}
	if b.Host != "" {
		t.Errorf("auxiliary fields were taken for the host name %q", b.Host)
	}
	if nodes[2].PrimaryID != "aa" || !nodes[2].Linked {
		t.Errorf("replica is %+v", nodes[2])
	}
}

func TestParseNodeAddr(t *testing.T) {
	tests := []struct{ name, text, addr, why string }{
		{"3.0", "127.0.0.1:7000", "127.0.0.1:7000", "no cluster bus port before 4.0"},
		{"4.0", "127.0.0.1:7000@17000", "127.0.0.1:7000", "the bus port is not for clients"},
		{"7.0", "127.0.0.1:7000@17000,host", "127.0.0.1:7000", "host name since 7.0"},
		{"IPv6", "::1:7000@17000", "[::1]:7000", "the last colon comes before the port"},
		{"empty host", ":7000@17000", "10.9.9.9:7000", "a node that never met another does not know its address"},
		{"none", ":0@0", "", "noaddr"},
	}
	for _, tt := range tests {
		if got, _, err := parseNodeAddr(tt.text, "10.9.9.9:1"); err != nil || got != tt.addr {
			t.Errorf("%s: parseNodeAddr(%q) = %q, %v, want %q (%s)", tt.name, tt.text, got, err, tt.addr, tt.why)
		}
	}
}

func TestParseClusterNodesRefuses(t *testing.T) {
	for _, line := range []string{
		"aa 127.0.0.1:7000 master", "aa 127.0.0.1 master - 0 0 1 connected", "aa 127.0.0.1:x master - 0 0 1 connected",
		"aa 127.0.0.1:1 master - 0 0 1 connected 16384", "aa 127.0.0.1:1 master - 0 0 1 connected 5-4",
		"aa 127.0.0.1:1 master - 0 0 1 connected [1]", "aa 127.0.0.1:1 master - 0 0 1 connected x",
	} {
		if _, err := ParseClusterNodes(line, "h:1"); err == nil || !strings.Contains(err.Error(), "h:1") {
			t.Errorf("ParseClusterNodes(%q): %v, want an error that names the node asked", line, err)
		}
	}
}

func TestShardsOf(t *testing.T) {
	nodes, err := ParseClusterNodes(nodes70, "h:1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := shardsOf(nodes, map[string]string{"bb": "redis-2:7000"})
	want := []Shard{
		{Primary: Node{"aa", "10.0.0.1:7000"}, Replicas: []Node{{"cc", "10.0.0.3:7000"}}, Slots: keyspace.SlotRanges{{First: 0, Last: 100}}},
		{Primary: Node{"bb", "redis-2:7000"}, Slots: keyspace.SlotRanges{{First: 103, Last: 16383}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("shardsOf = %+v, %v, want %+v: the preferred endpoint, no suspect replica, no empty primary", got, err, want)
	}
	if failed := failedNodes(nodes, nil); !slices.Equal(failed, []string{"10.0.0.4:7000"}) {
		t.Errorf("failedNodes = %v, want the suspect replica", failed)
	}
	owners := slotOwners(got)
	if owners[100] != 0 || owners[101] != -1 || owners[103] != 1 || owners[16383] != 1 {
		t.Errorf("slotOwners: %d %d %d %d", owners[100], owners[101], owners[103], owners[16383])
	}
}

func TestShardsOfOld(t *testing.T) {
	nodes, err := ParseClusterNodes(nodes30, "h:1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := shardsOf(nodes, nil)
	if err != nil || len(got) != 2 || len(got[1].Replicas) != 0 || len(got[1].Slots) != 2 {
		t.Errorf("shardsOf = %+v, %v, want two shards, the failed replica left out", got, err)
	}
	if failed := failedNodes(nodes, nil); len(failed) > 0 {
		t.Errorf("failedNodes = %v, want none: what has no address cannot be brought back", failed)
	}
}

func FuzzParseClusterNodes(f *testing.F) {
	f.Add(nodes30)
	f.Add(nodes70)
	f.Fuzz(func(t *testing.T, text string) {
		nodes, err := ParseClusterNodes(text, "h:1")
		if err != nil {
			return
		}
		shards, err := shardsOf(nodes, nil)
		if err != nil {
			return
		}
		owners := slotOwners(shards)
		for slot := range keyspace.Slots {
			if i := owners[slot]; int(i) >= len(shards) {
				t.Fatalf("slot %d belongs to shard %d of %d", slot, i, len(shards))
			}
		}
	})
}

func FuzzParseInfo(f *testing.F) {
	f.Add("# Server\r\nredis_version:7.0.15\r\nvalkey_version:8.1.0\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		info := ParseInfo(text)
		for k, v := range info {
			if strings.ContainsAny(k, ":\n") || strings.Contains(v, "\n") {
				t.Fatalf("field %q holds %q", k, v)
			}
		}
		if s, err := serverOf("h:1", info); err == nil && s.Number < 0 {
			t.Fatalf("version %q became %d", s.Version, s.Number)
		}
	})
}
