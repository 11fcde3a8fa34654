package target_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// rig is a target in memory, and a writer of link 0.
type rig struct {
	s  *endpointtest.Server // the only server, or the first of a cluster
	of func(key string) *endpointtest.Server
	to *target.Target
	w  target.Writer
	cp *target.Checkpoints

	acknowledged map[target.Unit]int64
}

func newRig(t *testing.T, s *endpointtest.Server, url string) *rig {
	t.Helper()
	r := &rig{s: s, of: func(string) *endpointtest.Server { return s }, to: targettest.Open(t, url), acknowledged: map[target.Unit]int64{}}
	r.cp = r.to.NewCheckpoints("0")
	r.renew(t)
	return r
}

// serverRig is a rig with one server.
func serverRig(t *testing.T, version string) *rig {
	s := endpointtest.Serve(t, version)
	return newRig(t, s, s.URL())
}

// clusterRig is a rig with three servers.
func clusterRig(t *testing.T) (*rig, *endpointtest.Cluster) {
	c := endpointtest.ServeCluster(t, "7.0.15", 3)
	r := newRig(t, c.Servers[0], c.URL())
	r.of = c.Of
	return r, c
}

// renew gives the rig another writer, as a run that is started again has it.
func (r *rig) renew(t *testing.T) {
	if r.w != nil {
		r.w.Close()
	}
	r.w = r.to.NewWriter(target.Writing{Checkpoints: r.cp, Acknowledged: func(u target.Unit) int64 { return r.acknowledged[u] }})
	t.Cleanup(r.w.Close)
}

// begin writes a record of the link, and has the link begin there.
func (r *rig) begin(t *testing.T) {
	t.Helper()
	k := target.RecordKey{Name: r.cp.RecordName(), Main: true}
	r.of(k.Name).Do(0, "HSET", k.Name, "offset", "0")
	if _, err := r.cp.Resume(t.Context(), []target.RecordKey{k}, true); err != nil {
		t.Fatal(err)
	}
}

// transaction is one for the slot of the first call's key. A call is written as words.
func (r *rig) transaction(end int64, calls ...string) *target.Transaction {
	x := &target.Transaction{End: end}
	for i, text := range calls {
		args := strings.Fields(text)
		if i == 0 {
			x.Slot = r.to.Slot(args[1])
			x.Units = []target.Unit{r.to.UnitOf(x.Slot)}
		}
		c := target.Call{Args: args, Key: keyspace.Key{Name: args[1]}}
		if args[0] == "RENAME" { // the source has found its key
			c.Renew = target.Always
		}
		x.Calls = append(x.Calls, c)
	}
	return x
}

// text returns what a string of database 0 holds.
func (r *rig) text(name string) string {
	text, _, _ := targettest.Held(r.of(name), keyspace.Key{Name: name})
	return text
}

// failed names the commands in Failed.
func failed(x *target.Transaction) string {
	var names []string
	for _, f := range x.Failed {
		names = append(names, f.Call.Args[0])
	}
	return strings.Join(names, " ")
}

