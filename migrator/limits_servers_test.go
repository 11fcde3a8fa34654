//go:build servers

package migrator

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// TestLongCommand: a command with more arguments than an old target takes arrives in pieces.
func TestLongCommand(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:6.0")
	u := urls{source.URL(), target.URL()}
	r := begin(t, u, t.TempDir(), nil)
	r.caughtUp()
	args := make([]string, 0, 1_100_002)
	args = append(args, "RPUSH", "long")
	for i := range 1_100_000 {
		args = append(args, fmt.Sprint(i))
	}
	source.Must(args...)
	source.Must("SET", "after", "1")
	r.caughtUp()
	report := r.stop()
	addsUp(t, report)
	if c := report.Counters; c.CommandsReported+c.CommandsRepaired != 0 || len(report.Problems) > 0 {
		t.Errorf("%+v, %v", c, report.Problems)
	}
	if n := target.Must("LLEN", "long"); n != int64(1_100_000) {
		t.Errorf("%v elements arrived", n)
	}
	equal(t, u, dataset.CompareOptions{})
}

// TestTooLargeForTarget: values that the target cannot hold are problems of their keys, in the snapshot and in the stream, and everything else
// arrives. What is too large for one command only arrives in pieces.
func TestTooLargeForTarget(t *testing.T) {
	t.Parallel()
	bytes := make([]byte, 3<<20) // a payload of what repeats is small
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rand.New(rand.NewSource(seed)).Read(bytes)
	large, piece := string(bytes), string(bytes[:300<<10])
	for _, image := range []string{"redis:6.0", "redis:8.0"} {
		for _, setting := range []string{"proto-max-bulk-len", "client-query-buffer-limit"} {
			for _, tells := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, told: %v", image, setting, tells), func(t *testing.T) {
					args := []string{"--" + setting, "1048576"}
					if !tells {
						args = append(args, "--rename-command", "CONFIG", "")
					}
					source, target := servers.Standalone(t, image), servers.Standalone(t, image, args...)
					write := func(when string) {
						source.Must("HSET", when+":field", "a", "1", "b", large)
						source.Must("SET", when+":string", large)
						for range 5 {
							source.Must("RPUSH", when+":list", piece)
						}
						source.Must("RPUSH", when+":list", piece, piece, piece, piece, piece)
						source.Must("SET", when+":small", "1")
					}
					write("snapshot")
					r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), nil)
					r.caughtUp()
					write("stream")
					r.caughtUp()
					report := r.stop()
					addsUp(t, report)
					problems := map[string]bool{}
					for _, p := range report.Problems {
						problems[p.Key] = true
						if !strings.Contains(p.Reason, " bytes") || !strings.Contains(p.Reason, "-") {
							t.Errorf("the size or the limit lacks: %+v", p)
						}
					}
					for _, when := range []string{"snapshot", "stream"} {
						if n := target.Must("LLEN", when+":list"); n != int64(10) || target.Must("GET", when+":small") != "1" {
							t.Errorf("%s: %v of the list's elements arrived", when, n)
						}
						whole := setting == "client-query-buffer-limit" && target.Must("STRLEN", when+":string") == int64(len(large))
						if !problems[when+":field"] || problems[when+":string"] == whole || len(problems) > 4 {
							t.Errorf("%s: problems %v", when, problems)
						}
					}
				})
			}
		}
	}
}
