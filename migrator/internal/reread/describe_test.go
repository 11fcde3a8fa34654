package reread_test

import (
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/reread"
)

// TestDescribe: a source tells what a command was called before it was renamed, or where the keys of one stand that surecut does not know.
func TestDescribe(t *testing.T) {
	s := endpointtest.Serve(t, "7.0.15")
	described := func(name string) string {
		return endpointtest.Array(endpointtest.Array(endpointtest.Bulk(name), endpointtest.Int(-3), endpointtest.Strings("write", "denyoom"),
			endpointtest.Int(1), endpointtest.Int(1), endpointtest.Int(1)))
	}
	s.Always("COMMAND INFO ADDTO", described("incrby"))
	s.Always("COMMAND INFO MOD.ADD", described("mod.add"))
	s.Always("COMMAND INFO NONE", "*1\r\n*-1\r\n")
	s.Always("COMMAND INFO HIDDEN", "-ERR unknown command 'COMMAND'\r\n")
	r := reread.NewReader(endpointtest.Open(t, s.URL()), func() string { return s.Addr }, 0, &keyspace.Filter{})
	for name, want := range map[string]string{"ADDTO": "INCRBY", "MOD.ADD": "MOD.ADD", "NONE": "", "HIDDEN": ""} {
		spec, err := r.Describe(t.Context(), name)
		if (err != nil) != (name == "HIDDEN") || (spec == nil) != (want == "") {
			t.Fatalf("%s: %v, %v", name, spec, err)
		}
		if spec == nil {
			continue
		}
		keys, err := spec.Keys([][]byte{[]byte(name), []byte("k"), []byte("7")}, nil)
		if spec.Name != want || err != nil || len(keys) != 1 || keys[0] != 1 {
			t.Errorf("%s is %s with the keys %v, %v", name, spec.Name, keys, err)
		}
	}
}
