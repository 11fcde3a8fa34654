package compat

import (
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/profile"
)

// TestMonitorIsBounded: the connection is one for which the server bounds its buffer before MONITOR fills it, where the server can do so.
func TestMonitorIsBounded(t *testing.T) {
	for _, row := range []struct {
		name, version string
		tell          func(s *endpointtest.Server)
		want          string // commands of the connection
	}{
		{"since 6.0", "7.0.15", nil, "HELLO SUBSCRIBE MONITOR"},
		{"before 6.0", "5.0.14", nil, "HELLO MONITOR"},
		{"refused", "7.0.15", func(s *endpointtest.Server) {
			s.Always("SUBSCRIBE", "-NOPERM this user has no permissions to access one of the channels used as arguments\r\n")
		}, "HELLO SUBSCRIBE MONITOR"},
		{"ECHO refused", "7.0.15", func(s *endpointtest.Server) { s.Always("ECHO", "-NOPERM no\r\n") }, "HELLO SUBSCRIBE MONITOR"},
	} {
		s := endpointtest.Serve(t, row.version)
		s.Always("MONITOR", "+OK\r\n+1700000000.000001 [0 10.0.0.1:5000] \"GET\" \"k\"\r\n")
		if row.tell != nil {
			row.tell(s)
		}
		d := endpointtest.Open(t, s.URL())
		opened := len(s.Calls(""))
		tally := NewTally(Config{Profile: profile.All()[0]})
		if err := tally.Monitor(t.Context(), d, MonitorConfig{Total: 20 * time.Millisecond, Window: 20 * time.Millisecond}); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		var got []string
		for _, call := range s.Calls("")[opened:] {
			name, _, _ := strings.Cut(call, " ")
			if slices.Contains([]string{"SUBSCRIBE", "MONITOR"}, name) || call == "HELLO 3" {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
		if calls := s.Calls("SUBSCRIBE"); len(calls) > 0 && calls[0] != "SUBSCRIBE "+endpoint.NoChannel {
			t.Errorf("%s: %q", row.name, calls)
		}
	}
}
