//go:build servers

package verifier

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// TestFileAgainstServers compares the RDB of a server with that server, and finds what is changed afterwards.
func TestFileAgainstServers(t *testing.T) {
	t.Parallel()
	for _, image := range servers.Must() {
		t.Run(strings.NewReplacer("/", "-", ":", "-").Replace(image), func(t *testing.T) {
			t.Parallel()
			servers.Require(t, image)
			s := servers.Standalone(t, image)
			side, err := dataset.Open(t.Context(), []string{s.Addr}, "")
			if err != nil {
				t.Fatal(err)
			}
			defer side.Close()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			if _, err := dataset.Fill(t.Context(), side, dataset.Options{Seed: seed, Keys: 500, DBs: []int{0, 3}, BigKeys: 1, BigElements: 3000}); err != nil {
				t.Fatal(err)
			}
			s.Must("SET", "f:changed", "x")
			s.Must("SET", "f:missing", "x")
			s.Must("SET", "f:expiring", "x")
			s.Must("RPUSH", "f:list", "a", "b")
			s.Must("SAVE")
			dir := t.TempDir()
			s.CopyData(dir)
			run := func(depth Depth) *Report {
				t.Helper()
				r, err := Run(context.Background(), configFor(t, "rdb:"+filepath.Join(dir, "dump.rdb"), s.URL(), func(o *Config) {
					o.Depth, o.Interval, o.BigValue = depth, 10*time.Millisecond, 64<<10
				}))
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			for _, depth := range []Depth{DepthKeys, DepthLength, DepthValue} {
				if r := run(depth); r.Verdict != Same || r.Totals.Same < 500 { // many keys live for seconds only
					t.Errorf("%s: %s: %+v, %q, %+v", depth, r.Verdict, r.Totals, r.Reasons, r.Findings)
				}
			}
			s.Must("SET", "f:changed", "y")
			s.Must("DEL", "f:missing")
			s.Must("SET", "f:extra", "x")
			s.Must("EXPIRE", "f:expiring", "1000")
			s.Must("LSET", "f:list", "1", "c")
			r := run(DepthValue)
			if n := r.Totals; n.Different != 3 || n.Missing != 1 || n.Extra != 1 || n.Unchecked != 0 {
				t.Errorf("%+v, %q", n, r.Reasons)
			}
			want := map[string]string{"f:changed": "byte 1", "f:missing": "source only", "f:extra": "target only", "f:expiring": "expires on the target only", "f:list": "element"}
			for _, f := range r.Findings {
				if !strings.Contains(f.Reason, want[f.Key]) {
					t.Errorf("%s: %q, want %q", f.Key, f.Reason, want[f.Key])
				}
			}
			for _, key := range []string{"k:stream:groups", "k:zset:scores", "k:hash:table"} { // and one of each larger kind
				if s.Must("DEL", key) != int64(1) {
					t.Fatalf("there was no %s", key)
				}
			}
			r = run(DepthValue)
			done, again, err := Repair(context.Background(), RepairConfig{Config: configFor(t, "rdb:"+filepath.Join(dir, "dump.rdb"), s.URL(), func(o *Config) {
				o.Rounds, o.Interval = 1, 0
			}), Findings: r.Findings, Apply: true, DeleteExtra: true})
			if err != nil {
				t.Fatal(err)
			}
			remedies := map[string]Remedy{"f:extra": RemedyDelete, "f:expiring": RemedyExpire}
			for _, d := range done {
				if want := cmp.Or(remedies[d.Key], RemedyCopy); d.Remedy != want || d.Error != "" {
					t.Errorf("%s: %s (%s), want %s", d.Key, d.Remedy, d.Error, want)
				}
			}
			if len(done) != 8 || again.Verdict != Same {
				t.Errorf("%d repaired; then %s: %q", len(done), again.Verdict, again.Reasons)
			}
			if r := run(DepthValue); r.Verdict != Same {
				t.Errorf("after the repair: %s: %+v, %q, %+v", r.Verdict, r.Totals, r.Reasons, r.Findings)
			}
		})
	}
}

// Of a module's value in a file only a vector set is compared, but that the target lacks it, or has another type, is told at any depth.
func TestFileOfModules(t *testing.T) {
	t.Parallel()
	s := servers.Standalone(t, "redis:8.0")
	s.Must("VADD", "there", "VALUES", "3", "1", "2", "3", "a")
	s.Must("VADD", "gone", "VALUES", "3", "1", "2", "3", "a")
	s.Must("VADD", "more", "VALUES", "3", "1", "-2", "3", "b")
	s.Must("VADD", "other", "VALUES", "3", "1", "2", "3", "a")
	s.Must("SAVE")
	dir := t.TempDir()
	s.CopyData(dir)
	s.Must("DEL", "gone", "other")
	s.Must("VADD", "more", "VALUES", "3", "1", "2", "3", "a")
	s.Must("SET", "other", "v")
	want := map[Depth]map[string]Verdict{DepthKeys: {"gone": Missing, "other": Different}, DepthLength: {"gone": Missing, "other": Different},
		DepthValue: {"more": Different, "gone": Missing, "other": Different}}
	for depth, want := range want {
		options := configFor(t, "rdb:"+filepath.Join(dir, "dump.rdb"), s.URL(), func(o *Config) { o.Depth, o.Rounds, o.Interval = depth, 1, 0 })
		r, err := Run(context.Background(), options)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]Verdict{}
		for _, f := range r.Findings {
			got[f.Key] = f.Verdict
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v: %+v", depth, got, want, r.Findings)
		}
	}
}

