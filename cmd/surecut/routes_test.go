package main

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"surecut/internal/endpoint"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRoutesOfEndpoints(t *testing.T) {
	t.Setenv("SURECUT_SSH_PASSWORD", "of-both")
	t.Setenv("SURECUT_TARGET_SSH_PASSWORD", "of-target")
	t.Setenv("SURECUT_SOURCE_SSH_PASSPHRASE", "opens-key")
	t.Setenv("SURECUT_SOCKS5_PASSWORD", "of-proxy")
	nodes := write(t, "nodes", "n1:1:pw1\nn2:2\n")
	got, err := parseEndpoints(t, "--source", "redis+cluster://", "--source-nodes", nodes, "--target", "redis://b",
		"--ssh", "u@bastion", "--target-ssh", "v@gate:2222", "--source-ssh-key", "id", "--ssh-known-hosts", "kh", "--target-ssh-known-hosts", "",
		"--target-ssh-insecure", "--target-socks5", "x@proxy:1", "--source-nat", "a:1=b:2,c=d", "--source-nat", "e=f")
	if err != nil {
		t.Fatal(err)
	}
	want := endpoint.SSH{User: "u", Addr: "bastion:22", KeyFile: "id", Passphrase: "opens-key", Password: "of-both", KnownHosts: "kh"}
	if *got.Source.SSH != want {
		t.Errorf("the source's bastion is %#v, want %#v", *got.Source.SSH, want)
	}
	want = endpoint.SSH{User: "v", Addr: "gate:2222", Password: "of-target", Insecure: true}
	if *got.Target.SSH != want {
		t.Errorf("the target's bastion is %#v, want %#v: its own flags win", *got.Target.SSH, want)
	}
	if got.Source.SOCKS5 != nil || *got.Target.SOCKS5 != (endpoint.SOCKS5{Addr: "proxy:1", User: "x", Password: "of-proxy"}) {
		t.Errorf("proxies %v and %v", got.Source.SOCKS5, got.Target.SOCKS5)
	}
	if !maps.Equal(got.Source.NAT, endpoint.NAT{"a:1": "b:2", "c": "d", "e": "f"}) || len(got.Target.NAT) > 0 {
		t.Errorf("NAT maps %v and %v", got.Source.NAT, got.Target.NAT)
	}
	if got.Source.String() != "redis+cluster://n1:1,n2:2" || !maps.Equal(got.Source.Passwords, map[string]string{"n1:1": "pw1"}) {
		t.Errorf("the listed source is %s", got.Source)
	}
}

func TestRoutesAreRefused(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	nodes := write(t, "nodes", "n1:1:s3cr3t\nn2:x:s3cr3t\n")
	good := write(t, "nodes", "n1:1\nn2:2\n")
	for _, tt := range []struct {
		name, says string
		args       []string
	}{
		{"bastion without user", "names no user", []string{"--source-ssh", "bastion"}},
		{"password in the bastion", "is not allowed here", []string{"--ssh", "u:s3cr3t@bastion"}},
		{"key without bastion", "no meaning without --target-ssh", []string{"--target-ssh-key", "x"}},
		{"key of both without bastion", "--ssh-key has no meaning without --ssh", []string{"--ssh-key", "x"}},
		{"checked and not", "cannot be used together", []string{"--source-ssh", "u@b", "--source-ssh-insecure", "--source-ssh-known-hosts", "x"}},
		{"no password file", "--source-ssh-password-file", []string{"--source-ssh", "u@b", "--source-ssh-password-file", "/nonexistent"}},
		{"other proxy", "--source-socks5", []string{"--source-socks5", "http://u:s3cr3t@h"}},
		{"NAT", "--target-nat", []string{"--target-nat", "x"}},
		{"bad node", "line 2", []string{"--source-nodes", nodes}},
		{"no node file", "no such file", []string{"--source-nodes", "/nonexistent"}},
		{"nodes of one server", "several servers", []string{"--source", "redis://", "--source-nodes", good}},
	} {
		_, err := parseEndpoints(t, append([]string{"--source", "redis+cluster://a", "--target", "redis://b"}, tt.args...)...)
		if err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v, want a usage error that says %q and no password", tt.name, err, tt.says)
		}
	}
	if _, err := parseEndpoints(t, "--target", "redis://b", "--source-nodes", good); err == nil || !strings.Contains(err.Error(), "redis+cluster://") {
		t.Errorf("nodes without a URL: %v", err)
	}
	if _, err := parseEndpoints(t, "--target", "redis://b", "--source", "rdb:/x", "--source-ssh", "u@h"); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Errorf("a file through a bastion: %v", err)
	}
}

func TestFlattenEndpoints(t *testing.T) {
	known := flagNames(newApp(nil, nil))[""]
	section := map[string]any{"target": "redis://b", "source": map[string]any{
		"url": "redis+cluster://", "nodes": []any{"a:1:pw", "b:2"}, "nat": map[string]any{"x:1": "y:2"}, "ssh": "u@h"}}
	if err := flattenEndpoints(section, known); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"target": "redis://b", "source": "redis+cluster://", "source-nodes": []any{"a:1:pw", "b:2"},
		"source-nat": map[string]any{"x:1": "y:2"}, "source-ssh": "u@h"}
	if !reflect.DeepEqual(section, want) {
		t.Errorf("%v, want %v", section, want)
	}
}
