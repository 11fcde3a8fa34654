package reread

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

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