// A key of a file that expires while it is looked for is on neither side, at any depth.
func TestFileExpiresMeanwhile(t *testing.T) {
	t.Parallel()
	for _, depth := range []Depth{DepthKeys, DepthLength, DepthValue} {
		t.Run(string(depth), func(t *testing.T) {
			t.Parallel()
			s := servers.Standalone(t, "redis:7.0")
			s.Must("SET", "stays", "v")
			s.Must("SET", "goes", "v", "PX", "4000")
			s.Must("SAVE")
			dir := t.TempDir()
			s.CopyData(dir)
			s.Must("DEL", "goes")
			r, err := Run(context.Background(), configFor(t, "rdb:"+filepath.Join(dir, "dump.rdb"), s.URL(), func(o *Config) {
				o.Depth, o.Rounds, o.Interval = depth, 2, 4*time.Second
			}))
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != Same || r.Totals.Same != 1 {
				t.Errorf("%s: %+v, %+v", r.Verdict, r.Totals, r.Findings)
			}
		})
	}
}

// TestFieldOfFileExpiresMeanwhile: a field that has expired by the end of the comparison is none, although the file holds it.
func TestFieldOfFileExpiresMeanwhile(t *testing.T) {
	t.Parallel()
	s := servers.Standalone(t, "redis:8.0")
	s.Must("HSET", "h", "stays", "1", "goes", "2", "later", "3")
	s.Must("HPEXPIRE", "h", "4000", "FIELDS", "1", "goes")
	s.Must("HPEXPIRE", "h", "900000", "FIELDS", "1", "later")
	s.Must("SAVE")
	dir := t.TempDir()
	s.CopyData(dir)
	s.Must("HDEL", "h", "goes")
	r, err := Run(context.Background(), configFor(t, "rdb:"+filepath.Join(dir, "dump.rdb"), s.URL(), func(o *Config) {
		o.Rounds, o.Interval = 2, 4*time.Second
	}))
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != Same || r.Totals.Same != 1 {
		t.Errorf("%s: %+v, %+v", r.Verdict, r.Totals, r.Findings)
	}
}

// TestDamagedFile ends a comparison with the byte at which the file is damaged.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	s := servers.Standalone(t, "redis:7.0")
	fill(s, 1000)
	s.Must("SAVE")
	dir := t.TempDir()
	s.CopyData(dir)
	path := filepath.Join(dir, "dump.rdb")
	if err := os.Truncate(path, 5000); err != nil {
		t.Fatal(err)
	}
	_, err := Run(context.Background(), configFor(t, "rdb:"+path, s.URL(), nil))
	if err == nil || !strings.Contains(err.Error(), "byte") || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
}
