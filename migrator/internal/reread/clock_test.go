package reread

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
)

// TestClock: the clock says what the source said when it was asked, and that of this machine where the source does not tell.
func TestClock(t *testing.T) {
	for _, tt := range []struct {
		name, why, time string
		agrees          bool // with the clock of this machine
		warns, err      string
	}{
		{"another time", "", endpointtest.Strings("1700000000", "5999"), false, "", ""},
		{"before 2.6", "there is no TIME", "-ERR unknown command 'TIME'\r\n", true, "has no TIME", ""},
		{"forbidden", "expiries would be dated by guess", noPerm, true, "", "TIME: NOPERM"},
		{"no time", "", endpointtest.Strings("x", "0"), true, "", "TIME: a time of"},
		{"half a time", "", endpointtest.Strings("1700000000"), true, "", "TIME: the reply has 1 parts"},
		{"nil", "", endpointtest.Nil, true, "", "TIME: "},
		{"lost", "", endpointtest.HangUp, true, "", "TIME: "},
	} {
		s := endpointtest.Serve(t, "7.0.15")
		var log strings.Builder
		c := NewClock(endpointtest.Open(t, s.URL()), slog.New(slog.NewTextHandler(&log, nil)))
		s.Always("TIME", tt.time)
		before := time.Now().UnixMilli()
		err := c.Measure(t.Context(), s.Addr)
		after := time.Now().UnixMilli()
		if !says(err, tt.err) || err != nil && !strings.Contains(err.Error(), s.Addr) || !strings.Contains(log.String(), tt.warns) || (tt.warns == "") != (log.Len() == 0) {
			t.Errorf("%s: %v, log %q, want %q, %q (%s)", tt.name, err, log.String(), tt.err, tt.warns, tt.why)
		}
		if tt.agrees {
			if c.At(before) != before || c.Now() < before {
				t.Errorf("%s: differs from this machine by %d ms", tt.name, c.At(0))
			}
			continue
		}
		if c.At(before) > toldNow+1 || c.At(after) < toldNow-1 || c.Now() < c.At(after) || c.At(after)-c.At(before) != after-before {
			t.Errorf("%s: between %d and %d, %d", tt.name, c.At(before), c.At(after), c.Now())
		}
	}
	s := endpointtest.Serve(t, "7.0.15")
	c := NewClock(endpointtest.Open(t, s.URL()), slog.New(slog.DiscardHandler))
	if err := c.Measure(t.Context(), "127.0.0.1:1"); !says(err, "source 127.0.0.1:1: ") {
		t.Errorf("nobody at the address: %v", err)
	}
}