// soon is a context that ends what a fault has stopped.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestCommitOnce: whatever happens to a connection while a transaction is under way, its commands are applied once, and the checkpoint
// stands at its end.
func TestCommitOnce(t *testing.T) {
	const hangUp, unheard = endpointtest.HangUp, endpointtest.Unheard
	once := func(words string, replies ...string) func(r *rig) {
		return func(r *rig) { r.s.Once(words, replies...) }
	}
	for _, tt := range []struct {
		name, why string
		tell      func(r *rig)
		failed    string
	}{
		{"all well", "", func(*rig) {}, ""},
		{"closed before the transaction", "", once("MULTI", hangUp), ""},
		{"closed at the checkpoint", "", once("HSET", hangUp), ""},
		{"closed between the commands", "", once("RENAME b c", hangUp), ""},
		{"closed at EXEC", "nothing has run", once("EXEC", hangUp), ""},
		{"closed at EXEC, again and again", "", once("EXEC", hangUp, hangUp, hangUp), ""},
		{"closed within the reply to EXEC", "half a reply tells nothing", once("EXEC", "*4\r\n:2\r\n"+hangUp), ""},
		{"applied, and the reply to EXEC lost", "the checkpoint tells that it ran, and nothing tells whether b was there", once("EXEC", unheard), "RENAME"},
		{"lost at the second attempt", "", once("EXEC", hangUp, unheard), "RENAME"},
		{"lost, and so is the checkpoint's reply", "it is asked for again", func(r *rig) {
			r.s.Once("EXEC", unheard)
			r.s.Once("HGET", hangUp, hangUp)
		}, "RENAME"},
		{"lost while the server loads", "it is asked until it tells", func(r *rig) {
			r.s.Once("EXEC", unheard)
			r.s.Once("HGET", "-LOADING Redis is loading the dataset in memory\r\n")
		}, "RENAME"},
		{"no connection for now", "", func(r *rig) {
			r.s.Once("MULTI", hangUp)
			r.s.Once("CLIENT SETNAME", hangUp, hangUp, hangUp)
		}, ""},
		{"slot is being moved", "", once("INCR n", "-TRYAGAIN Multiple keys request during rehashing of slot\r\n"), ""},
		{"cluster is down", "", once("HSET", "-CLUSTERDOWN The cluster is down\r\n", "-CLUSTERDOWN The cluster is down\r\n"), ""},
		{"asked elsewhere", "", once("INCR n", "-ASK 1 127.0.0.1:1\r\n"), ""},
		{"a primary without its replicas", "", once("INCR n", "-NOREPLICAS Not enough good replicas to write.\r\n"), ""},
		{"the process changed", "with its data, and nothing was sent without a checkpoint", func(r *rig) {
			r.s.On("EXEC", once1(func() string { r.s.Restart(); return hangUp }))
		}, ""},
		{"the process changed after it had applied", "", func(r *rig) {
			r.s.Once("EXEC", unheard)
			r.s.Before("CLIENT SETNAME", r.s.Restart)
		}, "RENAME"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serverRig(t, "7.0.15")
			first := r.transaction(400, "SET b x", "INCR n")
			if err := r.w.Commit(soon(t), []*target.Transaction{first}); err != nil {
				t.Fatal(err)
			}
			u := first.Units[0]
			r.acknowledged[u] = 400
			x := r.transaction(500, "INCR n", "RENAME b c")
			x.Units = first.Units
			x.Slot = first.Slot
			tt.tell(r)
			if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil {
				t.Fatalf("%v (%s)", err, tt.why)
			}
			if r.text("n") != "2" || r.text("c") != "x" || checkpointOf(r.of, r.to, u) != 500 {
				t.Errorf("n is %q, c is %q, the checkpoint stands at %d (%s)", r.text("n"), r.text("c"), checkpointOf(r.of, r.to, u), tt.why)
			}
			if failed(x) != tt.failed {
				t.Errorf("to be copied: %q, want %q (%s)", failed(x), tt.failed, tt.why)
			}
		})
	}
}

// once1 is a rule that answers one command.
func once1(f func() string) func([]string) string {
	return func([]string) string {
		if f == nil {
			return endpointtest.Usual
		}
		once := f
		f = nil
		return once()
	}
}

