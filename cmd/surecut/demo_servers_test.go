//go:build servers

package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// talk is what a run says, readable while it runs.
type talk struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *talk) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.Write(p)
}

func (t *talk) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// TestDemoLeavesNothingBehind: whatever ends it, its servers and their directory are gone, and no verdict is given.
func TestDemoLeavesNothingBehind(t *testing.T) {
	hangUp := func(context.CancelFunc) { _ = syscall.Kill(os.Getpid(), syscall.SIGHUP) }
	heard := make(chan os.Signal, 1) // tests that were started under nohup do not hear of it otherwise
	signal.Notify(heard, syscall.SIGHUP)
	defer signal.Stop(heard)
	for _, tt := range []struct {
		name, at string
		end      func(context.CancelFunc)
	}{
		{"interrupted while it migrates", "caught up; verifying", func(cancel context.CancelFunc) { cancel() }},
		{"interrupted while it fills", "target is", func(cancel context.CancelFunc) { cancel() }},
		{"its terminal is closed", "times a second", hangUp},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var stdout, stderr talk
			ended := make(chan error, 1)
			go func() {
				ended <- runDemo(ctx, DemoOptions{Keys: 30_000, Writes: 1000, Out: filepath.Join(t.TempDir(), "out")}, &stdout, &stderr)
			}()
			for deadline := time.Now().Add(time.Minute); !strings.Contains(stderr.String(), tt.at); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("it never came so far as %q: %s", tt.at, stderr.String())
				}
			}
			tt.end(cancel)
			err := <-ended
			if exitCode(err) != exitInterrupted {
				t.Errorf("%v, want an interruption", err)
			}
			if strings.Contains(stdout.String(), "GO") {
				t.Errorf("a verdict: %s", stdout.String())
			}
			for _, addr := range regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(stderr.String(), -1) {
				if c, err := net.Dial("tcp", addr); err == nil {
					c.Close()
					t.Errorf("%s is still there", addr)
				} else if !errors.Is(err, syscall.ECONNREFUSED) {
					t.Error(err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "surecut-demo-*")); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}
