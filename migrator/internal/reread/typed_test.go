package reread

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// refusing is a server that refuses DUMP and holds the key k.
func refusing(t *testing.T, version string, v *keyspace.Value) *endpointtest.Server {
	t.Helper()
	s := endpointtest.Serve(t, version)
	tellTime(s)
	s.Always("DUMP", unknown)
	s.Put("k", v)
	return s
}

// onceFor has one command answered by a reply, and after that as usual.
func onceFor(s *endpointtest.Server, call, reply string) {
	told := false
	s.On(strings.Fields(call)[0], func(args []string) string {
		if told || strings.Join(args, " ") != call {
			return endpointtest.Usual
		}
		told = true
		return reply
	})
}

// TestFaultsAtEveryCommand goes through every command by which a key is read, and forces one fault at this command.
func TestFaultsAtEveryCommand(t *testing.T) {
	expiring := valueOf(keyspace.Hash, PageElements+1)
	expiring.Hash[0].ExpireAt = 4_000_000_000_000
	for name, v := range map[string]*keyspace.Value{
		"string": stringOf("abc"), "big string": valueOf(keyspace.String, typedBytes+5), "list": valueOf(keyspace.List, 3), "big list": valueOf(keyspace.List, PageElements+1),
		"set": valueOf(keyspace.Set, 3), "big set": valueOf(keyspace.Set, PageElements+1), "zset": valueOf(keyspace.ZSet, 3), "big zset": valueOf(keyspace.ZSet, PageElements+1),
		"hash": valueOf(keyspace.Hash, 3), "big hash": valueOf(keyspace.Hash, PageElements+1), "expiring hash": expiring,
		"stream": grouped(valueOf(keyspace.Stream, PageElements+1), PageElements+1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const version = "7.4.1"
			if v.Type == keyspace.Stream {
				v.Meta.HasCounters = true
			}
			s := refusing(t, version, v)
			drain(t, toldScan(t, s, nil))
			var calls []string
			for _, call := range s.Calls("") {
				if args := strings.Fields(call); slices.Contains(args[1:min(3, len(args))], "k") && !slices.Contains(calls, call) {
					calls = append(calls, call)
				}
			}
			if len(calls) < 4 {
				t.Fatalf("read by %q", calls)
			}
			var wg sync.WaitGroup
			for _, call := range calls {
				for _, fault := range []string{loading, noPerm, moved, "*3\r\n$1\r\nx\r\n$5\r\nab" + endpointtest.HangUp} {
					s := refusing(t, version, v)
					onceFor(s, call, fault)
					sc := toldScan(t, s, func(c *ScanConfig) { c.RetryFor = patience; c.Keys = []keyspace.Key{{Name: "k"}} })
					wg.Go(func() { afterFault(t, s, sc, v, call, fault) })
				}
			}
			wg.Wait()
		})
	}
}

func afterFault(t *testing.T, s *endpointtest.Server, sc *Scan, v *keyspace.Value, call, fault string) {
	f := drain(t, sc)
	err := errors.Join(f.err, f.failed["0 k"])
	ok := len(f.absent) == 0
	switch fault {
	case noPerm:
		ok = ok && says(err, "NOPERM") && strings.Contains(err.Error(), " k: ") && strings.Contains(err.Error(), "source "+s.Addr) && len(f.values) == 0
	case moved: // nothing is known of the key
		ok = ok && f.err == nil && (err == nil || errors.Is(err, keyspace.ErrGone)) && len(f.values) == 0
	default:
		ok = ok && err == nil && f.is("0 k", expected(v, 0))
	}
	if !ok {
		t.Errorf("%.60q after %q: %s, absent %q, %v", call, fault, short(f.values), f.absent, err)
	}
}

// part returns the first elements of a value, or bytes of a string.
func part(v *keyspace.Value, n int) *keyspace.Value {
	out := *v
	out.Str, out.List, out.Set = v.Str[:min(n, len(v.Str))], v.List[:min(n, len(v.List))], v.Set[:min(n, len(v.Set))]
	return &out
}

