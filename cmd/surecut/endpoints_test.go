package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// parseEndpoints runs a command that has both sides' flags and nothing else.
func parseEndpoints(t *testing.T, args ...string) (endpoints, error) {
	t.Helper()
	var got endpoints
	app := &cli.App{Writer: io.Discard, ErrWriter: io.Discard, Flags: append(sourceFlags(), targetFlags()...), ExitErrHandler: func(*cli.Context, error) {}}
	app.Action = func(c *cli.Context) (err error) {
		got, err = endpointSpecs(c)
		return err
	}
	return got, app.RunContext(t.Context(), append([]string{"surecut"}, args...))
}

func TestPasswordsOfEndpoints(t *testing.T) {
	t.Setenv("SURECUT_SOURCE_PASSWORD", "of-source")
	t.Setenv("SURECUT_TARGET_PASSWORD", "of-target")
	file := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(file, []byte("of-file\r\nsecond line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := parseEndpoints(t, "--source", "redis://:of-url@a", "--target", "redis://b")
	if err != nil || got.Source.Password != "of-url" || got.Target.Password != "of-target" {
		t.Errorf("passwords %q and %q, %v: the URL wins over the environment", got.Source.Password, got.Target.Password, err)
	}
	got, err = parseEndpoints(t, "--source", "redis://a", "--target", "redis://b", "--source-password-file", file)
	if err != nil || got.Source.Password != "of-file" {
		t.Errorf("password %q, %v: the file's first line wins over the environment", got.Source.Password, err)
	}
}

func TestEndpointsAreRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		says string
	}{
		{"nothing", nil, "--target is missing"},
		{"no source", []string{"--target", "redis://b"}, "--source is missing"},
		{"bad URL", []string{"--source", "db1:6379", "--target", "redis://b"}, "known scheme"},
		{"file as target", []string{"--source", "redis://a", "--target", "rdb:/x"}, "can only be a source"},
		{"CA without TLS", []string{"--source", "redis://a", "--target", "redis://b", "--target-ca", "x"}, "rediss"},
		{"certificate without key", []string{"--source", "rediss://a", "--target", "redis://b", "--source-cert", "x"}, "must be given together"},
		{"two passwords", []string{"--source", "redis://:s3cr3t@a", "--target", "redis://b", "--source-password-file", empty}, "use only one"},
		{"empty password file", []string{"--source", "redis://a", "--target", "redis://b", "--source-password-file", empty}, "is empty"},
		{"no password file", []string{"--source", "redis://a", "--target", "redis://b", "--source-password-file", empty + "x"}, "no such file"},
	}
	for _, tt := range tests {
		_, err := parseEndpoints(t, tt.args...)
		if err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v, want a usage error that says %q and no password", tt.name, err, tt.says)
		}
	}
}
