//go:build servers

package migrator

import (
	"errors"
	"strings"
	"testing"

	"surecut/e2e/servers"
	"surecut/internal/rdb/fixtures"

	"surecut/migrator/internal/receive"
)

// TestSync migrates from a source that has SYNC alone: it arrives as it was sent, says that it cannot be continued, and is not.
func TestSync(t *testing.T) {
	t.Parallel()
	target := servers.Standalone(t, "redis:7.0")
	for _, f := range fixtures.All(t)[:4] {
		t.Run(f.Version, func(t *testing.T) {
			target.Must("FLUSHALL")
			p := standIn(t, f, true)
			u, dir := urls{"redis://" + p.l.Addr().String(), target.URL()}, t.TempDir()
			r := begin(t, u, dir, nil)
			poll(t, "end of the recording", func() bool {
				select {
				case <-r.ended:
					t.Fatal(r.err)
				default:
				}
				return r.m.Report().Links[0].AppliedOffset >= p.end()
			})
			poll(t, "caught up", func() bool { return r.m.Report().State == "caught_up" })
			if _, err := r.m.Freeze(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "PSYNC") {
				t.Errorf("a link without offsets was frozen: %v", err)
			}
			report := r.stop()
			addsUp(t, report)
			for _, problem := range report.Problems {
				t.Errorf("%+v", problem)
			}
			if !report.Links[0].Sync {
				t.Error("the report does not say that the source has no PSYNC")
			}
			compareFinal(t, target, f, nil)
			if err := begin(t, u, dir, nil).fails(); !errors.Is(err, receive.ErrNoPSYNC) {
				t.Errorf("resumed: %v", err)
			}
		})
	}
}

// TestSyncLost: where a connection is lost, a new snapshot replaces what the target has, and what the source has deleted meanwhile goes.
func TestSyncLost(t *testing.T) {
	t.Parallel()
	target := servers.Standalone(t, "redis:7.0")
	f := fixtures.All(t)[0]
	p := standIn(t, f, true)
	r := begin(t, urls{"redis://" + p.l.Addr().String(), target.URL()}, t.TempDir(), nil)
	there := func(syncs int32) {
		t.Helper()
		poll(t, "end of the recording", func() bool {
			select {
			case <-r.ended:
				t.Fatal(r.err)
			default:
			}
			report := r.m.Report()
			return p.syncs.Load() == syncs && report.State == "caught_up" && report.Links[0].AppliedOffset >= p.end()
		})
	}
	there(1)
	target.Must("SET", "deleted meanwhile", "at the source")
	p.cut()
	there(2)
	report := r.stop()
	addsUp(t, report)
	for _, problem := range report.Problems {
		t.Errorf("%+v", problem)
	}
	compareFinal(t, target, f, nil)
}

// TestSyncLostAmongOthers: where the target had keys of its own, nobody knows which of them are to go.
func TestSyncLostAmongOthers(t *testing.T) {
	t.Parallel()
	target := servers.Standalone(t, "redis:7.0")
	target.Must("SET", "other", "of somebody else")
	p := standIn(t, fixtures.All(t)[0], true)
	r := begin(t, urls{"redis://" + p.l.Addr().String(), target.URL()}, t.TempDir(), nil)
	poll(t, "end of the recording", func() bool { return r.m.Report().Links[0].AppliedOffset >= p.end() })
	p.cut()
	if err := r.fails(); !errors.Is(err, receive.ErrNoPSYNC) {
		t.Errorf("%v", err)
	}
	if got := target.Must("GET", "other"); got != "of somebody else" || p.syncs.Load() != 1 {
		t.Errorf("the other key is %v after %d snapshots", got, p.syncs.Load())
	}
}