// TestChangesWhileRead: what becomes of a key that changes just before one of the commands by which it is read. A key that is there is
// never said to be absent, since it would be deleted from the target.
func TestChangesWhileRead(t *testing.T) {
	const big = PageElements + 1
	gone := &keyspace.Value{} // the key is absent
	var left *keyspace.Value  // nothing is known of the key
	list, stream := valueOf(keyspace.List, 2), grouped(valueOf(keyspace.Stream, 2), 2)
	longer := valueOf(keyspace.String, 2*typedBytes+9)
	ungrouped := *stream
	ungrouped.Groups = nil
	for _, tt := range []struct {
		name, why string
		before    string // a command
		was, is   *keyspace.Value
		want      *keyspace.Value
	}{
		{"string, deleted before its type is asked", "", "TYPE k", stringOf("a"), nil, gone},
		{"string, deleted before its length is asked", "", "STRLEN k", stringOf("a"), nil, gone},
		{"string, deleted before it is read", "", "GET k", stringOf("a"), nil, gone},
		{"list, deleted before its length is asked", "", "LLEN k", list, nil, gone},
		{"list, deleted before it is read", "no list is empty", "LRANGE k", list, nil, gone},
		{"set, deleted before it is read", "", "SMEMBERS k", valueOf(keyspace.Set, 2), nil, gone},
		{"zset, deleted before it is read", "", "ZRANGE k", valueOf(keyspace.ZSet, 2), nil, gone},
		{"hash, deleted before it is read", "", "HGETALL k", valueOf(keyspace.Hash, 2), nil, gone},
		{"big string, deleted", "", "GETRANGE k", longer, nil, gone},
		{"big list, deleted", "", "LRANGE k", valueOf(keyspace.List, big), nil, gone},
		{"big set, deleted", "", "SSCAN k", valueOf(keyspace.Set, big), nil, gone},
		{"big zset, deleted", "", "ZSCAN k", valueOf(keyspace.ZSet, big), nil, gone},
		{"big hash, deleted", "", "HSCAN k", valueOf(keyspace.Hash, big), nil, gone},
		{"stream, deleted", "an empty stream has no entries either", "XRANGE k", stream, nil, gone},
		{"stream, deleted after its entries", "", "XINFO STREAM k", stream, nil, gone},
		{"stream, deleted after its properties", "", "XINFO GROUPS k", stream, nil, gone},
		{"stream, deleted after its groups", "", "XINFO CONSUMERS k", stream, nil, gone},
		{"stream, deleted before its pending entries", "", "XPENDING k", stream, nil, gone},

		{"another string before its length is asked", "", "STRLEN k", stringOf("a"), stringOf("other"), stringOf("other")},
		{"another string before it is read", "", "GET k", stringOf("a"), stringOf(""), stringOf("")},
		{"large before its length is asked", "", "STRLEN k", stringOf("a"), longer, longer},
		{"large before it is read", "its length was small", "GET k", stringOf("a"), longer, longer},
		{"another type before its length is asked", "it is read by its new type", "STRLEN k", stringOf("a"), list, list},
		{"another type before it is read", "", "GET k", stringOf("a"), list, list},
		{"an empty string before it is read", "its length of 0 is not that of a key that has gone", "LRANGE k", list, stringOf(""), stringOf("")},
		{"a stream before it is read", "", "SMEMBERS k", valueOf(keyspace.Set, 2), valueOf(keyspace.Stream, 2), valueOf(keyspace.Stream, 2)},
		{"string, another type before its first piece", "the type was known", "GETRANGE k", longer, list, left},
		{"string, another type before its second piece", "", fmt.Sprint("GETRANGE k ", typedBytes), longer, list, left},
		{"list, another type before its second page", "", fmt.Sprint("LRANGE k ", PageElements), valueOf(keyspace.List, big), stringOf("a"), left},
		{"set, another type before its second page", "", fmt.Sprint("SSCAN k ", PageElements), valueOf(keyspace.Set, big), stringOf("a"), left},
		{"zset, another type before its second page", "", fmt.Sprint("ZSCAN k ", PageElements), valueOf(keyspace.ZSet, big), stringOf("a"), left},
		{"hash, another type before its second page", "", fmt.Sprint("HSCAN k ", PageElements), valueOf(keyspace.Hash, big), stringOf("a"), left},
		{"stream, another type after its entries", "", "XINFO STREAM k", stream, stringOf("a"), left},
		{"stream, another type after its properties", "", "XINFO GROUPS k", stream, stringOf("a"), left},
		{"stream, another type after its groups", "", "XINFO CONSUMERS k", stream, stringOf("a"), left},
		{"stream, whose group is destroyed", "the stream is there", "XINFO CONSUMERS k", stream, &ungrouped, left},
		{"stream, whose group is destroyed later", "", "XPENDING k", stream, &ungrouped, left},

		{"string, longer before its second piece", "a mixture", fmt.Sprint("GETRANGE k ", typedBytes), valueOf(keyspace.String, 2*typedBytes), longer, longer},
		{"string, shorter before its second piece", "", fmt.Sprint("GETRANGE k ", typedBytes), longer, stringOf("a"), part(longer, typedBytes)},
		{"string, deleted before its second piece", "", fmt.Sprint("GETRANGE k ", typedBytes), longer, nil, part(longer, typedBytes)},
		{"list, longer before its second page", "", fmt.Sprint("LRANGE k ", PageElements), valueOf(keyspace.List, big), valueOf(keyspace.List, 3*big), valueOf(keyspace.List, 3*big)},
		{"list, deleted before its second page", "", fmt.Sprint("LRANGE k ", PageElements), valueOf(keyspace.List, big), nil, part(valueOf(keyspace.List, big), PageElements)},
		{"set, deleted before its second page", "", fmt.Sprint("SSCAN k ", PageElements), valueOf(keyspace.Set, big), nil, part(valueOf(keyspace.Set, big), PageElements)},
	} {
		for _, named := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, named %v", tt.name, named), func(t *testing.T) {
				t.Parallel()
				s := refusing(t, "6.2.14", tt.was)
				changed := false
				s.Before(tt.before, func() { changed = true; s.Put("k", tt.is) })
				s.Once("SCAN", endpointtest.Page("0", "k"))
				f := drain(t, toldScan(t, s, func(c *ScanConfig) {
					if named {
						c.Keys = []keyspace.Key{{Name: "k"}}
					}
				}))
				failed := f.failed["0 k"]
				absent := named && tt.want == gone
				if f.err != nil || !changed || absent != slices.Equal(f.absent, []string{"0 k"}) || !absent && len(f.absent) > 0 {
					t.Errorf("absent %q, %v, %v (%s)", f.absent, failed, f.err, tt.why)
				}
				switch tt.want {
				case gone, left:
					if len(f.values) > 0 || failed != nil && !errors.Is(failed, keyspace.ErrGone) {
						t.Errorf("%s, %v (%s)", short(f.values), failed, tt.why)
					}
				default:
					if failed != nil || !f.is("0 k", expected(tt.want, 0)) {
						t.Errorf("%s, %v, want %s (%s)", short(f.values["0 k"]), failed, short(tt.want), tt.why)
					}
				}
			})
		}
	}
}

