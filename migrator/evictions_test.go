package migrator

import (
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
)

// TestEvictions: keys that the target evicts while the migration lasts are a problem that names the node and their number; those that it
// evicted before are none.
func TestEvictions(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		mode      string
		meanwhile func(to *endpointtest.Server) // while the snapshot is written
		between   func(to *endpointtest.Server) // before the second run; nil: there is none
		says      string
	}{
		{name: "none", mode: ModeFull},
		{name: "while a full copy runs", mode: ModeFull, meanwhile: func(to *endpointtest.Server) { to.Tell("evicted_keys", "8") }, says: "has evicted 3 keys"},
		{name: "while the stream is followed", mode: ModeFullIncremental, meanwhile: func(to *endpointtest.Server) { to.Tell("evicted_keys", "6") }, says: "has evicted 1 key "},
		{name: "the counters were reset", mode: ModeFull, meanwhile: func(to *endpointtest.Server) { to.Tell("evicted_keys", "2") }, says: "has evicted 2 keys"},
		{name: "it does not tell", why: "nothing is known then", mode: ModeFull, meanwhile: func(to *endpointtest.Server) { to.Always("INFO stats", "-NOPERM no\r\n") }},
		{name: "between two runs", mode: ModeFullIncremental, between: func(to *endpointtest.Server) { to.Tell("evicted_keys", "9") }, says: "has evicted 4 keys"},
		{name: "in both runs", mode: ModeFullIncremental, meanwhile: func(to *endpointtest.Server) { to.Tell("evicted_keys", "6") },
			between: func(to *endpointtest.Server) { to.Tell("evicted_keys", "9") }, says: "has evicted 4 keys"},
		{name: "after a restart", why: "the counter begins anew", mode: ModeFullIncremental, between: func(to *endpointtest.Server) {
			to.Restart()
			to.Tell("evicted_keys", "1")
		}, says: "has evicted 1 key "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := serve(t, nil), serve(t, nil)
			to.Tell("evicted_keys", "5")
			replicates(from, from.ReplID(), rdbOf(t, texts{"a": "1"}, nil))
			if tt.meanwhile != nil {
				to.Before("RESTORE a", func() { tt.meanwhile(to) })
			}
			cfg := between(t, from.URL(), to.URL())
			cfg.Mode, cfg.RetryFor = tt.mode, 10*time.Second
			m := mustMigrate(t, cfg)
			if tt.between != nil {
				tt.between(to)
				continues(from)
				m = mustMigrate(t, cfg)
			}
			problems := m.Report().Problems
			if tt.says == "" && len(problems) > 0 {
				t.Errorf("%+v (%s)", problems, tt.why)
			}
			if tt.says != "" && (len(problems) != 1 || !strings.Contains(problems[0].Reason, tt.says) || !strings.Contains(problems[0].Reason, to.Addr)) {
				t.Errorf("%+v, want one that says %q (%s)", problems, tt.says, tt.why)
			}
		})
	}
}
