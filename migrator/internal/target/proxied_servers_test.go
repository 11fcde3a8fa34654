package target_test

import (
	"errors"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// TestSaveRecordBehind: through a proxy, too, a record only goes forward, and is not written where a server lacks what it held before, or has
// taken the place of another one.
func TestSaveRecordBehind(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		held      string // offset of the record; "": there is none
		optional  bool   // one of those that are spread over the servers, which need not be there
		must      bool   // it was there before
		then      func(r *rig)
		want      string
		err       error
	}{
		{name: "further", held: "100", want: "200"},
		{name: "ahead", held: "300", want: "300"},
		{name: "gone", err: target.ErrRegressed},
		{name: "behind", why: "a server came back with older data", held: "50", want: "50", err: target.ErrRegressed},
		{name: "of a server that has none", optional: true, want: "200"},
		{name: "of a server that had one", optional: true, must: true, err: target.ErrRegressed},
		{name: "another process", why: "it may lack anything", held: "100", want: "100", err: target.ErrReplaced, then: func(r *rig) { r.s.Restart() }},
		{name: "the connection breaks", held: "100", want: "200", then: func(r *rig) { r.s.Once("EVAL", endpointtest.HangUp, endpointtest.Unheard) }},
		{name: "no server", held: "100", want: "200", then: func(r *rig) { r.s.Once("EVAL", "-ERR Connection refused\r\n", "-LOADING x\r\n") }},
	} {
		for name, newRig := range map[string]func(*testing.T) *rig{"twemproxy": twemproxyRig, "codis": codisRig} {
			t.Run(name+" "+tt.name, func(t *testing.T) {
				r := newRig(t)
				if !r.to.Can.Tells {
					t.Fatal("the server does not tell who it is")
				}
				r.begin(t)
				k := target.RecordKey{Name: r.cp.RecordName(), Main: true}
				if tt.optional {
					k = target.RecordKey{Name: r.cp.RecordNameIn(0), Must: tt.must}
				}
				r.s.Put(k.Name, nil)
				if tt.held != "" {
					r.s.Do(0, "HSET", k.Name, "offset", tt.held)
				}
				if tt.then != nil {
					tt.then(r)
				}
				if err := r.cp.SaveRecord(t.Context(), k, 100, 200, "db", "0"); !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
					t.Errorf("SaveRecord: %v", err)
				}
				if is := targettest.Field(r.s, 0, k.Name, "offset"); is != tt.want {
					t.Errorf("the record is at %q, not %q", is, tt.want)
				}
			})
		}
	}
}

// TestHinderedByRestart: a server behind a proxy that has failed over between two waves is known before anything else is sent.
func TestHinderedByRestart(t *testing.T) {
	r := twemproxyRig(t)
	r.begin(t)
	r.s.Once("INCR n", "-ERR Connection refused\r\n")
	r.s.Restart()
	err := r.w.Commit(t.Context(), []*target.Transaction{r.transaction(10, "INCR n"), r.transaction(20, "INCR n")})
	if !errors.Is(err, target.ErrReplaced) || len(r.s.Calls("INCR")) > 1 {
		t.Errorf("%v, and %d were sent", err, len(r.s.Calls("INCR")))
	}
}

// TestRecordsBehind: of the records that one server holds the furthest is true, and of those of several servers the oldest.
func TestRecordsBehind(t *testing.T) {
	r := twemproxyRig(t)
	main := target.RecordKey{Name: r.cp.RecordName(), Main: true}
	here := target.RecordKey{Name: r.cp.RecordNameIn(0), Must: true}
	other := target.RecordKey{Name: r.cp.RecordNameIn(256), Must: true}
	r.s.Do(0, "HSET", main.Name, "offset", "100", "replication_id", "r")
	r.s.Do(0, "HSET", here.Name, "offset", "300", "replication_id", "r")
	for _, tt := range []struct {
		name   string
		reply  []string
		lowest string
		silent bool
	}{
		{"a server that is behind", []string{"q", "h", "offset", "50", "replication_id", "r"}, "50", false},
		{"a server that is ahead", []string{"q", "h", "offset", "400", "replication_id", "r"}, "300", false},
		{"a server without a record", []string{"q", "h"}, "100", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var texts []string
			for _, text := range tt.reply {
				texts = append(texts, endpointtest.Bulk(text))
			}
			r.s.On("EVAL", func(args []string) string {
				if args[3] == other.Name {
					return endpointtest.Array(texts...)
				}
				return endpointtest.Usual
			})
			got, err := r.cp.ReadRecords(t.Context(), []target.RecordKey{main, here, {Name: other.Name}})
			if err != nil || got.Lowest["offset"] != tt.lowest || got.Silent != tt.silent {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	r.s.On("EVAL", func(args []string) string { return endpointtest.Usual })
	if _, err := r.cp.ReadRecords(t.Context(), []target.RecordKey{main, here, other}); !errors.Is(err, target.ErrRegressed) {
		t.Errorf("a record that must be there is gone: %v", err)
	}
}
