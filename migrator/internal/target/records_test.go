package target_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// TestSaveRecord: a record only goes forward, and is not written where the target lacks what it held before.
func TestSaveRecord(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		held      string // offset of the record; "": there is none
		saved, at int64
		optional  bool // a record of a node, which need not be there
		must      bool // it was there before
		then      func(r *rig)
		want      string
		err       error
	}{
		{name: "first", saved: -1, at: 100, want: "100"},
		{name: "further", held: "100", saved: 100, at: 200, want: "200"},
		{name: "ahead", why: "another node was behind when it was written", held: "300", saved: 100, at: 200, want: "300"},
		{name: "gone", held: "", saved: 100, at: 200, err: target.ErrRegressed},
		{name: "behind", why: "the target came back with older data", held: "50", saved: 100, at: 200, want: "50", err: target.ErrRegressed},
		{name: "of a node that has none", optional: true, saved: 100, at: 200, want: "200"},
		{name: "of a node that had one", optional: true, must: true, saved: 100, at: 200, err: target.ErrRegressed},
		{name: "the connection breaks", held: "100", saved: 100, at: 200, want: "200", then: func(r *rig) {
			r.s.Once("HMSET", endpointtest.HangUp, endpointtest.Unheard)
		}},
		{name: "the server loads", held: "100", saved: 100, at: 200, want: "200", then: func(r *rig) { r.s.Once("HGET", "-LOADING x\r\n") }},
		{name: "another process", why: "it may lack what went without a checkpoint", held: "100", saved: 100, at: 200, want: "100", err: target.ErrReplaced, then: func(r *rig) { r.s.Restart() }},
		{name: "not allowed", held: "100", saved: 100, at: 200, want: "100", err: errAny, then: func(r *rig) { r.s.Always("HMSET", "-NOPERM no\r\n") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serverRig(t, "7.0.15")
			r.begin(t)
			k := target.RecordKey{Name: r.cp.RecordName(), Main: !tt.optional, Must: tt.must}
			r.s.Put(k.Name, nil)
			if tt.held != "" {
				r.s.Do(0, "HSET", k.Name, "offset", tt.held)
			}
			for _, end := range []int64{50, 60} { // the second goes without a checkpoint
				x := r.transaction(end, "SET a 1")
				x.Absolute = true
				if err := r.w.Commit(t.Context(), []*target.Transaction{x}); err != nil || x.Bare != (end == 60) {
					t.Fatal(err, x.Bare)
				}
			}
			if tt.then != nil {
				tt.then(r)
			}
			err := r.cp.SaveRecord(soon(t), k, tt.saved, tt.at, "db", "7")
			if tt.err == errAny && err != nil {
				err = errAny
			}
			if got := targettest.Field(r.s, 0, k.Name, "offset"); got != tt.want || !errors.Is(err, tt.err) || tt.err == nil && err != nil {
				t.Errorf("the record stands at %q, %v; want %q, %v (%s)", got, err, tt.want, tt.err, tt.why)
			}
			if tt.want == "200" && targettest.Field(r.s, 0, k.Name, "db") != "7" {
				t.Error("what goes with the record was not written")
			}
		})
	}
}

// errAny stands for any error.
var errAny = errors.New("any error")

