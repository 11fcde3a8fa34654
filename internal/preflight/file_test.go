package preflight

import (
	"errors"
	"strings"
	"testing"

	"surecut/internal/files"
)

func TestJudgeFile(t *testing.T) {
	for _, c := range []struct {
		name, why string
		in        inspected
		want      Result
		found     string
	}{
		{"whole", "", inspected{path: "a", size: 10, facts: &files.Facts{Keys: 3, Commands: 4}}, Pass, "3 keys in the RDB, 4 commands"},
		{"damaged", "half of the data would be in the target when it shows", inspected{path: "a", err: errors.New("a is damaged at byte 7")}, Fail, "byte 7"},
		{"cut off", "a server would drop it, if it is told to", inspected{path: "a", facts: &files.Facts{Cut: &files.Cut{Path: "a", At: 5, Bytes: 9}}}, Alarm, "its last 9 bytes, from byte 5"},
		{"relative", "when they were run, the file does not say", inspected{path: "a", facts: &files.Facts{Relative: 2}}, Alarm, "2 commands set an expiry relative to the time at which they are run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := judgeFile(c.in, "whole")
			if got.Result != c.want || !strings.Contains(got.Found, c.found) || c.want != Pass && got.Remedy == "" {
				t.Errorf("%+v, want %s with %q: %s", got, c.want, c.found, c.why)
			}
		})
	}
}

// TestFileChecks keeps every check decided for files: made in its own way, or skipped with a reason.
func TestFileChecks(t *testing.T) {
	made := map[string]bool{"source_file": true, "big_keys": true, "connectivity": true, "target_version": true, "database_count": true, "modules": true}
	for _, d := range definitions() {
		if made[d.id] || d.needs&needsSource == 0 && d.id != "local_disk" {
			continue
		}
		got := d.ofFile()(t.Context(), &run{})
		if len(got) != 1 || got[0].Result != Skipped || got[0].Found == "" {
			t.Errorf("%s: %+v, want it skipped with a reason", d.id, got)
		}
	}
}
