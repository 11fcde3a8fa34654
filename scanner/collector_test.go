package scanner

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
)

// collect feeds an RDB as a migration does.
func collect(t *testing.T, c *Collector, shard string, data []byte, o rdb.Options) {
	t.Helper()
	c.Begin(shard)
	for r := rdb.NewReader(bytes.NewReader(data), o); ; {
		e, err := r.Next()
		if err == io.EOF {
			c.End(shard)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Big {
			if err := r.Walk(&keyspace.Collector{V: keyspace.Value{Type: rdb.TypeOf(e.Type)}}); err != nil {
				t.Fatal(err)
			}
		}
		c.Entry(shard, e)
	}
}

func TestCollectorSeesWhatAFileScanSees(t *testing.T) {
	for _, f := range fixtures.All(t) {
		path := filepath.Join(t.TempDir(), "dump.rdb")
		if err := os.WriteFile(path, f.DumpRDB, 0o600); err != nil {
			t.Fatal(err)
		}
		now := func(o *Config) { o.Now = func() time.Time { return time.Unix(0, 0) } }
		want := scanFile(t, path, now)
		o := DefaultConfig()
		now(&o)
		c := NewCollector(o)
		collect(t, c, path, f.DumpRDB, rdb.Options{Shapes: true})
		collect(t, c, path, f.DumpRDB, rdb.Options{Shapes: true}) // loaded again
		got := c.Result()
		checkSums(t, got)
		if got.Totals != want.Totals || got.Top[0].Key != want.Top[0].Key || got.Cutover != want.Cutover {
			t.Errorf("%s: collected %+v, scanned %+v", f.Version, got.Totals, want.Totals)
		}
		walked := NewCollector(o)
		collect(t, walked, path, f.DumpRDB, rdb.Options{Shapes: true, MaxValue: 1})
		if b := walked.Result(); b.Totals.Keys != want.Totals.Keys || b.Totals.Elements != want.Totals.Elements || b.Totals.Serialized != want.Totals.Serialized {
			t.Errorf("%s: walked %+v, scanned %+v", f.Version, b.Totals, want.Totals)
		}
	}
}

func TestCollectorNeedsWholeSnapshots(t *testing.T) {
	data := fixtures.All(t)[0].DumpRDB
	c := NewCollector(DefaultConfig())
	if c.Result() != nil {
		t.Error("a result of nothing")
	}
	collect(t, c, "a", data, rdb.Options{Shapes: true})
	c.Begin("b")
	if c.Result() != nil {
		t.Error("a result though a snapshot is not whole")
	}
	c.End("b")
	if b := c.Result(); b == nil || b.Totals.Keys == 0 {
		t.Errorf("%+v", b)
	}
}

// TestCollectorReckonsWrites: what is written to a key that is written all the time fills an output buffer.
func TestCollectorReckonsWrites(t *testing.T) {
	o := DefaultConfig()
	o.CopyRate = 1 // an hour and more for each key
	c := NewCollector(o)
	f := newRDB().db(0).key(rdb.TypeString, "hot", strings.Repeat("x", 1000)).key(rdb.TypeString, "cold", strings.Repeat("x", 1000))
	collect(t, c, "a", append(append([]byte{}, f.b...), 0xff, 0, 0, 0, 0, 0, 0, 0, 0), rdb.Options{Shapes: true})
	at := time.Unix(1_700_000_000, 0)
	for i := range 2 * hittersMost {
		at = at.Add(10 * time.Millisecond)
		c.Write("a", 0, [][]byte{[]byte("SET"), []byte("hot"), bytes.Repeat([]byte("y"), 1000)}, at)
		c.Write("a", 0, [][]byte{[]byte("SET"), fmt.Appendf(nil, "rare:%d", i), []byte("y")}, at)
		if n := len(c.shards["a"].keys); n > hittersMost {
			t.Fatalf("%d keys are held", n)
		}
	}
	b := c.Result()
	if len(b.OutputBuffer) != 1 || b.OutputBuffer[0].MeasuredBy != ByStream || b.OutputBuffer[0].WriteRate < 100_000 || b.OutputBuffer[0].WriteRate > 120_000 || b.OutputBuffer[0].Risk == "" {
		t.Errorf("output buffers %+v; want one of about 108 kB/s", b.OutputBuffer)
	}
	for _, k := range b.Top {
		if at := len(k.Risks); (at > 0) != (k.Key == "hot") || at > 0 && !strings.Contains(k.Risks[0], "for this key alone") || at != len(k.Remedies) {
			t.Errorf("%s: risks %q, remedies %q", k.Key, k.Risks, k.Remedies)
		}
	}
	if len(b.Notes) != 1 || !strings.Contains(b.Notes[0], "Key hot of database 0 is written at") {
		t.Errorf("notes %q", b.Notes)
	}
}
