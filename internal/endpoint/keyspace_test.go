package endpoint

import (
	"fmt"
	"maps"
	"testing"
)

func TestKeyspace(t *testing.T) {
	for _, tt := range []struct {
		name, why, line string
		want            Database
		ok              bool
	}{
		{name: "2.8", line: "db0:keys=3,expires=1,avg_ttl=0", want: Database{3, 1, -1}, ok: true},
		{name: "before 2.8", line: "db0:keys=3,expires=1", want: Database{3, 1, -1}, ok: true},
		{name: "8.0", line: "db0:keys=3,expires=1,avg_ttl=0,subexpiry=2", want: Database{3, 1, 2}, ok: true},
		{name: "8.0 without such hashes", line: "db0:keys=3,expires=0,avg_ttl=0,subexpiry=0", want: Database{3, 0, 0}, ok: true},
		{name: "another order", why: "a fork may add what it likes", line: "db0:more=x,subexpiry=1,keys=3", want: Database{3, 0, 1}, ok: true},
		{name: "no keys", why: "what is not told is not 0", line: "db0:expires=1"},
		{name: "no number", line: "db0:keys=many"},
		{name: "negative", line: "db0:keys=-1"},
		{name: "expiries that are no number", line: "db0:keys=1,expires=x"},
		{name: "empty", line: "db0:"},
	} {
		dbs, err := Keyspace(ParseInfo("# Keyspace\r\n" + tt.line + "\r\ndbx:keys=1\r\ndb-1:keys=1\r\nused_memory:1\r\n"))
		if err == nil != tt.ok || tt.ok && !maps.Equal(dbs, map[int]Database{0: tt.want}) {
			t.Errorf("%s: %v, %v, want %v (%s)", tt.name, dbs, err, tt.want, tt.why)
		}
	}
}

func FuzzKeyspace(f *testing.F) {
	f.Add("db0:keys=3,expires=1,avg_ttl=0,subexpiry=2\r\ndb15:keys=1\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		dbs, err := Keyspace(ParseInfo(text))
		if err != nil {
			return
		}
		again := map[string]string{}
		for db, d := range dbs {
			line := fmt.Sprintf("keys=%d,expires=%d", d.Keys, d.Expires)
			if d.Hashes >= 0 {
				line += fmt.Sprintf(",subexpiry=%d", d.Hashes)
			}
			again[fmt.Sprint("db", db)] = line
		}
		if got, err := Keyspace(again); err != nil || !maps.Equal(got, dbs) {
			t.Errorf("%v became %v, %v", dbs, got, err)
		}
	})
}
