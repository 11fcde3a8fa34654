package migrator

import (
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// TestConfigIsChecked: every field is refused with its name and its value, and all of them at once.
func TestConfigIsChecked(t *testing.T) {
	good := DefaultConfig()
	good.StateDir = "dir"
	saysSo(t, good.Validate(), "", "the default values")
	all := good
	for _, tt := range []struct {
		change func(*Config)
		says   string
	}{
		{func(c *Config) { c.Mode = "half" }, `Config.Mode "half"`},
		{func(c *Config) { c.Capture = "guess" }, `Config.Capture "guess"`},
		{func(c *Config) { c.ReadFrom = "anyone" }, `Config.ReadFrom "anyone"`},
		{func(c *Config) { c.OnExisting = "ask" }, `Config.OnExisting "ask"`},
		{func(c *Config) { c.Lanes = 0 }, "Config.Lanes 0"},
		{func(c *Config) { c.BigValue = 1 }, "Config.BigValue 1: must be at least 65536"},
		{func(c *Config) { c.SpoolLimit = 2 }, "Config.SpoolLimit 2"},
		{func(c *Config) { c.RateBytes = -3 }, "Config.RateBytes -3"},
		{func(c *Config) { c.RateOps = -4 }, "Config.RateOps -4"},
		{func(c *Config) { c.HoldExpiry = -5 }, "Config.HoldExpiry -5ns"},
		{func(c *Config) { c.RetryFor = -6 }, "Config.RetryFor -6ns"},
		{func(c *Config) { c.MaxLag = 0 }, "Config.MaxLag 0s"},
		{func(c *Config) { c.StateDir = "" }, "Config.StateDir"},
	} {
		one := good
		tt.change(&one)
		tt.change(&all)
		if err := one.Validate(); err == nil || strings.Count(err.Error(), "Config.") != 1 || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v, want %q alone", err, tt.says)
		}
		saysSo(t, all.Validate(), tt.says, "together with the others")
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Lanes = mostLanes + 1 },
		func(c *Config) { c.Capture, c.OnExisting = CaptureScan, ExistingKeep },
	} {
		one := good
		if change(&one); one.Validate() == nil {
			t.Errorf("%+v is accepted", one)
		}
	}
}

// TestSelectionIsTold: the report says which part of the keys is moved, so that nobody takes it for all.
func TestSelectionIsTold(t *testing.T) {
	s := serve(t, nil)
	node := serve(t, nil)
	cluster([]*endpointtest.Server{node}, "0-16383")
	for _, tt := range []struct {
		name, source, target string
		filter               keyspace.Filter
		want                 string
	}{
		{name: "all", source: s.URL(), target: s.URL(), want: "all keys"},
		{name: "one database", source: s.URL() + "/3", target: s.URL(), want: "database 3"},
		{name: "the database of a cluster", source: "redis+cluster://" + node.Addr, target: s.URL(), filter: keyspace.Filter{DBs: []int{0}}, want: "all keys"},
		{name: "excluded", source: s.URL(), target: s.URL(), filter: keyspace.Filter{Exclude: []string{"a*"}}, want: "a*"},
	} {
		cfg := between(t, tt.source, tt.target)
		cfg.Filter = tt.filter
		if got := cfg.selection().String(); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := (Config{}).selection().String(); got != "all keys" {
		t.Errorf("before the sides are open: %q", got)
	}
}
