//go:build servers

package compat

import (
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint/endpointtest"
)

// TestOwnCommandsAreLeftOut: what surecut sends, the probes of MONITOR and a migration that runs meanwhile, is neither a finding nor a
// rate of the server.
func TestOwnCommandsAreLeftOut(t *testing.T) {
	server := servers.Standalone(t, "redis:7.0")
	migration := dialRaw(t, server.Addr)
	defer migration.Close()
	migration.do([]string{"CLIENT", "SETNAME", "surecut-0a1b2c"})
	d := endpointtest.Open(t, server.URL())
	server.Must("CONFIG", "RESETSTAT")
	ta := newClusterTally(t)
	if err := ta.Static(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	err := ta.Monitor(t.Context(), d, MonitorConfig{Total: 500 * time.Millisecond, Window: 500 * time.Millisecond, Began: func(string) {
		for range 100 {
			migration.do([]string{"SCAN", "0"})
			migration.do([]string{"MGET", "a", "b"})
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := ta.Result()
	// One client is there: that of this test.
	if r.Verdict != Unproven || len(r.Findings) != 1 || r.Findings[0].Rule != "clients" || r.Findings[0].Count != 1 {
		t.Errorf("%s: %+v", r.Verdict, r.Findings)
	}
	for _, e := range r.Coverage.Evidence {
		if e.Kind == FromMonitor && (e.Calls != 0 || e.Cost.OpsOff != 0) {
			t.Errorf("%d calls were seen, and %v commands a second without MONITOR, want none of our own", e.Calls, e.Cost.OpsOff)
		}
	}
}