// TestTypedReplies: what becomes of one key of a server that answers in an unusual way.
func TestTypedReplies(t *testing.T) {
	const gone = "gone"
	expiring := valueOf(keyspace.Hash, 2)
	expiring.Hash[0].ExpireAt = 4_000_000_000_000
	fields := "HPEXPIRETIME k"
	for _, tt := range []struct {
		name, why, version string
		v                  *keyspace.Value
		words, reply       string // the reply to every command that begins with the words
		at                 int64  // expiry
		err                string // of the scan or of the key, gone, or "": the value is as it was
	}{
		{"time left", "", "6.2.14", stringOf("v"), "PTTL k", ":1\r\n", toldNow + 1, ""},
		{"no time left", "", "6.2.14", stringOf("v"), "PTTL k", ":0\r\n", toldNow, ""},
		{"no expiry", "", "6.2.14", stringOf("v"), "PTTL k", ":-1\r\n", 0, ""},
		{"gone after its type", "", "6.2.14", stringOf("v"), "PTTL k", ":-2\r\n", 0, gone},
		{"time of expiry", "", "7.0.15", stringOf("v"), "PEXPIRETIME k", ":4000000000000\r\n", 4_000_000_000_000, ""},
		{"expires at 0", "0 would be never", "7.0.15", stringOf("v"), "PEXPIRETIME k", ":0\r\n", 1, ""},
		{"a stream that expires", "", "7.0.15", grouped(valueOf(keyspace.Stream, 2), 1), "PEXPIRETIME k", ":4000000000000\r\n", 4_000_000_000_000, ""},
		{"expiry is no number", "", "7.0.15", stringOf("v"), "PEXPIRETIME k", "+soon\r\n", 0, "TYPE k: "},
		{"no time", "", "6.2.14", stringOf("v"), "TIME", "*0\r\n", 0, "the reply has 0 parts"},
		{"length is no number", "", "6.2.14", stringOf("v"), "STRLEN", "+long\r\n", 0, "STRLEN k: "},
		{"not even its type", "", "6.2.14", stringOf("v"), "TYPE k", unknown, 0, "TYPE k: "},
		{"a module's type", "", "6.2.14", stringOf("v"), "TYPE k", "+ReJSON-RL\r\n", 0, "values of type ReJSON-RL of a source that refuses DUMP"},
		{"a score is no number", "", "6.2.14", valueOf(keyspace.ZSet, 2), "ZRANGE k", endpointtest.Strings("a", "many"), 0, "read key k: "},
		{"infinite scores", "", "6.2.14", &keyspace.Value{Type: keyspace.ZSet, ZSet: []keyspace.Member{{Name: []byte("a"), Score: math.Inf(-1)}, {Name: []byte("b"), Score: math.Inf(1)}}},
			"ZRANGE k", endpointtest.Strings("a", "-inf", "b", "inf"), 0, ""},
		{"no list", "", "6.2.14", valueOf(keyspace.Set, 2), "SMEMBERS k", ":1\r\n", 0, "read key k: "},
		{"nothing in the only page", "no set is empty", "6.2.14", valueOf(keyspace.Set, PageElements+1), "SSCAN k 0", endpointtest.Page("0"), 0, gone},
		{"no page", "", "6.2.14", valueOf(keyspace.Set, PageElements+1), "SSCAN k", "*1\r\n$1\r\n0\r\n", 0, "SSCAN: the reply has 1 parts"},
		{"no cursor", "", "6.2.14", valueOf(keyspace.Hash, PageElements+1), "HSCAN k", endpointtest.Page("x"), 0, "HSCAN: the cursor"},
		{"a member is nil", "", "6.2.14", valueOf(keyspace.Set, PageElements+1), "SSCAN k", "*2\r\n$1\r\n0\r\n*1\r\n$-1\r\n", 0, "nil"},

		{"fields that expire", "", "7.4.1", expiring, fields, endpointtest.Usual, 0, ""},
		{"expiries of fields are refused", "a field would be kept forever", "7.4.1", expiring, fields, noPerm, 0, "read key k: NOPERM"},
		{"expiries of fields are unknown", "", "7.4.1", expiring, fields, unknown, 0, "read key k: unknown command"},
		{"all fields have expired", "no hash is empty", "7.4.1", expiring, fields, endpointtest.Array(":-2\r\n", ":-2\r\n"), 0, gone},
		{"no expiries", "the key has gone", "7.4.1", expiring, fields, endpointtest.Nil, 0, gone},
		{"too few expiries", "", "7.4.1", expiring, fields, endpointtest.Array(":-1\r\n"), 0, gone},
		{"expiries that are no numbers", "", "7.4.1", expiring, fields, endpointtest.Strings("x", "y"), 0, "invalid syntax"},

		{"no properties", "the stream is there, so it has not gone", "6.2.14", valueOf(keyspace.Stream, 2), "XINFO", unknown, 0, "read key k: unknown command"},
		{"no properties of a user", "", "6.2.14", valueOf(keyspace.Stream, 2), "XINFO", noPerm, 0, "read key k: NOPERM"},
		{"no pending entries", "", "6.2.14", grouped(valueOf(keyspace.Stream, 2), 1), "XPENDING", unknown, 0, "read key k: unknown command"},
		{"properties make no sense", "", "6.2.14", valueOf(keyspace.Stream, 2), "XINFO STREAM", endpointtest.Strings("length"), 0, "the reply has 1 parts, which are not pairs of names and values"},
		{"no last ID", "", "6.2.14", valueOf(keyspace.Stream, 2), "XINFO STREAM", endpointtest.Array(endpointtest.Bulk("length"), ":2\r\n"), 0, "last-generated-id"},
		{"an entry makes no sense", "", "6.2.14", valueOf(keyspace.Stream, 2), "XRANGE", endpointtest.Array(endpointtest.Strings("1-1")), 0, "an entry of a stream"},
		{"entries are no list", "", "6.2.14", valueOf(keyspace.Stream, 2), "XRANGE", ":1\r\n", 0, "array"},
		{"a group makes no sense", "", "6.2.14", valueOf(keyspace.Stream, 2), "XINFO GROUPS", endpointtest.Array(endpointtest.Strings("name", "g")), 0, "last-delivered-id"},
		{"groups are no list", "", "6.2.14", valueOf(keyspace.Stream, 2), "XINFO GROUPS", ":1\r\n", 0, "array"},
		{"a consumer without a name", "", "6.2.14", grouped(valueOf(keyspace.Stream, 2), 1), "XINFO CONSUMERS", endpointtest.Array("*0\r\n"), 0, "name"},
		{"consumers are no list", "", "6.2.14", grouped(valueOf(keyspace.Stream, 2), 1), "XINFO CONSUMERS", ":1\r\n", 0, "array"},
		{"a pending entry makes no sense", "", "6.2.14", grouped(valueOf(keyspace.Stream, 2), 1), "XPENDING", endpointtest.Array(endpointtest.Strings("1-1")), 0, "a pending entry"},
		{"pending entries are no list", "", "6.2.14", grouped(valueOf(keyspace.Stream, 2), 1), "XPENDING", ":1\r\n", 0, "array"},
		{"no entry at all", "an emptied stream has its groups still", "6.2.14", grouped(&keyspace.Value{Type: keyspace.Stream, Meta: keyspace.StreamMeta{LastID: keyspace.StreamID{Ms: 9}}}, 2), "XRANGE", "*0\r\n", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := refusing(t, tt.version, tt.v)
			s.Put("neighbour", stringOf("n"))
			if tt.v.Type == keyspace.Stream && tt.version >= "7" {
				tt.v.Meta.HasCounters = true
			}
			s.Always(tt.words, tt.reply)
			f := drain(t, toldScan(t, s, func(c *ScanConfig) { c.Keys = []keyspace.Key{{Name: "k"}, {Name: "neighbour"}} }))
			err := errors.Join(f.err, f.failed["0 k"])
			switch tt.err {
			case "":
				if err != nil || !f.is("0 k", expected(tt.v, tt.at)) || len(f.absent) > 0 {
					t.Errorf("%s, absent %q, %v, want %s until %d (%s)", short(f.values["0 k"]), f.absent, err, short(tt.v), tt.at, tt.why)
				}
			case gone:
				if f.err != nil || err != nil && !errors.Is(err, keyspace.ErrGone) || len(f.values) != 1 || !slices.Equal(f.absent, []string{"0 k"}) {
					t.Errorf("%s, absent %q, %v, want it gone (%s)", short(f.values["0 k"]), f.absent, err, tt.why)
				}
			default:
				if !says(err, tt.err) || errors.Is(err, keyspace.ErrGone) || len(f.absent) > 0 {
					t.Errorf("%s, absent %q, %v, want %q (%s)", short(f.values["0 k"]), f.absent, err, tt.err, tt.why)
				}
			}
			if f.err == nil && !f.is("0 neighbour", *stringOf("n")) {
				t.Errorf("neighbour: %v", f.values)
			}
		})
	}
}

