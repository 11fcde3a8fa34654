package target_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// keysOf yields keys, as the list of held keys does.
func keysOf(keys []keyspace.Key, err error) func() (keyspace.Key, bool, error) {
	return func() (k keyspace.Key, ok bool, _ error) {
		if len(keys) == 0 {
			return k, false, err
		}
		k, keys = keys[0], keys[1:]
		return k, true, nil
	}
}

// TestEndPostponing: each key gets the expiry that the file gave it, whatever breaks meanwhile, and what has none gets none.
func TestEndPostponing(t *testing.T) {
	for _, version := range []string{"7.0.15", "6.2.14"} { // with PEXPIRETIME and without
		for _, tt := range []struct {
			name string
			tell func(s *endpointtest.Server)
		}{
			{"all well", func(*endpointtest.Server) {}},
			{"asked, and not answered", func(s *endpointtest.Server) {
				s.Once("PEXPIRETIME k7", endpointtest.HangUp)
				s.Once("PTTL k7", endpointtest.HangUp)
			}},
			{"set, and not answered", func(s *endpointtest.Server) { s.Once("PEXPIREAT k7", endpointtest.Unheard) }},
			{"set in part", func(s *endpointtest.Server) { s.Once("PEXPIREAT k7", endpointtest.HangUp, endpointtest.HangUp) }},
			{"loading", func(s *endpointtest.Server) {
				s.Once("PEXPIREAT k3", "-LOADING x\r\n")
				s.Once("TIME", "-LOADING x\r\n")
			}},
		} {
			t.Run(version+", "+tt.name, func(t *testing.T) {
				r := serverRig(t, version)
				at := time.Now().Add(time.Hour).UnixMilli()
				const apart = 600_000
				var keys []keyspace.Key
				for i := range 700 { // more than are treated at once
					k := keyspace.Key{DB: i % 2, Name: fmt.Sprint("k", i)}
					keys = append(keys, k)
					v := &keyspace.Value{Type: keyspace.String, Str: []byte("x"), ExpireAt: target.Postponed(at + int64(i)*apart)}
					switch i {
					case 2:
						v.ExpireAt = 0
					case 4:
						v.ExpireAt = at // its true one already
					case 6:
						v = nil
					}
					r.s.PutIn(k.DB, k.Name, v)
				}
				tt.tell(r.s)
				for range 2 {
					if err := r.to.EndPostponing(soon(t), keysOf(keys, nil)); err != nil {
						t.Fatal(err)
					}
				}
				for i, k := range keys {
					_, got, there := targettest.Held(r.s, k)
					want := at + int64(i)*apart
					switch i {
					case 2:
						want = 0
					case 4:
						want = at
					}
					if there != (i != 6) || there && (got < want-apart/2 || got > want+apart/2) { // time goes by between TIME and PTTL
						t.Fatalf("%v expires at %d, want %d", k, got, want)
					}
				}
			})
		}
	}
}

// TestEndPostponingEnds: what cannot be done is told: a list that cannot be read, and a target that refuses.
func TestEndPostponingEnds(t *testing.T) {
	r := serverRig(t, "7.0.15")
	damaged := errors.New("damaged")
	if err := r.to.EndPostponing(t.Context(), keysOf(nil, damaged)); !errors.Is(err, damaged) {
		t.Errorf("a list that is damaged: %v", err)
	}
	r.s.Put("k", &keyspace.Value{Type: keyspace.String, Str: []byte("x"), ExpireAt: target.Postponed(1)})
	r.s.Always("PEXPIREAT", "-ERR unknown command\r\n")
	if err := r.to.EndPostponing(t.Context(), keysOf([]keyspace.Key{{Name: "k"}}, nil)); err == nil {
		t.Error("a target that refuses")
	}
}

// TestEndPostponingMoved: keys are found where their slot is.
func TestEndPostponingMoved(t *testing.T) {
	r, c := clusterRig(t)
	at := time.Now().Add(time.Hour).UnixMilli()
	v := &keyspace.Value{Type: keyspace.String, Str: []byte("x"), ExpireAt: target.Postponed(at)}
	keys := []keyspace.Key{{Name: "{a}1"}, {Name: "{a}2"}, {Name: "{b}1"}}
	for _, k := range keys {
		c.Of(k.Name).Put(k.Name, v)
	}
	from, to := c.Of("{a}"), c.Servers[0]
	if from == to {
		to = c.Servers[1]
	}
	from.On("PEXPIREAT {a}2", once1(func() string { c.Move("{a}1", to); return endpointtest.Usual }))
	if err := r.to.EndPostponing(soon(t), keysOf(keys, nil)); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if got := c.Of(k.Name).Get(k.Name).ExpireAt; got != at {
			t.Errorf("%s expires at %d, want %d", k.Name, got, at)
		}
	}
}

// TestLearnExpiries: of keys that the target held before, only those with an expiry that is near may be gone; until that is known, any may.
func TestLearnExpiries(t *testing.T) {
	r := serverRig(t, "7.0.15")
	soonGone := time.Now().Add(3 * time.Second).UnixMilli()
	r.s.PutIn(1, "soon", &keyspace.Value{Type: keyspace.String, Str: []byte("x"), ExpireAt: soonGone})
	for i := range 1200 { // more than a page
		r.s.Do(0, "SET", fmt.Sprint("never", i), "x")
	}
	r.s.Put("late", &keyspace.Value{Type: keyspace.String, Str: []byte("x"), ExpireAt: soonGone}) // on the last page
	r.to.Expiring.Forget()
	append1 := func(db int, name string) *target.Transaction {
		x := r.transaction(0, "APPEND "+name+" x")
		x.Calls[0].DB, x.Calls[0].Key.DB, x.Calls[0].Reads = db, db, true
		return x
	}
	asked := func() int { return len(r.s.Calls("EXISTS")) }
	commit := func(x *target.Transaction) {
		if err := r.w.Commit(t.Context(), []*target.Transaction{x}); err != nil {
			t.Fatal(err)
		}
	}
	before := asked()
	commit(append1(0, "never1"))
	if asked() != before+1 {
		t.Error("as long as nothing is known, every key is asked for")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r.to.Expiring.Pass("0", time.Now().Add(time.Hour).UnixMilli(), 1)
	r.to.Expiring.Learn(ctx, func() int { return 1 })
	if ctx.Err() != nil {
		t.Fatal("the expiries were not learnt")
	}
	before = asked()
	commit(append1(0, "never1"))
	commit(append1(0, "never1199"))
	if asked() != before {
		t.Error("keys without an expiry are asked for")
	}
	commit(append1(1, "soon"))
	commit(append1(0, "late"))
	if asked() != before+2 {
		t.Error("a key that is about to expire is not asked for")
	}
}