// TestRecordsOfCluster: how far a link has come follows from what each node remembers, and a node without a record counts as the link's own.
func TestRecordsOfCluster(t *testing.T) {
	for _, tt := range []struct {
		name, why string

		nodes  [3]string // offset in the record of each node; "": it has none
		must   bool
		own    string
		lowest string // "": the link has no record
		silent bool
		fails  error
	}{
		{name: "no record", nodes: [3]string{"5", "5", "5"}},
		{name: "one node is behind", own: "200", nodes: [3]string{"100", "300", "300"}, lowest: "100"},
		{name: "a node holds two", why: "each of them is true of the node", own: "200", nodes: [3]string{"300", "100", "300"}, lowest: "200"},
		{name: "a node without one", own: "200", nodes: [3]string{"", "300", "300"}, lowest: "200", silent: true},
		{name: "the record of a node is gone", own: "200", nodes: [3]string{"", "300", "300"}, must: true, fails: target.ErrRegressed},
		{name: "no number", own: "200", nodes: [3]string{"300", "x", "300"}, fails: errAny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := clusterRig(t)
			keys := []target.RecordKey{{Name: r.cp.RecordName(), Main: true}}
			if tt.own != "" { // on the second node
				c.Of(keys[0].Name).Do(0, "HSET", keys[0].Name, "offset", tt.own)
			}
			for i, s := range c.Servers {
				slot := uint16(i*keyspace.Slots/3 + 100)
				k := target.RecordKey{Name: r.cp.RecordNameIn(slot), Must: tt.must}
				keys = append(keys, k)
				if tt.nodes[i] != "" {
					s.Do(0, "HSET", k.Name, "offset", tt.nodes[i])
				}
			}
			got, err := r.cp.ReadRecords(soon(t), keys)
			if tt.fails != nil {
				if err == nil || tt.fails != errAny && !errors.Is(err, tt.fails) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || got.Lowest["offset"] != tt.lowest {
				t.Fatalf("%+v, %v", got, err)
			}
			if tt.lowest == "" {
				return
			}
			if got.Silent != tt.silent {
				t.Errorf("silent: %v", got.Silent)
			}
			for i, s := range c.Servers {
				want, _ := strconv.ParseInt(tt.nodes[i], 10, 64)
				if tt.nodes[i] == "" || i == 1 {
					want = max(want, 200)
				}
				if got.At[s.Addr] != want {
					t.Errorf("node %d stands at %d, want %d (%s)", i, got.At[s.Addr], want, tt.why)
				}
			}
		})
	}
}

