//go:build servers

package verifier

import (
	"context"
	"encoding/json"
	"testing"

	"surecut/e2e/servers"
)

// TestRepairOfLongNames: a report names a long key in part, and repair finds it by its length and digest.
func TestRepairOfLongNames(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	source.Must("EVAL", `for i=1,5 do redis.call('SET',string.rep('x',100000)..i,i) end redis.call('SET','short','v')`, "0")
	target.Must("EVAL", `redis.call('SET',string.rep('x',100000)..1,1) redis.call('SET',string.rep('x',100000)..2,'other') redis.call('SET',string.rep('y',100000),'extra')`, "0")
	quick := func(o *Config) { o.Rounds, o.Interval = 1, 0 }
	r := verify(t, source, target, quick)
	if r.Totals.Same != 1 || r.Totals.Different != 1 || r.Totals.Missing != 4 || r.Totals.Extra != 1 {
		t.Fatalf("%+v", r.Totals)
	}
	data, err := json.Marshal(r.Findings)
	if err != nil || len(data) > 8<<10 {
		t.Errorf("%d bytes of findings, %v", len(data), err)
	}
	var read []Finding
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	_, report, err := Repair(context.Background(), RepairConfig{Config: configFor(t, source.URL(), target.URL(), quick), Findings: read, Apply: true, DeleteExtra: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Verdict != Same {
		t.Errorf("%s: %+v, %q", report.Verdict, report.Totals, report.Reasons)
	}
	if r := verify(t, source, target, quick); r.Verdict != Same || r.Totals.Same != 6 {
		t.Errorf("afterwards: %+v, %+v", r.Totals, r.Findings)
	}
	source.Must("FLUSHALL")
	target.Must("FLUSHALL")
	_, report, err = Repair(context.Background(), RepairConfig{Config: configFor(t, source.URL(), target.URL(), quick), Findings: read, Apply: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Verdict != Unchecked || report.Totals.Unchecked != 5 {
		t.Errorf("keys that are gone: %s, %+v, %q", report.Verdict, report.Totals, report.Reasons)
	}
}
