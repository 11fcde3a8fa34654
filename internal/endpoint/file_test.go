package endpoint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.rdb", "b.rdb", "c,d.rdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("REDIS0011"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path, why string
		shards    int
		err       string
	}{
		{"a.rdb", "one file", 1, ""},
		{"c,d.rdb", "a comma in the name of a file that is there", 1, ""},
		{"[ab].rdb", "a pattern: a shard each", 2, ""},
		{"a.rdb," + dir + "/b.rdb", "a list", 2, ""},
		{"x.rdb", "", 0, "no such file"},
	} {
		spec, err := Parse("rdb:" + dir + "/" + c.path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), spec)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.path, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v: %s", c.path, err, c.why)
			continue
		}
		if n := len(d.Shards()); n != c.shards {
			t.Errorf("%s: %d shards, want %d: %s", c.path, n, c.shards, c.why)
		}
		if _, err := d.Client(t.Context(), d.Shards()[0].Primary.Addr, 0); err == nil || !strings.Contains(err.Error(), "is a file") {
			t.Errorf("%s: a client of a file: %v", c.path, err)
		}
		d.Close()
	}
}
