package command

import (
	"strings"
	"testing"

	"surecut/internal/profile"
)

func TestThroughProxies(t *testing.T) {
	server := DialectOf(70000, 0)
	twemproxy, codis := server.ThroughTwemproxy(), DialectOf(30200, 0).ThroughCodis()
	for _, tt := range []struct {
		name             string
		twemproxy, codis bool
		why              string
	}{
		{"SET", true, true, ""},
		{"RENAME", false, false, "its keys may live on two servers"},
		{"MULTI", false, false, "of no proxy"},
		{"RESTORE", true, false, "codis-proxy has SLOTSRESTORE for it"},
		{"RESTORE-ASKING", false, false, "as RESTORE"},
		{"XADD", false, false, "nutcracker knows no streams, and Codis 3.2 is Redis 3.2"},
		{"EVAL", true, true, ""},
		{"PUBLISH", false, false, ""},
		{"MSETNX", false, false, ""},
		{"BITOP", false, false, ""},
		{"GETEX", true, false, "it came with 6.2"},
	} {
		if twemproxy.Knows(tt.name) != tt.twemproxy || codis.Knows(tt.name) != tt.codis {
			t.Errorf("%s: twemproxy %v, Codis %v (%s)", tt.name, twemproxy.Knows(tt.name), codis.Knows(tt.name), tt.why)
		}
	}
	for _, f := range []Form{Replace, AbsTTL} {
		if twemproxy.Has(f) || codis.Has(f) {
			t.Errorf("form %d of RESTORE passes", f)
		}
	}
	if !twemproxy.Has(KeepTTL) || codis.Has(KeepTTL) {
		t.Error("SET KEEPTTL passes through nutcracker, and is not known to Codis")
	}
	if _, outcome := codis.Rewrite(nil, [][]byte{[]byte("RENAME"), []byte("a"), []byte("b")}); outcome != Copied {
		t.Errorf("RENAME is %v, want that its keys are copied", outcome)
	}
}

func TestProxyOf(t *testing.T) {
	p := ProxyOf("tencent")
	if p == nil || ProxyOf("") != nil || ProxyOf("other") != nil {
		t.Fatal("tencent alone is known")
	}
	for name, want := range map[string]bool{"mget": true, "UNLINK": true, "msetnx": false, "RENAME": false} {
		r := p.Rule(profile.CrossSlot, strings.ToUpper(name), 0)
		if across := r == nil || r.Level != profile.Block; across != want {
			t.Errorf("%s across slots: %v, want %v", name, !want, want)
		}
	}
}
