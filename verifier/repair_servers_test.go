//go:build servers

package verifier

import (
	"context"
	"strconv"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/keyspace"
)

// What a link has not applied yet is in a copied value already. Repaired while the link stands still, it is not applied twice.
func TestRepairWhileFed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		source  func(t *testing.T) *servers.Server
		cluster bool
	}{
		{"standalone", func(t *testing.T) *servers.Server { return servers.Standalone(t, "redis:6.0") }, false},
		{"cluster", func(t *testing.T) *servers.Server { return servers.Cluster(t, "redis:7.0", 1, 0)[0] }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source, target := tt.source(t), servers.Standalone(t, "redis:7.0")
			f := follow(t, source, target)
			if tt.cluster {
				f.slots = keyspace.SlotRanges{{First: 0, Last: keyspace.Slots - 1}}
			}
			traffic(t, source)
			f.catchUp(t, source)
			var findings []Finding
			for i := range 20 {
				key := "counter:" + strconv.Itoa(i)
				target.Must("SET", key, "-1000000")
				findings = append(findings, Finding{Key: key, KeyBase64: base64Of(key), Verdict: Different})
			}
			target.Must("SET", "extra", "v")
			findings = append(findings, Finding{Key: "extra", KeyBase64: base64Of("extra"), Verdict: Extra})
			options := configFor(t, source.URL(), target.URL(), func(o *Config) { o.Applier, o.Interval = f, 100*time.Millisecond })
			done, again, err := Repair(context.Background(), RepairConfig{Config: options, Findings: findings, Apply: true, DeleteExtra: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range done {
				if d.Error != "" {
					t.Errorf("%s: %s: %s", d.Key, d.Remedy, d.Error)
				}
			}
			if again.Verdict != Same || again.Totals.Same != 20 {
				t.Errorf("%s by %s: %+v, %q, of %+v", again.Verdict, again.Proof, again.Totals, again.Reasons, done)
			}
		})
	}
}