// TestCommitRegressed: a target that has lost what it acknowledged gets nothing more.
func TestCommitRegressed(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		tell      func(r *rig, checkpoint string)
		ok        bool
	}{
		{"went on", "the checkpoint is as it was acknowledged", func(r *rig, _ string) { r.s.Drop() }, true},
		{"ahead", "the last reply may have been lost", func(r *rig, cp string) {
			r.s.Do(0, "HSET", cp, "o", "450")
			r.s.Drop()
		}, true},
		{"flushed", "on the same connection only the reply to HSET tells it", func(r *rig, cp string) { r.s.Put(cp, nil) }, false},
		{"came back empty", "", func(r *rig, cp string) {
			r.s.Put(cp, nil)
			r.s.Restart()
		}, false},
		{"came back with older data", "", func(r *rig, cp string) {
			r.s.Do(0, "HSET", cp, "o", "300")
			r.s.Restart()
		}, false},
		{"lost its data while in doubt", "", func(r *rig, cp string) {
			r.s.On("EXEC", once1(func() string {
				r.s.Put(cp, nil)
				return endpointtest.HangUp
			}))
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serverRig(t, "7.0.15")
			first := r.transaction(400, "SET a 1")
			if err := r.w.Commit(soon(t), []*target.Transaction{first}); err != nil {
				t.Fatal(err)
			}
			r.acknowledged[first.Units[0]] = 400
			tt.tell(r, checkpointName(r.to, first.Units[0]))
			err := r.w.Commit(soon(t), []*target.Transaction{r.transaction(500, "APPEND a 2")})
			if tt.ok && (err != nil || r.text("a") != "12") || !tt.ok && !errors.Is(err, target.ErrRegressed) {
				t.Errorf("%v, a is %q (%s)", err, r.text("a"), tt.why)
			}
		})
	}
}

// TestCommitBare: commands that may be applied again go without a checkpoint, and what becomes of those that are under way when a
// connection breaks or another server answers.
func TestCommitBare(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		tell      func(r *rig)
		version   string
		checked   bool  // it goes with a checkpoint after all
		err       error // ends the link
		failed    string
	}{
		{name: "all well", tell: func(*rig) {}},
		{name: "closed before the first", failed: "PEXPIREAT", tell: func(r *rig) { r.s.Once("SET a", endpointtest.HangUp) }, checked: true},
		{name: "closed in between", failed: "PEXPIREAT", tell: func(r *rig) { r.s.Once("SET b", endpointtest.HangUp) }, checked: true},
		{name: "applied and not answered", why: "it is applied again, and a lost reply might have shown that the key to renew was gone", checked: true, failed: "PEXPIREAT",
			tell: func(r *rig) { r.s.Once("PEXPIREAT b", endpointtest.Unheard) }},
		{name: "one is to come again", why: "all are sent again, and the first time there was no key to renew", failed: "PEXPIREAT", tell: func(r *rig) { r.s.Once("SET b", "-TRYAGAIN x\r\n") }, checked: true},
		{name: "one is refused", why: "the other ones are applied", failed: "SET", tell: func(r *rig) { r.s.Always("SET c", "-WRONGTYPE x\r\n") }},
		{name: "another process answers", why: "it may lack what went without a checkpoint before", err: target.ErrReplaced, tell: func(r *rig) {
			r.s.On("SET a", once1(func() string { r.s.Restart(); return endpointtest.HangUp }))
		}},
		{name: "the same process was a replica meanwhile", why: "it has taken over the data of another one", err: target.ErrReplaced, tell: func(r *rig) {
			r.s.On("SET a", once1(func() string { r.s.Tell("master_replid", "other"); return endpointtest.HangUp }))
		}},
		{name: "a server that ends no connections", why: "what a broken connection left there might arrive late", version: "4.0.14", checked: true, tell: func(*rig) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.version == "" {
				tt.version = "7.0.15"
			}
			r := serverRig(t, tt.version)
			r.begin(t)
			if err := r.w.Commit(soon(t), []*target.Transaction{r.transaction(400, "SET a 1")}); err != nil { // selects the database
				t.Fatal(err)
			}
			warm := r.transaction(450, "SET a 1")
			warm.Absolute = true
			if err := r.w.Commit(soon(t), []*target.Transaction{warm}); err != nil || warm.Bare == (tt.version == "4.0.14") {
				t.Fatalf("%v, bare: %v", err, warm.Bare)
			}
			tt.tell(r)
			at := time.Now().Add(time.Hour).UnixMilli()
			x := r.transaction(500, "SET a 2", "SET b 2", fmt.Sprintf("PEXPIREAT b %d", at), "SET c 2")
			x.Absolute = true
			x.Calls[2].Renew = at
			err := r.w.Commit(soon(t), []*target.Transaction{x})
			if !errors.Is(err, tt.err) {
				t.Fatalf("%v, want %v (%s)", err, tt.err, tt.why)
			}
			if tt.err != nil {
				return
			}
			if r.text("a") != "2" || r.text("b") != "2" || (r.text("c") != "2") != (tt.failed == "SET") || failed(x) != tt.failed || x.Bare == tt.checked {
				t.Errorf("a is %q, b %q, c %q, to be copied: %q, bare: %v (%s)", r.text("a"), r.text("b"), r.text("c"), failed(x), x.Bare, tt.why)
			}
			if _, expireAt, _ := targettest.Held(r.s, keyspace.Key{Name: "b"}); expireAt != at {
				t.Errorf("b expires at %d, want %d", expireAt, at)
			}
		})
	}
}

