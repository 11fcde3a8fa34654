package target_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// placed places the witnesses that a target needs.
func placed(t *testing.T, to *target.Target, have ...target.Witness) []target.Witness {
	t.Helper()
	more := to.Witnesses.Missing(have)
	if err := to.Witnesses.Place(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	return append(have, more...)
}

// TestWitnesses: what becomes of a witness shows what has become of the keys of its database.
func TestWitnesses(t *testing.T) {
	const witness = "__surecut:witness:id"
	for _, tt := range []struct {
		name, why string
		then      func(s *endpointtest.Server)
		want      string // how the loss is told; "": there is none
	}{
		{"all well", "", func(*endpointtest.Server) {}, ""},
		{"FLUSHDB", "", func(s *endpointtest.Server) { s.PutIn(3, witness, nil) }, "ADDR (database 3): "},
		{"FLUSHALL", "", func(s *endpointtest.Server) {
			s.PutIn(3, witness, nil)
			s.Put(witness, nil)
		}, "ADDR, ADDR (database 3): "},
		{"SWAPDB by somebody else", "each is where the other was", func(s *endpointtest.Server) {
			v := s.Get(witness)
			s.Put(witness, s.GetIn(3, witness))
			s.PutIn(3, witness, v)
		}, "ADDR, ADDR (database 3): "},
		{"another value", "", func(s *endpointtest.Server) { s.Do(3, "SET", witness, "") }, "ADDR (database 3): "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serverRig(t, "7.0.15")
			ws := placed(t, r.to)
			x := r.transaction(400, "SET a 1")
			x.Calls[0].DB = 3
			if err := r.w.Commit(t.Context(), []*target.Transaction{x}); err != nil {
				t.Fatal(err)
			}
			if ws = placed(t, r.to, ws...); !slices.Equal(ws, []target.Witness{{DB: 0}, {DB: 3}}) || len(r.to.Witnesses.Missing(ws)) > 0 {
				t.Fatalf("%v: one in each database that was written to", ws)
			}
			tt.then(r.s)
			r.s.Once("GET "+witness, "-LOADING x\r\n", endpointtest.HangUp)
			lost, err := r.to.Witnesses.FindLost(t.Context(), ws)
			if err != nil || (len(lost) > 0) != (tt.want != "") {
				t.Fatal(lost, err)
			}
			if len(lost) == 0 {
				return
			}
			err = r.to.Witnesses.LossOf(lost)
			if want := strings.ReplaceAll(tt.want, "ADDR", r.s.Addr); !errors.Is(err, target.ErrLost) || !errors.Is(err, target.ErrRegressed) || !strings.Contains(err.Error(), " at "+want) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}

// TestWitnessUnseen: a witness that was not looked for is not said to be gone.
func TestWitnessUnseen(t *testing.T) {
	r := serverRig(t, "7.0.15")
	ws := placed(t, r.to)
	r.s.Once("GET __surecut:witness:id", "-NOPERM no\r\n")
	if lost, err := r.to.Witnesses.Lost(t.Context(), ws); err == nil || len(lost) > 0 {
		t.Errorf("%v, %v", lost, err)
	}
	if err := r.to.Witnesses.Remove(t.Context(), ws); err != nil || len(r.s.Names()) > 0 {
		t.Errorf("%v, %v are left", err, r.s.Names())
	}
}

// TestWitnessesOfCluster: each node has one, which moves with its slot, and a node that has lost its own gets another.
func TestWitnessesOfCluster(t *testing.T) {
	r, c := clusterRig(t)
	ws := placed(t, r.to)
	if len(ws) != 3 {
		t.Fatalf("%v on three nodes", ws)
	}
	name := "__surecut:witness:id:{" + keyspace.SlotTag(ws[1].Slot) + "}"
	c.Move(name, c.Servers[0])
	c.Move("{"+keyspace.SlotTag(100)+"}", c.Servers[2]) // a slot before that of its witness
	if lost, err := r.to.Witnesses.FindLost(t.Context(), ws); err != nil || len(lost) > 0 {
		t.Errorf("a witness that has moved: %v, %v", lost, err)
	}
	more := r.to.Witnesses.Missing(ws)
	if len(more) != 1 || c.Of("{"+keyspace.SlotTag(more[0].Slot)+"}") != c.Servers[1] {
		t.Errorf("for the node that was left without one: %v", more)
	}
	ws = placed(t, r.to, ws...)
	for _, name := range c.Servers[1].Names() {
		c.Servers[1].Put(name, nil)
	}
	c.Servers[1].Do(0, "SET", "__surecut:link:id:0:{"+keyspace.SlotTag(more[0].Slot)+"}", "x")
	lost, err := r.to.Witnesses.FindLost(t.Context(), ws)
	if err != nil || !slices.Equal(lost, more) || !strings.Contains(r.to.Witnesses.LossOf(lost).Error(), " at "+c.Servers[1].Addr+": ") {
		t.Errorf("%v, %v", lost, err)
	}
	if where, err := r.to.Refilled(t.Context(), lost); where != "" || err != nil {
		t.Errorf("an empty node was refilled: %q, %v", where, err)
	}
	c.Servers[1].Put("{"+keyspace.SlotTag(more[0].Slot)+"}foreign", &keyspace.Value{Type: keyspace.String, Str: []byte("x")})
	if where, err := r.to.Refilled(t.Context(), lost); where != c.Servers[1].Addr+" (database 0)" || err != nil {
		t.Errorf("keys that nobody knows: %q, %v", where, err)
	}
}

// TestWitnessesOfProxy: a proxy does not show its servers, so that many names are spread over them.
func TestWitnessesOfProxy(t *testing.T) {
	s := targettest.ServeCodis(t)
	to := targettest.Open(t, "redis+codis://"+s.Addr)
	ws := placed(t, to)
	if len(ws) != 64 || len(s.Names()) != 64 || len(to.Witnesses.Missing(ws)) > 0 {
		t.Errorf("%d witnesses, %d keys", len(ws), len(s.Names()))
	}
	s.Put(fmt.Sprintf("__surecut:witness:id:%d", ws[7].Slot), nil)
	if lost, err := to.Witnesses.FindLost(t.Context(), ws); err != nil || !slices.Equal(lost, ws[7:8]) {
		t.Errorf("%v, %v", lost, err)
	}
	if where, err := to.Refilled(t.Context(), ws[7:8]); where != "" || err != nil {
		t.Errorf("%q, %v", where, err)
	}
}