// TestTypeAskedAgain: a key whose type has changed is read by its new type, whatever happens when that is asked for: before its first
// piece, and after it.
func TestTypeAskedAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		types  []string // answers to TYPE
		absent bool
		err    string // "": read by its new type, or left where it was read in part
	}{
		{"as it is", []string{endpointtest.Usual}, false, ""},
		{"gone", []string{"+none\r\n"}, true, "disappeared"},
		{"moved", []string{moved}, false, "its slot is moving"},
		{"asked elsewhere", []string{ask}, false, "its slot is moving"},
		{"loading, lost", []string{loading, endpointtest.HangUp, endpointtest.Usual}, false, ""},
		{"forbidden", []string{noPerm}, false, "read key k: NOPERM"},
	} {
		for _, began := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, began %v", tt.name, began), func(t *testing.T) {
				t.Parallel()
				was, before := stringOf("a"), "GET k"
				if began {
					was, before = valueOf(keyspace.Set, PageElements+1), fmt.Sprint("SSCAN k ", PageElements)
				}
				s, is := refusing(t, "6.2.14", was), valueOf(keyspace.List, 2)
				s.Before(before, func() {
					s.Put("k", is)
					s.Once("TYPE k", tt.types...)
				})
				f := drain(t, toldScan(t, s, func(c *ScanConfig) { c.RetryFor, c.Keys = patience, []keyspace.Key{{Name: "k"}} }))
				err := tt.err
				if began && err == "" {
					err = "the value was replaced"
				}
				if f.err != nil || !says(f.failed["0 k"], err) || err == "" && !f.is("0 k", *is) || tt.absent != (len(f.absent) == 1) {
					t.Errorf("%s, absent %q, %v, %v, want %q", short(f.values), f.absent, f.failed, f.err, err)
				}
				if failed := f.failed["0 k"]; err != "" && errors.Is(failed, keyspace.ErrGone) != (tt.name != "forbidden") || endpoint.Code(failed) != "" {
					t.Errorf("%v must end this key only, and not be taken for the target's", failed)
				}
			})
		}
	}
}

