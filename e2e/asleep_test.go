//go:build e2e

package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// TestAsleep stops a migration for longer than its claim on the target lasts, and continues it when another one has the target. The first
// must end with an error that names the other one, and must not write into what the other one has brought.
func TestAsleep(t *testing.T) {
	beside(t, waiting)
	old, source := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb"), servers.Standalone(t, "redis:7.0")
	target := deployment(t, "redis:7.0", false)
	pair := dataset.Pair{Source: open(t, []*servers.Server{source}), Target: open(t, target)}
	traffic := dataset.StartTraffic(t.Context(), open(t, []*servers.Server{old}), dataset.TrafficOptions{Seed: 1, BulkKeys: 1000, Rate: 1000, MaxTime: 5 * time.Minute})
	defer traffic.Stop()
	if _, err := dataset.Fill(t.Context(), pair.Source, dataset.Options{Seed: 2, Keys: 1000}); err != nil {
		t.Fatal(err)
	}
	run := func(source *servers.Server, more ...string) *surecut {
		return start(t, append([]string{"migrate", "--source", source.URL(), "--target", target[0].URL(),
			"--accept-alarms", "--progress", "json", "--state", t.TempDir(), "--on-existing", "replace"}, more...)...)
	}
	first := run(old)
	first.waitPhase("caught_up", time.Minute)
	if err := first.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(33 * time.Second)                            // the claim lasts 30 s
	for _, k := range target[0].Must("KEYS", "*").([]any) { // what the first one has brought is not the second one's
		if !strings.HasPrefix(k.(string), "__surecut") {
			target[0].Must("DEL", k.(string))
		}
	}
	second := run(source)
	second.waitPhase("caught_up", time.Minute)
	if err := first.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if code := first.end(time.Minute); code != 1 || !strings.Contains(first.talk(), "the target belongs to migration") {
		t.Errorf("exit status %d: %s", code, first.talk())
	}
	second.waitDrained(time.Minute)
	second.want(second.stop(time.Minute), 0)
	same(t, pair, dataset.CompareOptions{})
}
