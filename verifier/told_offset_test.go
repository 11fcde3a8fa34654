package verifier

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// toldAtOffset reads keys as of one offset.
func toldAtOffset(t *testing.T, s *endpointtest.Server, c Config, types map[string]keyspace.Type) (map[string]reading, int64, error) {
	t.Helper()
	r := toldReader(t, s, c)
	side := bareSide(endpoint.Source, r.node.dep, &c)
	side.nodes = []*node{r.node}
	t.Cleanup(side.close)
	var keys []record
	for _, name := range sortedKeys(types) {
		k := record{keyID: keyID{name: name}, t: types[name]}
		if v := s.Get(name); v != nil {
			k.fp = fingerprintOf(v)
		}
		keys = append(keys, k)
	}
	got, offset, err := atomicReader{side}.readAt(t.Context(), AppliedLink{Reads: s.Addr}, keys)
	out := map[string]reading{}
	for i := range got {
		out[keys[i].name] = got[i]
	}
	return out, offset, err
}

// TestReadsAtOffset: every type is read at the offset as it is read otherwise, whatever the server can do. A key that did not fit into
// what may be asked for at a time is left for the next time.
func TestReadsAtOffset(t *testing.T) {
	for _, version := range versionsTold {
		s := endpointtest.Serve(t, version)
		s.Write([]string{"SET", "other", "x"}, "other")
		kinds, types := kindsTold(version), map[string]keyspace.Type{}
		for name, v := range kinds {
			s.Put(name, v)
			types[name] = v.Type
		}
		for len(types) > 0 {
			got, offset, err := toldAtOffset(t, s, toldConfig(t), types)
			if err != nil || offset != 1031 {
				t.Fatalf("%s: %v, offset %d", version, err, offset)
			}
			before := len(types)
			for name, r := range got {
				if errors.Is(r.Err, errLater) {
					continue
				}
				delete(types, name)
				if r.Err != nil || r.FP != fingerprintOf(kinds[name]) {
					t.Errorf("%s, %s: %+v", version, name, r)
				}
			}
			if len(types) == before {
				t.Fatalf("%s: none of %q was read", version, sortedKeys(types))
			}
		}
	}
}

// sparseHLL is a HyperLogLog in the sparse encoding, of which no register is set.
func sparseHLL() *keyspace.Value {
	return stringOf("HYLL\x01\x00\x00\x00" + strings.Repeat("\x00", 7) + "\x00" + "\x7f\xff")
}

// TestLengthAtOffset: at depth length, too, both ways of reading find the same, whichever encoding a HyperLogLog has.
func TestLengthAtOffset(t *testing.T) {
	c := toldConfig(t)
	c.Depth = DepthLength
	s := endpointtest.Serve(t, "7.0.15")
	types := map[string]keyspace.Type{}
	for name, v := range kindsTold("7.0.15") {
		if name == "large module" || name == "large string" { // they are left for the next time
			continue
		}
		s.Put(name, v)
		types[name] = v.Type
	}
	s.Put("hll", sparseHLL())
	s.Put("no hll", stringOf("HYLL, but a text"))
	types["hll"], types["no hll"] = keyspace.String, keyspace.String
	r := toldReader(t, s, c)
	at, _, err := toldAtOffset(t, s, c, types)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range at {
		want, err := readOne(t, r, name)
		if err != nil || got.Err != nil || got.FP.Length != want.FP.Length {
			t.Errorf("%s: length %d at the offset, else %d; %v, %v", name, got.FP.Length, want.FP.Length, got.Err, err)
		}
	}
}

// outcome says in one word what was read of a key that should hold a value.
func outcome(r reading, want *keyspace.Value) string {
	var no *refusal
	switch {
	case errors.Is(r.Err, errLater):
		return "later"
	case errors.Is(r.Err, errOtherShape):
		return "shape:" + r.Type.String()
	case errors.Is(r.Err, errChanged):
		return "changed"
	case errors.As(r.Err, &no):
		return no.code
	case r.Err != nil:
		return r.Err.Error()
	case !r.present():
		return "gone"
	case want != nil && r.FP == fingerprintOf(want):
		return "value"
	}
	return "something else"
}

