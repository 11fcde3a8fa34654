package verifier

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
)

// fileTold writes a file that a real server has written, changed as the test wants, and returns its path and a server that holds the
// same keys as the whole file.
func fileTold(t *testing.T, version string, change func([]byte) []byte) (string, *endpointtest.Server) {
	t.Helper()
	all := fixtures.All(t)
	whole := all[slices.IndexFunc(all, func(f fixtures.Fixture) bool { return f.Version == version })].RDB()
	path := filepath.Join(t.TempDir(), "dump.rdb")
	if err := os.WriteFile(path, change(slices.Clone(whole)), 0o600); err != nil {
		t.Fatal(err)
	}
	target := endpointtest.Serve(t, "7.4.1")
	for r := rdb.NewReader(strings.NewReader(string(whole)), rdb.Options{MaxValue: 64 << 20}); ; {
		e, err := r.Next()
		if err != nil {
			return path, target
		}
		if e.Kind != rdb.KindKey {
			continue
		}
		c := keyspace.Collector{V: keyspace.Value{Type: rdb.TypeOf(e.Type), ExpireAt: e.ExpireAt}}
		if err := rdb.WalkValue(e.Type, e.Raw, &c); err != nil {
			t.Fatal(err)
		}
		target.PutIn(e.DB, string(e.Key), &c.V)
	}
}

func asItIs(file []byte) []byte { return file }

// TestDepthsOfAFile: at every depth, and whether values are held in memory or not, a file is the same as a server that holds its keys,
// and a key that was changed there differs where the depth reaches.
func TestDepthsOfAFile(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*Config)
		differs bool // a value of the same length
	}{
		{"keys", func(c *Config) { c.Depth = DepthKeys }, false},
		{"lengths", func(c *Config) { c.Depth = DepthLength }, false},
		{"values", func(*Config) {}, true},
		{"values that are not held in memory", func(c *Config) { c.BigValue = 1 }, true},
		{"lengths of such values", func(c *Config) { c.Depth, c.BigValue = DepthLength, 1 }, false},
	} {
		path, target := fileTold(t, "7.4.1", asItIs)
		compare := func() *Report {
			r, err := verifyDeployments(t, endpointtest.Open(t, "rdb:"+path), endpointtest.Open(t, target.URL()), tt.change)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		before := compare()
		if before.Totals.Same == 0 || len(before.Findings) > 0 || before.Totals.Same != before.Totals.TargetKeys {
			t.Fatalf("%s: %+v, %+v", tt.name, before.Totals, before.Findings)
		}
		at := slices.IndexFunc(target.Names(), func(name string) bool {
			v := target.Get(name)
			return v.Type == keyspace.String && len(v.Str) > 0 && v.ExpireAt == 0
		})
		if at < 0 {
			t.Fatal("the file has no string")
		}
		name := target.Names()[at]
		changed := *target.Get(name)
		changed.Str = append([]byte{changed.Str[0] ^ 1}, changed.Str[1:]...)
		target.Put(name, &changed)
		want := int64(0)
		if tt.differs {
			want = 1
		}
		if r := compare(); r.Totals.Different != want || r.Totals.Same != before.Totals.Same-want {
			t.Errorf("%s: after a change %+v, %+v", tt.name, r.Totals, r.Findings)
		}
	}
}

// TestFilesThatAreNotWhole: a file that was cut off or damaged ends the run with an error that names it. What was read until then is no
// basis for any verdict: each key behind that place would be extra on the target.
func TestFilesThatAreNotWhole(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
	}{
		{"cut off in the middle", func(file []byte) []byte { return file[:len(file)/2] }},
		{"cut off before its checksum", func(file []byte) []byte { return file[:len(file)-8] }},
		{"a byte of a value flipped", func(file []byte) []byte { file[len(file)/2] ^= 0x40; return file }},
		{"a byte of the checksum flipped", func(file []byte) []byte { file[len(file)-3] ^= 0x40; return file }},
		{"only its beginning", func(file []byte) []byte { return file[:9] }},
	} {
		path, target := fileTold(t, "7.4.1", tt.change)
		r, err := verifyDeployments(t, endpointtest.Open(t, "rdb:"+path), endpointtest.Open(t, target.URL()), nil)
		if err == nil {
			t.Errorf("%s: %s, %+v", tt.name, r.Verdict, r.Totals)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the file is not named: %v", tt.name, err)
		}
	}
	path, target := fileTold(t, "7.4.1", asItIs)
	_, err := verifyDeployments(t, endpointtest.Open(t, "rdb:"+path), endpointtest.Open(t, target.URL()), func(c *Config) { c.Applier = &toldApplier{} })
	if err == nil || !strings.Contains(err.Error(), "Config.Applier") {
		t.Errorf("a file, and a migration that feeds the target: %v", err)
	}
}