// TestFewerDatabases: a server that has fewer databases than the one whose place it has taken gets nothing that belongs into a database which
// it lacks, and loses nothing in another one.
func TestFewerDatabases(t *testing.T) {
	r := serverRig(t, "7.0.15")
	first := r.transaction(400, "SET a 1")
	first.Calls[0].DB = 2
	if err := r.w.Commit(soon(t), []*target.Transaction{first}); err != nil || r.s.GetIn(2, "a") == nil {
		t.Fatal(err)
	}
	r.s.On("SELECT", func(args []string) string {
		if args[1] != "0" && args[1] != "1" {
			return "-ERR DB index is out of range\r\n"
		}
		return endpointtest.Usual
	})
	r.s.Restart()
	for _, tt := range []struct {
		name  string
		write func() error
	}{
		{"a transaction", func() error { // it comes first, since it opens another connection in place of the one that broke

			x := r.transaction(500, "SET b 1")
			x.Calls[0].DB = 2
			return r.w.Commit(soon(t), []*target.Transaction{x})
		}},
		{"a value of a snapshot", func() error {
			b := r.batch(t, target.Overwrite{}, 0, "c")
			b.Keys[0].DB = 2
			_, err := r.restore(t, b)
			return err
		}},
		{"a value that is built", func() error {
			_, err := r.w.Rebuild(soon(t), target.Value{Name: "d", DB: 2}, target.Overwrite{}, list(3, nil))
			return err
		}},
		{"keys that are removed", func() error {
			r.s.Do(0, "SET", "mine", "1")
			return r.w.Remove(soon(t), []keyspace.Key{{Name: "mine", DB: 2}})
		}},
	} {
		if err := tt.write(); err == nil || !strings.Contains(err.Error(), "database 2") || !strings.Contains(err.Error(), "DB index is out of range") {
			t.Errorf("%s: %v", tt.name, err)
		}
		r.renew(t)
	}
	names := slices.DeleteFunc(r.s.Names(), func(name string) bool { return strings.HasPrefix(name, keyspace.Prefix) })
	if !slices.Equal(names, []string{"mine"}) || targettest.Field(r.s, 0, checkpointName(r.to, first.Units[0]), "o") != "400" {
		t.Errorf("database 0 holds %v", r.s.Names())
	}
}

