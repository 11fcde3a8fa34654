package preflight

import (
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
)

// TestCachedScripts: it is told where the scripts of a source do not travel.
func TestCachedScripts(t *testing.T) {
	for _, tt := range []struct {
		name, version, scripts string
		scans                  bool
		want                   Result
		says                   string
	}{
		{"7.0", "7.0.15", "12", false, Note, "12 cached scripts (1.5 KiB); since Redis 7.0"},
		{"7.0, none", "7.0.15", "0", false, Pass, "no cached scripts"},
		{"6.2", "6.2.14", "12", false, Pass, "copied with the data"},
		{"6.2, scanned", "6.2.14", "12", true, Note, "12 cached scripts (1.5 KiB); a source that is scanned"},
		{"not told", "7.0.15", "", false, Skipped, "does not tell"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := endpointtest.Serve(t, tt.version), endpointtest.Serve(t, "7.0.15")
			from.Tell("number_of_cached_scripts", tt.scripts, "used_memory_scripts_eval", "1536")
			cfg := DefaultConfig()
			cfg.Source, cfg.Target, cfg.Scans, cfg.RateWindow = Opened(endpointtest.Open(t, from.URL())), Opened(endpointtest.Open(t, to.URL())), tt.scans, 0
			checks := cachedScripts(t.Context(), gather(t.Context(), cfg))
			if len(checks) != 1 || checks[0].Result != tt.want || !strings.Contains(checks[0].Found, tt.says) {
				t.Errorf("%+v, want %s, %q", checks, tt.want, tt.says)
			}
		})
	}
}
