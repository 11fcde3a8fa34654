package endpoint

import (
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, raw, why string
		want           Spec
	}{
		{name: "host alone", raw: "redis://db1", why: "the port has a default",
			want: Spec{Kind: Standalone, Addrs: []string{"db1:6379"}, DB: AllDBs}},
		{name: "database", raw: "redis://db1:7000/3", why: "a named database restricts the endpoint to it",
			want: Spec{Kind: Standalone, Addrs: []string{"db1:7000"}, DB: 3}},
		{name: "trailing slash", raw: "redis://db1/", why: "an empty path names no database",
			want: Spec{Kind: Standalone, Addrs: []string{"db1:6379"}, DB: AllDBs}},
		{name: "TLS", raw: "rediss://u:p@db1", why: "rediss is TLS",
			want: Spec{Kind: Standalone, Addrs: []string{"db1:6379"}, Username: "u", Password: "p", DB: AllDBs, TLS: &TLS{}}},
		{name: "password alone", raw: "redis://:p%40ss@db1", why: "escapes are decoded",
			want: Spec{Kind: Standalone, Addrs: []string{"db1:6379"}, Password: "p@ss", DB: AllDBs}},
		{name: "hostile password", raw: "redis://:a@b/c?d#e:f@db1:1", why: "all before the last @ is user and password",
			want: Spec{Kind: Standalone, Addrs: []string{"db1:1"}, Password: "a@b/c?d#e:f", DB: AllDBs}},
		{name: "IPv6", raw: "redis://[::1]:7000", why: "brackets hold the host",
			want: Spec{Kind: Standalone, Addrs: []string{"[::1]:7000"}, DB: AllDBs}},
		{name: "IPv6 with zone, no port", raw: "redis://[fe80::1%eth0]", why: "a zone is part of the host",
			want: Spec{Kind: Standalone, Addrs: []string{"[fe80::1%eth0]:6379"}, DB: AllDBs}},
		{name: "cluster behind a proxy", raw: "redis+cluster://a:1,b:2?proxy=tencent", why: "any of them stands for all nodes",
			want: Spec{Kind: Cluster, Addrs: []string{"a:1", "b:2"}, Proxy: "tencent"}},
		{name: "cluster", raw: "redis+cluster://a:1,b:2", why: "several seeds; a cluster has database 0",
			want: Spec{Kind: Cluster, Addrs: []string{"a:1", "b:2"}, DB: 0}},
		{name: "cluster TLS", raw: "rediss+cluster://a", why: "rediss takes the place of redis in every scheme",
			want: Spec{Kind: Cluster, Addrs: []string{"a:6379"}, DB: 0, TLS: &TLS{}}},
		{name: "sentinel", raw: "redis+sentinel://a,b:1/my-master", why: "the path is the master's name",
			want: Spec{Kind: Sentinel, Addrs: []string{"a:26379", "b:1"}, DB: AllDBs, MasterName: "my-master"}},
		{name: "codis", raw: "redis+codis://p:1?shards=a:2,b", why: "data through the proxy, replication from the shards",
			want: Spec{Kind: Codis, Addrs: []string{"p:1"}, DB: AllDBs, Backends: []string{"a:2", "b:6379"}}},
		{name: "twemproxy", raw: "redis+twemproxy://p?shards=a&hash=murmur&distribution=ketama&tag=%7B%7D", why: "parameters are decoded",
			want: Spec{Kind: Twemproxy, Addrs: []string{"p:22121"}, DB: AllDBs, Backends: []string{"a:6379"}, Hash: "murmur", Distribution: "ketama", Tag: "{}"}},
		{name: "rdb", raw: "rdb:/data/dump.rdb", why: "a file", want: Spec{Kind: RDB, Path: "/data/dump.rdb", DB: AllDBs}},
		{name: "aof", raw: "aof:///data/a.aof", why: "as file URLs are written", want: Spec{Kind: AOF, Path: "/data/a.aof", DB: AllDBs}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.raw)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Parse(%q) = %+v, %v, want %+v (%s)", tt.raw, got, err, tt.want, tt.why)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, raw, says string }{
		{"no scheme", "db1", "no scheme"},
		{"host for scheme", "db1:6379", "known scheme"},
		{"other scheme", "http://db1", "known scheme"},
		{"no slashes", "redis:db1", "//"},
		{"no host", "redis://", "no host"},
		{"empty host in list", "redis+cluster://a,,b", "no host"},
		{"port too high", "redis://a:65536", "65535"},
		{"port zero", "redis://a:0", "65535"},
		{"port words", "redis://a:b", "65535"},
		{"bare IPv6", "redis://::1", "brackets"},
		{"open bracket", "redis://[::1", "closing bracket"},
		{"name in brackets", "redis://[db1]:1", "not an IPv6"},
		{"space", "redis://a b:1", "host name"},
		{"database word", "redis://a/x", "number"},
		{"negative database", "redis://a/-1", "number"},
		{"several standalone", "redis://a,b", "redis+cluster://"},
		{"twice", "redis+cluster://a,a:6379", "twice"},
		{"proxy of another kind", "redis://a?proxy=tencent", "unknown parameter"},
		{"cluster database", "redis+cluster://a/2", "database 0"},
		{"sentinel without master", "redis+sentinel://a", "no master"},
		{"twemproxy without shards", "redis+twemproxy://a", "shards="},
		{"unknown parameter", "redis://a?x=1", `"x"`},
		{"proxy parameter elsewhere", "redis://a?shards=b", `"shards"`},
		{"fragment", "redis://a#b", "fragment"},
		{"bad escape", "redis://:a%zz@a", "%25"},
		{"no file", "rdb:", "no file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse(tt.raw); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Parse(%q): %v, want an error that says %q", tt.raw, err, tt.says)
			}
		})
	}
}

func TestParseErrorsHoldNoSecret(t *testing.T) {
	const secret = "s3cr3t"
	for _, tail := range []string{"", "@", "@a:b", "@a/x", "@a,a", "@a?x=1", "@[", "%zz@a", "@a#f", "@a b"} {
		for _, head := range []string{"redis://", "redis+cluster://u:", "http://u:", "redis:", "redis+codis://:", "x"} {
			raw := head + ":" + secret + tail
			if !strings.Contains(raw, "@") {
				continue // without @ nothing tells a password from a host
			}
			spec, err := Parse(raw)
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("Parse(%q): the error shows the password: %v", raw, err)
			}
			if err == nil && strings.Contains(spec.String(), secret) {
				t.Errorf("Parse(%q).String() = %s shows the password", raw, spec)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, raw := range []string{"redis://u:p@[::1]:1/3", "rediss+cluster://a,b:2", "redis+sentinel://a/m%2F/2", "redis+twemproxy://p?shards=a&tag=%7B%7D", "rdb:/x", "redis://:%zz@a"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		spec, err := Parse(raw)
		if err != nil {
			return
		}
		again, err := Parse(spec.String())
		if err != nil {
			t.Fatalf("%q parses, its String %q does not: %v", raw, spec, err)
		}
		spec.Password = ""
		if !reflect.DeepEqual(again, spec) {
			t.Fatalf("%q became %+v, its String %q %+v", raw, spec, spec, again)
		}
	})
}