// TestLateCommands: connections that broke are ended at the server before anything more is written, also by the run's end, so that what
// waits in the server's buffers does not arrive late. A process that has taken over the address has given the same IDs to others.
func TestLateCommands(t *testing.T) {
	killed := func(r *rig) (n int) {
		for _, call := range r.s.Calls("CLIENT KILL ID") {
			if !strings.HasSuffix(call, " 9223372036854775807") { // the ID that nobody has
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		name    string
		restart bool
		want    int
	}{{"the same process", false, 2}, {"another process", true, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			r := serverRig(t, "7.0.15")
			drop := func() string {
				if tt.restart {
					r.s.Restart()
				}
				return endpointtest.HangUp
			}
			r.s.On("EXEC", once1(drop))
			before := -1
			r.s.On("MULTI", func([]string) string {
				before = max(before, killed(r))
				return endpointtest.Usual
			})
			if err := r.w.Commit(soon(t), []*target.Transaction{r.transaction(400, "SET a 1")}); err != nil || before != tt.want {
				t.Errorf("%v, %d connections were ended before the transaction came again, want %d", err, before, tt.want)
			}
			r.w.Close()
			if tt.restart {
				r.s.Restart()
			}
			if err := errors.Join(r.to.EndLeft(t.Context()), r.to.EndLeft(t.Context())); err != nil || killed(r) != 2*tt.want {
				t.Errorf("%v, %d connections were ended in all, want %d", err, killed(r), 2*tt.want)
			}
		})
	}
	t.Run("not for now", func(t *testing.T) {
		r := serverRig(t, "7.0.15")
		r.s.Once("EXEC", endpointtest.HangUp)
		tries := 0
		r.s.On("CLIENT KILL ID", func(args []string) string {
			if tries++; args[3] != "9223372036854775807" && tries < 6 {
				return "-LOADING x\r\n"
			}
			return endpointtest.Usual
		})
		if err := r.w.Commit(soon(t), []*target.Transaction{r.transaction(400, "INCR a")}); err != nil || r.text("a") != "1" || tries < 6 {
			t.Errorf("%v, a is %q after %d tries: nothing is written as long as the old connection may live", err, r.text("a"), tries)
		}
	})
}

// TestCommitMoved: a slot that moves while its transaction is under way is followed with its checkpoint; other transactions of the batch
// are not sent twice.
func TestCommitMoved(t *testing.T) {
	for _, words := range []string{"HSET", "INCR {a}n", "EXEC"} {
		t.Run(words, func(t *testing.T) {
			r, c := clusterRig(t)
			x, y := r.transaction(500, "INCR {a}n"), r.transaction(500, "INCR {b}n")
			from, to := c.Of("{a}n"), c.Servers[0]
			if from == to {
				to = c.Servers[1]
			}
			move := func() string { c.Move("{a}n", to); return endpointtest.Usual }
			if words == "EXEC" { // it is refused by the words of a server whose slot went away after the commands were queued
				move = func() string { c.Move("{a}n", to); return fmt.Sprintf("-MOVED 1 %s\r\n", to.Addr) }
			}
			from.On(words, once1(move))
			if err := r.w.Commit(soon(t), []*target.Transaction{x, y}); err != nil || len(x.Failed)+len(y.Failed) > 0 {
				t.Fatal(err, x.Failed, y.Failed)
			}
			if r.text("{a}n") != "1" || r.text("{b}n") != "1" || c.Of("{a}n") != to {
				t.Errorf("a: %q, b: %q", r.text("{a}n"), r.text("{b}n"))
			}
			for _, x := range []*target.Transaction{x, y} {
				if got := checkpointOf(r.of, r.to, x.Units[0]); got != 500 {
					t.Errorf("a checkpoint stands at %d", got)
				}
			}
		})
	}
}

// TestCommitExpired: a call that reads a key which may have expired on the target is repaired if the key was not there.
func TestCommitExpired(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		there     bool
		expires   time.Duration
		calls     []string
		reads     bool
		failed    string
	}{
		{name: "gone", expires: time.Second, calls: []string{"APPEND k x"}, reads: true, failed: "APPEND"},
		{name: "still there", expires: time.Second, there: true, calls: []string{"APPEND k x"}, reads: true},
		{name: "expires later", why: "it is not asked for", expires: time.Hour, calls: []string{"APPEND k x"}, reads: true},
		{name: "does not read", expires: time.Second, calls: []string{"SET k x"}},
		{name: "made anew before", why: "the first call has made it", expires: time.Second, calls: []string{"SET k x", "APPEND k y"}, reads: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serverRig(t, "7.0.15")
			r.to.Expiring.Note(0, "k", time.Now().Add(tt.expires).UnixMilli())
			if tt.there {
				r.s.Do(0, "SET", "k", "v")
			}
			x := r.transaction(500, tt.calls...)
			for i := range x.Calls {
				x.Calls[i].Reads = tt.reads && x.Calls[i].Args[0] == "APPEND"
			}
			if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil || failed(x) != tt.failed {
				t.Errorf("%v, to be copied: %q, want %q (%s)", err, failed(x), tt.failed, tt.why)
			}
			if tt.failed != "" && !errors.Is(x.Failed[0].Reply, target.ErrExpired) {
				t.Error(x.Failed[0].Reply)
			}
		})
	}
}

