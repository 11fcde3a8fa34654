package endpoint

import (
	"slices"
	"strings"
	"testing"
)

func TestNAT(t *testing.T) {
	m, err := ParseNAT([]string{
		"10.255.0.1:6379=127.0.0.1:7001", "10.255.0.2=gate:7002", "10.255.0.3=gate", "Node-4.Inside=198.51.100.4",
		"[fd00::1]:6379=[::1]:7", "fd00:0::2=[::1]", "10.255.0.3:1=special:2",
	})
	if err != nil {
		t.Fatal(err)
	}
	for announced, want := range map[string]string{
		"10.255.0.1:6379":    "127.0.0.1:7001",
		"10.255.0.1:6380":    "10.255.0.1:6380",
		"10.255.0.2:6379":    "gate:7002",
		"10.255.0.3:6379":    "gate:6379",
		"10.255.0.3:1":       "special:2",
		"node-4.inside:6379": "198.51.100.4:6379",
		"[fd00:0::1]:6379":   "[::1]:7",
		"[fd00::2]:5":        "[::1]:5",
		"other:1":            "other:1",
	} {
		if got := m.Reach(announced); got != want {
			t.Errorf("%s is reached at %s, want %s", announced, got, want)
		}
	}
	for pair, says := range map[string]string{
		"a": "not a pair", "=b": "is empty", "a=": "is empty", "a:x=b": "port", "a=b:0": "port", "[::1=b": "bracket", "a b=c": "host name",
	} {
		if _, err := ParseNAT([]string{pair}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("ParseNAT(%q): %v, want %q", pair, err, says)
		}
	}
	if _, err := ParseNAT([]string{"a=b", "A=c"}); err == nil {
		t.Error("one host is mapped to two")
	}
}

func TestParseNodes(t *testing.T) {
	nodes, err := ParseNodes("\ufeffa:6379\r\n\n# a comment:1:x\n  10.0.0.1:1:p:w@#=  \n[fd00::1]:6379:pw\nb:2:\n")
	want := []ListedNode{{"a:6379", "", false}, {"10.0.0.1:1", "p:w@#=", true}, {"[fd00::1]:6379", "pw", true}, {"b:2", "", true}}
	if err != nil || !slices.Equal(nodes, want) {
		t.Errorf("ParseNodes = %+v, %v", nodes, err)
	}
	for text, says := range map[string]string{
		"":                       "contains no node",
		"a:1\ns3cr3t":            "line 2: is not a node",
		"a:1\n\nfd00::1:s3cr3t":  "line 3: is not a node",
		"a:s3cr3t:1":             "line 1: its host or port",
		"redis://:s3cr3t@h:6379": "line 1: its host or port",
		"a:99999:s3cr3t":         "line 1: its host or port",
		"[zz]:1:s3cr3t":          "line 1: its host or port",
		"a:1:s3cr3t\na:01":       "line 2: names a:1 again, which is already on line 1",
	} {
		if _, err := ParseNodes(text); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("ParseNodes(%q): %v, want %q and no password", text, err, says)
		}
	}
}

func TestParseListed(t *testing.T) {
	nodes, err := ParseNodes("a:1:pa\nb:2")
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		"redis+cluster://":               "redis+cluster://a:1,b:2",
		"redis+cluster://u:p@":           "redis+cluster://u@a:1,b:2",
		"rediss+cluster://b:2,c:3":       "rediss+cluster://b:2,c:3,a:1",
		"redis+codis://proxy":            "redis+codis://proxy:19000?shards=a:1,b:2",
		"redis+codis://proxy?shards=b:2": "redis+codis://proxy:19000?shards=b:2,a:1",
		"redis+sentinel://s:26379/m":     "redis+sentinel://s:26379/m",
		"redis://":                       "",
		"rdb:/x":                         "",
		"redis+twemproxy://":             "",
		"redis+cluster:///7":             "",
		"redis+sentinel://":              "",
	} {
		s, err := ParseListed(raw, nodes)
		if want == "" && err == nil || want != "" && (err != nil || s.String() != want) {
			t.Errorf("ParseListed(%s) = %s, %v; want %q", raw, s, err, want)
			continue
		}
		if want != "" && (s.Passwords["a:1"] != "pa" || len(s.Passwords) != 1 || len(s.Listed) != 2) {
			t.Errorf("ParseListed(%s): passwords of %d nodes, %d listed", raw, len(s.Passwords), len(s.Listed))
		}
	}
	one, err := ParseListed("redis:///3", nodes[:1])
	if err != nil || one.String() != "redis://a:1/3" {
		t.Errorf("one node: %s, %v", one, err)
	}
}

func FuzzParseNodes(f *testing.F) {
	f.Add("a:1:pw\n[::1]:2\n# c\nb:3:")
	f.Fuzz(func(t *testing.T, text string) {
		nodes, err := ParseNodes(text)
		if err != nil {
			return
		}
		var again strings.Builder
		for _, n := range nodes {
			again.WriteString(n.Addr)
			if n.HasPassword {
				again.WriteString(":" + n.Password)
			}
			again.WriteByte('\n')
		}
		second, err := ParseNodes(again.String())
		if err != nil || !slices.Equal(second, nodes) {
			t.Errorf("%q: %+v, written and read again %+v, %v", text, nodes, second, err)
		}
	})
}

func FuzzParseNAT(f *testing.F) {
	f.Add("10.0.0.1:1=b:2")
	f.Add("fd00::1=[::1]:2")
	f.Fuzz(func(t *testing.T, pair string) {
		m, err := ParseNAT([]string{pair})
		if err != nil {
			return
		}
		for from, to := range m {
			again, err := ParseNAT([]string{from + "=" + to})
			if err != nil || again[from] != to {
				t.Errorf("%q: %s=%s is read again as %v, %v", pair, from, to, again, err)
			}
		}
	})
}
