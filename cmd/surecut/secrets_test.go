package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestPasswordIn(t *testing.T) {
	for _, tt := range []struct{ arg, want string }{
		{"redis://:s3cr3t@h:6379/3", "s3cr3t"},
		{"redis://user:s3cr3t@h:6379", "s3cr3t"},
		{"--source=rediss+cluster://u:s:3@cr3t@a:1,b:2", "s:3@cr3t"},
		{"user:s3cr3t@proxy:1080", "s3cr3t"},
		{"redis://user@h:6379", ""},
		{"redis://h:6379", ""},
		{"ops@bastion:22", ""},
		{"migrate", ""},
	} {
		if from, to := passwordIn(tt.arg); tt.arg[from:to] != tt.want {
			t.Errorf("of %s %q is taken for the password, want %q", tt.arg, tt.arg[from:to], tt.want)
		}
	}
}

// TestProcessListShowsNoPassword looks at a process of its own: the test binary, started again.
func TestProcessListShowsNoPassword(t *testing.T) {
	const url = "redis://user:s3cr3t@127.0.0.1:1"
	if os.Getenv("SURECUT_TEST_PROCESS_LIST") != "" {
		args := hidePasswords(os.Args)
		shown, err := os.ReadFile("/proc/self/cmdline")
		fmt.Printf("kept %q shown %q %v\n", args[len(args)-1], bytes.ReplaceAll(shown, []byte{0}, []byte{' '}), err)
		os.Exit(0)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestProcessListShowsNoPassword$", url)
	cmd.Env = append(os.Environ(), "SURECUT_TEST_PROCESS_LIST=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	kept, shown, _ := strings.Cut(string(out), " shown ")
	if !strings.Contains(kept, url) {
		t.Errorf("the command itself sees %s, want %s", kept, url)
	}
	if strings.Contains(shown, "s3cr3t") || !strings.Contains(shown, "redis://user:******@127.0.0.1:1") {
		t.Errorf("the process list shows %s", shown)
	}
}
