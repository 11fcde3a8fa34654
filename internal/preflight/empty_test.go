package preflight

import (
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
)

// TestTargetLibraries: function libraries are found on each node of the target, unless the migration brings none.
func TestTargetLibraries(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		version   string
		change    func(*Config, *endpointtest.Cluster)
		want      Result
		says      string
	}{
		{name: "on one node", version: "7.0.15", want: Fail, says: "function libraries: own"},
		{name: "kept", version: "7.0.15", change: func(c *Config, _ *endpointtest.Cluster) { c.OnExisting = "keep" }, want: Alarm, says: "function libraries: own; with Config.OnExisting keep"},
		{name: "only certain keys", why: "a library is none of them", version: "7.0.15", change: func(c *Config, _ *endpointtest.Cluster) { c.Filter.Include = []string{"a*"} }, want: Pass, says: "no keys"},
		{name: "not told", why: "it is not known whether there are any", version: "7.0.15", change: func(_ *Config, to *endpointtest.Cluster) {
			to.Servers[2].Always("FUNCTION", "-NOPERM User x has no permissions to run the 'function|list' command\r\n")
		}, want: Skipped, says: "function|list"},
		{name: "none", version: "6.2.14", want: Pass, says: "no keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := endpointtest.Serve(t, "7.0.15"), endpointtest.ServeCluster(t, tt.version, 3)
			to.Servers[1].Do(0, "FUNCTION", "LOAD", "#!lua name=own\nredis.register_function('f', function() return 1 end)")
			cfg := DefaultConfig()
			cfg.Source, cfg.Target, cfg.RateWindow = Opened(endpointtest.Open(t, from.URL())), Opened(endpointtest.Open(t, to.URL())), 0
			if tt.change != nil {
				tt.change(&cfg, to)
			}
			checks := targetEmpty(t.Context(), gather(t.Context(), cfg))
			if len(checks) != 1 || checks[0].Result != tt.want || !strings.Contains(checks[0].Found, tt.says) {
				t.Errorf("%+v, want %s, %q (%s)", checks, tt.want, tt.says, tt.why)
			}
		})
	}
}