// TestOffsetUnderFaults: a reading at an offset is what the key held there, or says that it is not known.
func TestOffsetUnderFaults(t *testing.T) {
	const refusal = "-NOPERM this user has no permissions to run the 'x' command\r\n"
	hour := time.Now().Add(time.Hour).UnixMilli()
	small := map[string]*keyspace.Value{"a": stringOf("abc"), "b": valueOf(keyspace.List, 2, 5), "h": expiringField(valueOf(keyspace.Hash, 2, 5), hour)}
	large := map[string]*keyspace.Value{"a": valueOf(keyspace.String, 12, 8_000), "b": valueOf(keyspace.List, 12, 8_000), "x": valueOf(keyspace.Stream, 12, 8_000)}
	write := func(s *endpointtest.Server, name string) func() {
		return func() { s.Put(name, s.Get(name)) }
	}
	acknowledge := func(s *endpointtest.Server) func() {
		return func() { s.Get("x").Groups[0].Pending = nil } // which no server takes for a change of the key
	}
	everyTime := func(f func()) func([]string) string {
		return func([]string) string { f(); return endpointtest.Usual }
	}
	for _, tt := range []struct {
		name, why string
		keys      map[string]*keyspace.Value
		tell      func(s *endpointtest.Server)
		want      string // outcomes in the order of the names, or part of the error
	}{
		{"small", "in one transaction", small, nil, "value value value"},
		{"large", "under WATCH", large, nil, "value value value"},
		{"a value is refused in the transaction", "it is read in another way, and the others wait", small, func(s *endpointtest.Server) { s.Always("GET a", refusal) }, "value value value"},
		{"a key is refused", "nothing else is lost by that", small, func(s *endpointtest.Server) {
			s.Always("GET a", refusal)
			s.Always("GETRANGE a", "-NOPERM No permissions to access a key\r\n")
		}, "NOPERM value value"},
		{"over maxmemory", "MULTI queues nothing then", small, func(s *endpointtest.Server) {
			for _, c := range []string{"TIME", "TYPE", "PEXPIRETIME", "GET", "LRANGE", "HGETALL", "HPEXPIRETIME", "ROLE"} {
				var queued bool
				s.On("MULTI", everyTime(func() { queued = true }))
				s.On("EXEC", everyTime(func() { queued = false }))
				s.On(c, func([]string) string {
					if queued {
						return "-OOM command not allowed when used memory > 'maxmemory'.\r\n"
					}
					return endpointtest.Usual
				})
			}
		}, "value value value"},
		{"another type", "the list was removed, and a string is there", small, func(s *endpointtest.Server) { s.Before("MULTI", func() { s.Put("b", stringOf("x")) }) }, "value shape:string value"},
		{"gone", "", small, func(s *endpointtest.Server) { s.Before("MULTI", func() { s.Put("b", nil) }) }, "value gone value"},
		{"the reply is an error though the type is right", "", small, func(s *endpointtest.Server) { s.Always("LRANGE b", "-WRONGTYPE x\r\n") }, "value WRONGTYPE value"},
		{"a field more", "it came after HKEYS", small, func(s *endpointtest.Server) { s.Before("MULTI", func() { s.Put("h", valueOf(keyspace.Hash, 3, 5)) }) }, "value value shape:none"},
		{"another field", "", small, func(s *endpointtest.Server) { s.Once("HKEYS h", endpointtest.Strings("e00000", "other")) }, "value value shape:none"},
		{"no field", "HKEYS is refused, so that no expiry can be asked for", small, func(s *endpointtest.Server) { s.Always("HKEYS", refusal) }, "value value shape:none"},
		{"a field that is gone", "HGETALL has listed it; without an expiry it would be another hash", small, func(s *endpointtest.Server) { s.Once("HPEXPIRETIME h", "*2\r\n:-2\r\n:-1\r\n") }, "value value shape:none"},
		{"fewer times than fields", "", small, func(s *endpointtest.Server) { s.Once("HPEXPIRETIME h", "*1\r\n:-1\r\n") }, "value value shape:none"},
		{"HPEXPIRETIME is refused", "what is left of the time is no point in time: in pieces", small, func(s *endpointtest.Server) { s.Always("HPEXPIRETIME", refusal) }, "value value value"},
		{"PEXPIRETIME is refused", "", small, func(s *endpointtest.Server) { s.Always("PEXPIRETIME", refusal) }, "value value value"},
		{"a reply is missing", "none is taken for that of another command", small, func(s *endpointtest.Server) { s.Always("EXEC", "*1\r\n+none\r\n") }, "EXEC returned 1 replies"},
		{"hung up", "the transaction is repeated", small, func(s *endpointtest.Server) { s.Once("EXEC", endpointtest.HangUp) }, "value value value"},
		{"loading", "", small, func(s *endpointtest.Server) { s.Once("EXEC", "-LOADING Redis is loading\r\n") }, "value value value"},
		{"a replica without its primary", "its offset is that of no instant", small, func(s *endpointtest.Server) {
			s.Always("ROLE", endpointtest.Array(endpointtest.Bulk("slave"), endpointtest.Bulk("h"), ":1\r\n", endpointtest.Bulk("connect"), ":-1\r\n"))
		}, "not connected to its primary"},

		{"written once", "half as many are read at a time until none is written", large, func(s *endpointtest.Server) { s.Before("LRANGE b", write(s, "b")) }, "value later later"},
		{"written each time", "the others are read", large, func(s *endpointtest.Server) { s.On("GETRANGE a", everyTime(write(s, "a"))) }, "changed value later"},
		{"nothing stands still", "", large, func(s *endpointtest.Server) { s.On("TYPE", everyTime(write(s, "a"))) }, "changed while it was read"},
		{"hung up while keys are watched", "the new connection watches nothing", large, func(s *endpointtest.Server) { s.Once("ROLE", endpointtest.HangUp) }, "value value value"},
		{"acknowledged", "WATCH does not notice that", large, func(s *endpointtest.Server) { s.Before("ROLE", acknowledge(s)) }, "value value changed"},
		{"acknowledged during the read", "", large, func(s *endpointtest.Server) { s.Before("XRANGE x", acknowledge(s)) }, "value value changed"},
		{"groups cannot be read again", "", large, func(s *endpointtest.Server) { s.Before("ROLE", func() { s.Always("XINFO GROUPS", refusal) }) }, "value value changed"},
	} {
		s := endpointtest.Serve(t, "7.4.1")
		types, whole := map[string]keyspace.Type{}, map[string]*keyspace.Value{}
		for name, v := range tt.keys {
			copied := *v
			copied.Groups = slices.Clone(v.Groups)
			s.Put(name, &copied)
			types[name], whole[name] = v.Type, v
		}
		if tt.tell != nil {
			tt.tell(s)
		}
		got, _, err := toldAtOffset(t, s, toldConfig(t), types)
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q (%s)", tt.name, err, tt.want, tt.why)
			}
			continue
		}
		var words []string
		for _, name := range sortedKeys(got) {
			words = append(words, outcome(got[name], whole[name]))
		}
		if text := strings.Join(words, " "); text != tt.want {
			t.Errorf("%s: %s, want %s (%s)", tt.name, text, tt.want, tt.why)
		}
	}
}