// TestLoadCheckpoint: all that a run learns from the target about how far the one before had come.
func TestLoadCheckpoint(t *testing.T) {
	r, c := clusterRig(t)
	main := target.RecordKey{Name: r.cp.RecordName(), Main: true}
	if cp, err := r.cp.Load(t.Context(), []target.RecordKey{main}); err != nil || cp.Present {
		t.Fatalf("nothing was written yet: %+v, %v", cp, err)
	}
	keys := []target.RecordKey{main}
	set := func(name string, fields ...string) { c.Of(name).Do(0, append([]string{"HSET", name}, fields...)...) }
	set(main.Name, "offset", "300", "replication_id", "R", "db", "2")
	far := target.Unit(100) // on the first node, whose record is further
	for i := range c.Servers {
		k := target.RecordKey{Name: r.cp.RecordNameIn(uint16(i*keyspace.Slots/3 + 7))}
		keys = append(keys, k)
		set(k.Name, "offset", []string{"400", "300", "300"}[i], "replication_id", "R", "db", "2")
	}
	near := target.Unit(keyspace.Slots - 1)
	set(checkpointName(r.to, far), "o", "350", "p", "340")
	set(checkpointName(r.to, near), "o", "450", "p", "430", "f:1:a:b", "445")
	cp, err := r.cp.Load(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	if !cp.Present || cp.ReplID != "R" || cp.Offset != 300 || cp.DB != 2 || cp.Holders() != 3 {
		t.Errorf("%+v", cp)
	}
	if !maps.Equal(cp.Units, map[target.Unit]int64{far: 350, near: 450}) || !maps.Equal(cp.Fences, map[keyspace.Key]int64{{DB: 1, Name: "a:b"}: 445}) {
		t.Errorf("units %v, fences %v", cp.Units, cp.Fences)
	}
	if cp.Recorded[far] != 400 || cp.Recorded[near] != 0 || cp.Witnessed[far] != 400 || cp.Witnessed[near] != 430 {
		t.Errorf("recorded %d and %d, seen %d and %d: the replies to all that a node's record covers were seen", cp.Recorded[far], cp.Recorded[near], cp.Witnessed[far], cp.Witnessed[near])
	}
	set(checkpointName(r.to, near), "o", "damaged")
	if _, err := r.cp.Load(t.Context(), keys); err == nil || !strings.Contains(err.Error(), `"damaged"`) {
		t.Errorf("a checkpoint that is damaged: %v", err)
	}
	set(main.Name, "offset", "")
	set(keys[1].Name, "offset", "damaged")
	if _, err := r.cp.Load(t.Context(), keys); err == nil || !strings.Contains(err.Error(), main.Name) {
		t.Errorf("a record that is damaged: %v", err)
	}
}

// TestVerifyUnits: checkpoints of slots to which nobody writes are looked at as well, and followed where they move.
func TestVerifyUnits(t *testing.T) {
	r, c := clusterRig(t)
	const n = 2500 // more than one portion
	units := map[target.Unit]int64{}
	for u := range target.Unit(n) {
		units[u] = 100
		c.Servers[0].Do(0, "HSET", checkpointName(r.to, u), "o", "100")
	}
	verify := func() error { return r.cp.Verify(soon(t), units) }
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	last := checkpointName(r.to, n-1)
	asked := len(c.Servers[0].Calls("HGET"))
	c.Move(last, c.Servers[2])
	c.Servers[0].Once("HGET "+checkpointName(r.to, 0)+" o", "-LOADING x\r\n")
	if err := verify(); err != nil {
		t.Errorf("a unit that has moved: %v", err)
	}
	if again := len(c.Servers[0].Calls("HGET")) - asked - n; again > 2 {
		t.Errorf("%d units were asked for again", again)
	}
	c.Servers[2].Do(0, "HSET", last, "o", "99")
	if err := verify(); !errors.Is(err, target.ErrRegressed) || !strings.Contains(err.Error(), fmt.Sprintf("checkpoint %d stands at offset 99, not 100", n-1)) {
		t.Errorf("a unit that is behind: %v", err)
	}
	c.Servers[2].Put(last, nil)
	delete(units, n-1)
	next := checkpointName(r.to, n-2)
	c.Move(next, c.Servers[1])
	c.Servers[1].Do(0, "HSET", next, "o", "99")
	if err := verify(); !errors.Is(err, target.ErrRegressed) || !strings.Contains(err.Error(), c.Servers[1].Addr) {
		t.Errorf("a unit that is behind where it has moved to: %v", err)
	}
	c.Servers[1].Put(next, nil)
	if err := verify(); !errors.Is(err, target.ErrRegressed) {
		t.Errorf("a unit that is gone: %v", err)
	}
}

// TestVerifyInstances: a server that takes the place of another is noticed if it may lack what went without a checkpoint.
func TestVerifyInstances(t *testing.T) {
	r := serverRig(t, "7.0.15")
	r.begin(t)
	for _, end := range []int64{50, 60} { // the second goes without a checkpoint
		x := r.transaction(end, "SET a 1")
		x.Absolute = true
		if err := r.w.Commit(t.Context(), []*target.Transaction{x}); err != nil || x.Bare != (end == 60) {
			t.Fatal(err, x.Bare)
		}
	}
	units := map[target.Unit]int64{r.to.UnitOf(r.to.Slot("a")): 50}
	if err := r.cp.Verify(soon(t), units); err != nil {
		t.Errorf("the same server: %v", err)
	}
	r.s.Restart()
	if err := r.cp.Verify(soon(t), units); !errors.Is(err, target.ErrReplaced) || !strings.Contains(err.Error(), r.s.Addr) {
		t.Errorf("another server: %v", err)
	}
	r.cp.Reset()
	if err := r.cp.Verify(soon(t), units); err != nil {
		t.Errorf("a link that begins anew: %v", err)
	}
}

// TestForget: what the target remembers of a link is deleted, however much it is, and nothing else.
func TestForget(t *testing.T) {
	r, c := clusterRig(t)
	keys := []target.RecordKey{{Name: r.cp.RecordName(), Main: true}, {Name: r.cp.RecordNameIn(7)}} // the second is not there
	c.Of(keys[0].Name).Do(0, "HSET", keys[0].Name, "offset", "1")
	var units []target.Unit
	for u := range target.Unit(keyspace.Slots) {
		if u%7 != 0 {
			continue
		}
		units = append(units, u)
		name := checkpointName(r.to, u)
		c.Of(name).Do(0, "HSET", name, "o", "1")
	}
	c.Servers[0].Do(0, "SET", "foreign", "x")
	if err := r.cp.Forget(t.Context(), keys, units); err != nil {
		t.Fatal(err)
	}
	left := slices.Concat(c.Servers[0].Names(), c.Servers[1].Names(), c.Servers[2].Names())
	if !slices.Equal(left, []string{"foreign"}) {
		t.Errorf("%d keys are left", len(left))
	}
	c.Servers[1].Always("DEL", "-NOPERM no\r\n")
	if err := r.cp.Forget(t.Context(), keys, units); err == nil || !strings.Contains(err.Error(), c.Servers[1].Addr) {
		t.Errorf("keys that cannot be deleted: %v", err)
	}
}

// TestSwapCalls: after SWAPDB surecut's own keys are where they were, and the witnesses say so.
func TestSwapCalls(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second int
	}{{"with the database of surecut's own keys", 0, 2}, {"the other way round", 2, 0}, {"of two others", 2, 3}} {
		t.Run(tt.name, func(t *testing.T) {
			r := serverRig(t, "7.0.15")
			if err := r.to.Claim.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := placed(t, r.to)
			link := r.cp.RecordName()
			r.s.Do(0, "HSET", link, "offset", "1")
			r.s.Do(tt.second, "SET", "k", "of the second")
			r.s.On("SWAPDB", func([]string) string { // of a server that swaps when it is told to, before EXEC runs the rest
				for _, name := range slices.Concat(r.s.NamesIn(tt.first), r.s.NamesIn(tt.second)) {
					a, b := r.s.GetIn(tt.first, name), r.s.GetIn(tt.second, name)
					r.s.PutIn(tt.first, name, nil)
					r.s.PutIn(tt.second, name, nil)
					if a != nil {
						r.s.PutIn(tt.second, name, a)
					}
					if b != nil {
						r.s.PutIn(tt.first, name, b)
					}
				}
				return "+OK\r\n"
			})
			units := []target.Unit{0, 1, 2}
			calls, ws := r.to.SwapCalls("0", units, tt.first, tt.second, []string{"SWAPDB", strconv.Itoa(tt.first), strconv.Itoa(tt.second)})
			for _, c := range calls {
				if c.Args[0] == "SWAPDB" {
					client := endpointtest.Open(t, r.s.URL())
					conn, err := client.Client(t.Context(), r.s.Addr, 0)
					if err != nil {
						t.Fatal(err)
					}
					if err := conn.Do(t.Context(), conn.B().Arbitrary(c.Args...).Build()).Error(); err != nil {
						t.Fatal(err)
					}
					continue
				}
				r.s.Do(c.DB, c.Args...)
			}
			if r.s.Get(migration) == nil || r.s.Get(link) == nil {
				t.Errorf("of surecut's own keys there are %v", r.s.Names())
			}
			if text, _, _ := targettest.Held(r.s, keyspace.Key{DB: tt.first, Name: "k"}); text != "of the second" {
				t.Error("nothing was swapped")
			}
			for _, w := range ws {
				if !slices.Contains(before, w) {
					before = append(before, w)
				}
			}
			if lost, err := r.to.Witnesses.FindLost(t.Context(), before); err != nil || len(lost) > 0 {
				t.Errorf("witnesses: %v, %v", lost, err)
			}
			if err := r.to.Claim.Renew(t.Context(), "running"); err != nil {
				t.Error(err)
			}
		})
	}
}