// TestWhetherFieldsExpire: expiries of fields are asked for wherever there may be some, and only there.
func TestWhetherFieldsExpire(t *testing.T) {
	for _, tt := range []struct {
		name, why, version, info string // info is what INFO keyspace says of database 0
		tried                    string // the answer to HPEXPIRETIME of a key that is not there
		asks                     bool
		err                      string
	}{
		{"6.2", "there is no such command", "6.2.14", "keys=1", endpointtest.Usual, false, ""},
		{"7.4, none", "INFO says so", "7.4.1", "keys=1,subexpiry=0", endpointtest.Usual, false, ""},
		{"7.4, some", "", "7.4.1", "keys=1,subexpiry=1", endpointtest.Usual, true, ""},
		{"7.4, renamed", "the error that follows is better than a field that is kept forever", "7.4.1", "keys=1,subexpiry=1", unknown, true, ""},
		{"valkey 9", "INFO does not tell", "valkey 9.0.1", "keys=1", endpointtest.Usual, true, ""},
		{"valkey 9, forbidden", "", "valkey 9.0.1", "keys=1", noPerm, true, ""},
		{"valkey 9, on another node", "", "valkey 9.0.1", "keys=1", moved, true, ""},
		{"valkey 9, nil", "", "valkey 9.0.1", "keys=1", endpointtest.Nil, true, ""},
		{"valkey 8", "", "valkey 8.1.3", "keys=1", endpointtest.Usual, false, ""},
		{"no INFO, known", "", "7.4.1", noPerm, endpointtest.Usual, true, ""},
		{"no INFO, unknown", "", "7.4.1", noPerm, unknown, false, ""},
		{"INFO makes no sense", "", "7.4.1", "keys=many", endpointtest.Usual, false, "INFO keyspace says"},
		{"lost", "", "7.4.1", "keys=1,subexpiry=0", endpointtest.HangUp, false, "source "},
		{"lost at INFO", "", "7.4.1", endpointtest.HangUp, endpointtest.Usual, false, "source "},
	} {
		s := refusing(t, tt.version, valueOf(keyspace.Hash, 2))
		s.Tell("db0", tt.info)
		sc := toldScan(t, s, func(c *ScanConfig) { c.Keys = []keyspace.Key{{Name: "k"}} })
		if tt.info == noPerm || tt.info == endpointtest.HangUp {
			s.Always("INFO keyspace", tt.info)
		}
		s.Always("HPEXPIRETIME "+keyspace.ProbePrefix+"dump", tt.tried)
		f := drain(t, sc)
		if asks := len(s.Calls("HPEXPIRETIME k")) > 0; asks != tt.asks || !says(f.err, tt.err) || f.err == nil && !f.is("0 k", *valueOf(keyspace.Hash, 2)) {
			t.Errorf("%s: asks %v, %v, %v, want %v, %q (%s)", tt.name, asks, f.values, f.err, tt.asks, tt.err, tt.why)
		}
	}
}