// TestCommitFences: the offset of a copied key stands in the checkpoint of the key's unit until the stream has passed it.
func TestCommitFences(t *testing.T) {
	for _, version := range []string{"7.0.15", "2.8.24"} {
		r := serverRig(t, version)
		k := keyspace.Key{DB: 2, Name: "copied"}
		x := r.transaction(500, "SET copied x")
		x.Fence = map[keyspace.Key]int64{k: 700}
		if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil {
			t.Fatal(err)
		}
		cp := checkpointName(r.to, x.Units[0])
		if got := targettest.Field(r.s, 0, cp, target.FenceField(k)); got != "700" {
			t.Errorf("%s: the fence stands at %q", version, got)
		}
		r.acknowledged[x.Units[0]] = 500
		y := r.transaction(800, "SET copied y")
		y.Forget = []string{target.FenceField(k)}
		if err := r.w.Commit(soon(t), []*target.Transaction{y}); err != nil {
			t.Fatal(err)
		}
		if got := targettest.Field(r.s, 0, cp, target.FenceField(k)); got != "" || targettest.Field(r.s, 0, cp, "p") != "500" {
			t.Errorf("%s: the fence stands at %q, the offset before at %q", version, got, targettest.Field(r.s, 0, cp, "p"))
		}
	}
}

// TestCommitGivesUp: a target that does not recover ends the link with the last reason, and a context that ends does so at once.
func TestCommitGivesUp(t *testing.T) {
	s := endpointtest.Serve(t, "7.0.15")
	to := targettest.Open(t, s.URL(), func(c *target.Config) { c.RetryFor = 50 * time.Millisecond })
	w := to.NewWriter(target.Writing{Checkpoints: to.NewCheckpoints("0"), Acknowledged: func(target.Unit) int64 { return 0 }})
	for _, words := range []string{"MULTI", "HSET", "INCR", "EXEC"} {
		s.Always(words, "-LOADING Redis is loading the dataset in memory\r\n")
	}
	x := &target.Transaction{Units: []target.Unit{0}, End: 5, Calls: []target.Call{{Args: []string{"INCR", "n"}}}}
	err := w.Commit(t.Context(), []*target.Transaction{x})
	if err == nil || !strings.Contains(err.Error(), "did not recover within 50ms") || !strings.Contains(err.Error(), "LOADING") || !strings.Contains(err.Error(), s.Addr) {
		t.Errorf("a target that goes on loading: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	s.On("MULTI", func([]string) string { cancel(enough); return endpointtest.Silence })
	w.Close()
	w = to.NewWriter(target.Writing{Checkpoints: to.NewCheckpoints("0"), Acknowledged: func(target.Unit) int64 { return 0 }})
	defer w.Close()
	if err := w.Commit(ctx, []*target.Transaction{x}); !errors.Is(err, enough) && !errors.Is(err, context.Canceled) {
		t.Errorf("a silent server and the end of the run: %v", err)
	}
	if slices.Contains(s.Names(), "n") {
		t.Error("the transaction was applied")
	}
}
