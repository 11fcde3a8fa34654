package endpoint

import (
	"errors"
	"fmt"
	"testing"

	"surecut/internal/resp"
)

func TestServerOf(t *testing.T) {
	tests := []struct {
		name, why string
		info      map[string]string
		want      Server
	}{
		{name: "2.8", why: "the oldest that has PSYNC", info: map[string]string{"redis_version": "2.8.24"}, want: Server{Flavor: "redis", Version: "2.8.24", Number: 20824, RDBVersion: 6}},
		{name: "3.2", why: "quicklists", info: map[string]string{"redis_version": "3.2.13"}, want: Server{Flavor: "redis", Version: "3.2.13", Number: 30213, RDBVersion: 7}},
		{name: "4.0", why: "64-bit scores", info: map[string]string{"redis_version": "4.0.14", "master_replid": "8c5f"}, want: Server{Flavor: "redis", Version: "4.0.14", Number: 40014, RDBVersion: 8, OneStream: true}},
		{name: "6.2", why: "as 5.0", info: map[string]string{"redis_version": "6.2.16"}, want: Server{Flavor: "redis", Version: "6.2.16", Number: 60216, RDBVersion: 9}},
		{name: "7.0", why: "listpacks", info: map[string]string{"redis_version": "7.0.15"}, want: Server{Flavor: "redis", Version: "7.0.15", Number: 70015, RDBVersion: 10}},
		{name: "7.2", why: "sets in listpacks", info: map[string]string{"redis_version": "7.2.6"}, want: Server{Flavor: "redis", Version: "7.2.6", Number: 70206, RDBVersion: 11}},
		{name: "8.0", why: "as 7.4", info: map[string]string{"redis_version": "8.0.2"}, want: Server{Flavor: "redis", Version: "8.0.2", Number: 80002, RDBVersion: 12}},
		{name: "release candidate", why: "what follows the numbers does not count", info: map[string]string{"redis_version": "8.4-rc1"}, want: Server{Flavor: "redis", Version: "8.4-rc1", Number: 80400, RDBVersion: 13}},
		{name: "valkey 8.1", why: "says 7.2.4 for Redis", info: map[string]string{"redis_version": "7.2.4", "valkey_version": "8.1.3", "role": "slave", "cluster_enabled": "1"},
			want: Server{Flavor: "valkey", Version: "8.1.3", Number: 70204, RDBVersion: 11, Role: "slave", Cluster: true}},
		{name: "valkey 9", why: "a format of its own", info: map[string]string{"redis_version": "7.2.4", "valkey_version": "9.0.0"},
			want: Server{Flavor: "valkey", Version: "9.0.0", Number: 70204, RDBVersion: 80}},
	}
	for _, tt := range tests {
		tt.want.Addr = "h:1"
		if got, err := serverOf("h:1", tt.info); err != nil || got != tt.want {
			t.Errorf("%s: serverOf = %+v, %v, want %+v (%s)", tt.name, got, err, tt.want, tt.why)
		}
	}
	if _, err := serverOf("h:1", map[string]string{"redis_version": "x"}); err == nil {
		t.Error("a version that is no number was taken")
	}
}

func TestCodeOfOtherErrors(t *testing.T) {
	if got := Code(errors.New("MOVED 1 h:1")); got != "" {
		t.Errorf("an error that is no reply has code %q", got)
	}
	if got := Code(fmt.Errorf("apply: %w", resp.Error("OOM command not allowed"))); got != "OOM" {
		t.Errorf("a wrapped reply has code %q, want OOM", got)
	}
	if Code(nil) != "" || IsNil(nil) {
		t.Error("no error has no code and is not nil reply")
	}
}

// TestAppCalls: what surecut's own comparing may have made, which asks ROLE each time, is not the application's.
func TestAppCalls(t *testing.T) {
	calls, left := AppCalls(map[string]string{"cmdstat_exec": "calls=7", "cmdstat_multi": "calls=7", "cmdstat_watch": "calls=5", "cmdstat_role": "calls=4", "cmdstat_get": "calls=2"})
	if left != 4 || calls["exec"] != 3 || calls["multi"] != 3 || calls["watch"] != 1 || calls["get"] != 2 {
		t.Errorf("%v, %d left out", calls, left)
	}
	for _, c := range []struct {
		version string
		counts  map[string]string
		want    int64
	}{
		{"7.0.15", map[string]string{"cmdstat_subscribe": "calls=3", "cmdstat_client|tracking": "calls=2", "cmdstat_monitor": "calls=1"}, 0},
		{"7.0.15", map[string]string{"cmdstat_subscribe": "calls=5", "cmdstat_client|tracking": "calls=2", "cmdstat_hello": "calls=9"}, 3},
		{"6.0.16", map[string]string{"cmdstat_subscribe": "calls=3", "cmdstat_client": "calls=2", "cmdstat_hello": "calls=2"}, 1},
	} {
		c.counts["redis_version"] = c.version
		if calls, _ := AppCalls(c.counts); calls["subscribe"] != c.want {
			t.Errorf("%v: %d calls of SUBSCRIBE are the application's, want %d", c.counts, calls["subscribe"], c.want)
		}
	}
	calls, left = AppCalls(map[string]string{"cmdstat_watch": "calls=2", "cmdstat_role": "calls=4"})
	if _, ok := calls["watch"]; ok || left != 0 {
		t.Errorf("%v, %d left out", calls, left)
	}
}