// refuser is a visitor that refuses every part of a value.
type refuser struct{ err error }

func (r refuser) StringChunk([]byte) error                      { return r.err }
func (r refuser) ListElement([]byte) error                      { return r.err }
func (r refuser) SetMember([]byte) error                        { return r.err }
func (r refuser) ZSetMember([]byte, float64) error              { return r.err }
func (r refuser) HashField(_, _ []byte, _ int64) error          { return r.err }
func (r refuser) StreamEntry(keyspace.StreamID, [][]byte) error { return r.err }
func (r refuser) StreamMeta(keyspace.StreamMeta) error          { return r.err }
func (r refuser) StreamGroup(keyspace.Group) error              { return r.err }
func (r refuser) ModulePayload([]byte) error                    { return r.err }

// coded is an error reply of the target.
type coded string

func (c coded) Error() string { return string(c) + " x" }
func (c coded) Code() string  { return string(c) }

// TestVisitorRefuses: the error of whoever takes the value ends the reading at once, and stays what it is.
func TestVisitorRefuses(t *testing.T) {
	for _, v := range []*keyspace.Value{valueOf(keyspace.String, 2*typedBytes), valueOf(keyspace.List, 2*PageElements), valueOf(keyspace.Set, 2*PageElements), valueOf(keyspace.ZSet, 2*PageElements),
		valueOf(keyspace.Hash, 2*PageElements), valueOf(keyspace.Stream, 2*PageElements), grouped(&keyspace.Value{Type: keyspace.Stream}, 1)} {
		s := refusing(t, "6.2.14", v)
		sc := toldScan(t, s, nil)
		ran := make(chan error, 1)
		ctx, stop := context.WithCancel(t.Context())
		go func() { ran <- sc.Run(ctx) }()
		if _, err := sc.Next(); err != nil {
			t.Fatal(err)
		}
		for _, refused := range []error{errors.New("the target is full"), coded("OOM"), coded("MOVED"), coded("WRONGTYPE"), coded("ERR"), coded("NOPERM")} {
			before := len(s.Calls(""))
			err := sc.Walk(refuser{refused})
			if n := len(s.Calls("")) - before; !errors.Is(err, refused) || err.Error() != refused.Error() || n > 2 {
				t.Errorf("%v: %v after %d commands, want %v", v.Type, err, n, refused)
			}
		}
		stop()
		<-ran
	}
}
