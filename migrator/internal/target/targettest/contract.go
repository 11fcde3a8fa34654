package targettest

import (
	"context"
	"errors"
	"testing"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/migrator/internal/target"
)

// Subject is a target whose writers are held to their contract.
type Subject struct {
	Target *target.Target
	Get    func(k keyspace.Key) (value string, expireAt int64, there bool)
	End    func(u target.Unit) int64 // checkpoint of a unit; nil: the target has none
}

// text is the payload of a short string.
func (s Subject) text(tb testing.TB, text string) []byte {
	tb.Helper()
	payload, err := s.Target.Payloads.AppendValue(nil, rdb.TypeString, append([]byte{byte(len(text))}, text...), 1<<20)
	if err != nil {
		tb.Fatal(err)
	}
	return payload
}

// holds checks what keys hold; "" is for none.
func (s Subject) holds(tb testing.TB, want map[string]string) {
	tb.Helper()
	for name, text := range want {
		if got, _, there := s.Get(keyspace.Key{Name: name}); got != text || there != (text != "") {
			tb.Errorf("key %s: %q (there: %v), want %q", name, got, there, text)
		}
	}
}

// Contract is what every writer promises to whoever uses it.
func Contract(t *testing.T, s Subject) {
	for _, c := range []struct {
		name, why string
		test      func(t *testing.T, s Subject, w target.Writer)
	}{
		{"commit in order", "a key's commands come one after the other", commitsInOrder},
		{"commit with a refusal", "what the target refuses is named, and the rest is applied", commitsTheRest},
		{"commit a copy", "a copy that is sent again leaves the same value", commitsCopies},
		{"commit too late", "what was not sent is not called applied", commitsNothing},
		{"restore", "each key is settled once, and keeps its expiry", restores},
		{"restore over others", "keys give way only where they may", restoresOver},
		{"rebuild", "a value that comes in pieces is there as a whole", rebuilds},
		{"rebuild over others", "keys give way only where they may", rebuildsOver},
		{"rebuild what goes away", "nothing is left of half a value", rebuildsNothing},
		{"rebuild what cannot be built", "it is a matter of that value alone", rebuildsUnsupported},
		{"remove", "keys that are not there do no harm", removes},
		{"databases", "keys of one name are different ones", keepsDatabasesApart},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Log(c.why)
			w := s.Target.NewWriter(target.Writing{Checkpoints: s.Target.NewCheckpoints("0"), Acknowledged: func(target.Unit) int64 { return 0 }})
			defer w.Close()
			c.test(t, s, w)
		})
	}
}

// set is a transaction of one slot.
func (s Subject) set(end int64, name string, calls ...[]string) *target.Transaction {
	slot := s.Target.Slot(name)
	x := &target.Transaction{Slot: slot, Units: []target.Unit{s.Target.UnitOf(slot)}, End: end}
	for _, args := range calls {
		x.Calls = append(x.Calls, target.Call{Args: args, Key: keyspace.Key{Name: args[1]}})
	}
	return x
}

func commitsInOrder(t *testing.T, s Subject, w target.Writer) {
	x := s.set(500, "{a}order", []string{"SET", "{a}order", "1"}, []string{"APPEND", "{a}order", "2"}, []string{"SET", "{a}gone", "x"}, []string{"DEL", "{a}gone"}, []string{"APPEND", "{a}order", "3"})
	y := s.set(500, "{b}other", []string{"SET", "{b}other", "4"})
	txs := []*target.Transaction{x}
	if x.Units[0] != y.Units[0] { // those of one call share no unit
		txs = append(txs, y)
	} else {
		x.Calls = append(x.Calls, y.Calls...)
	}
	if err := w.Commit(t.Context(), txs); err != nil || len(x.Failed)+len(y.Failed) > 0 {
		t.Fatal(err, x.Failed, y.Failed)
	}
	s.holds(t, map[string]string{"{a}order": "123", "{a}gone": "", "{b}other": "4"})
	if s.End != nil && s.End(x.Units[0]) != 500 {
		t.Errorf("the checkpoint stands at %d", s.End(x.Units[0]))
	}
}

func commitsTheRest(t *testing.T, s Subject, w target.Writer) {
	x := s.set(600, "{r}text", []string{"SET", "{r}text", "1"}, []string{"RPUSH", "{r}text", "x"}, []string{"APPEND", "{r}text", "2"})
	if err := w.Commit(t.Context(), []*target.Transaction{x}); err != nil {
		t.Fatal(err)
	}
	if len(x.Failed) != 1 || x.Failed[0].Call.Args[0] != "RPUSH" || x.Failed[0].Reply == nil {
		t.Errorf("refused: %+v", x.Failed)
	}
	s.holds(t, map[string]string{"{r}text": "12"})
}

func commitsCopies(t *testing.T, s Subject, w target.Writer) {
	k := keyspace.Key{Name: "{c}copy"}
	for range 2 {
		x := s.set(700, k.Name, []string{"DEL", k.Name}, []string{"RESTORE", k.Name, "0", string(s.text(t, "copied"))})
		x.Fence = map[keyspace.Key]int64{k: 800}
		if err := w.Commit(t.Context(), []*target.Transaction{x}); err != nil || len(x.Failed) > 0 {
			t.Fatal(err, x.Failed)
		}
	}
	s.holds(t, map[string]string{k.Name: "copied"})
}

func commitsNothing(t *testing.T, s Subject, w target.Writer) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x := s.set(900, "{l}late", []string{"SET", "{l}late", "1"})
	if err := w.Commit(ctx, []*target.Transaction{x}); err == nil {
		t.Error("a commit whose context is over succeeded")
	}
	s.holds(t, map[string]string{"{l}late": ""})
}

// batchOf holds strings for one node: those of a cluster have one slot.
func (s Subject) batchOf(t *testing.T, over target.Overwrite, expireAt int64, values ...string) *target.Batch {
	addr, err := s.Target.AddrOf(values[0])
	if err != nil {
		t.Fatal(err)
	}
	b := &target.Batch{Addr: addr, Over: over}
	for i := 0; i < len(values); i += 2 {
		k := target.Value{Name: values[i], ExpireAt: expireAt, Freq: -1, From: len(b.Payload)}
		b.Payload = append(b.Payload, s.text(t, values[i+1])...)
		k.To = len(b.Payload)
		b.Keys = append(b.Keys, k)
	}
	return b
}

// restored restores a batch, and returns what each key was settled with.
func restored(t *testing.T, w target.Writer, b *target.Batch) map[string]*target.RefusedError {
	t.Helper()
	settled := map[string]*target.RefusedError{}
	n := len(b.Keys)
	err := w.Restore(t.Context(), b, func(k *target.Value, refused *target.RefusedError) error {
		if _, twice := settled[k.Name]; twice {
			t.Errorf("%s was settled twice", k.Name)
		}
		settled[k.Name] = refused
		return nil
	})
	if err != nil || len(settled) != n {
		t.Fatalf("%d of %d keys were settled: %v", len(settled), n, err)
	}
	return settled
}

func restores(t *testing.T, s Subject, w target.Writer) {
	at := time.Now().Add(time.Hour).UnixMilli()
	for name, refused := range restored(t, w, s.batchOf(t, target.Overwrite{}, at, "{s}one", "1", "{s}two", "2")) {
		if refused != nil {
			t.Errorf("%s: %v", name, refused)
		}
	}
	s.holds(t, map[string]string{"{s}one": "1", "{s}two": "2"})
	if _, got, _ := s.Get(keyspace.Key{Name: "{s}two"}); got < at-1000 || got > at+1000 {
		t.Errorf("it expires at %d, want %d", got, at)
	}
	b := s.batchOf(t, target.Overwrite{}, 0, "{s}three", "3")
	if err := w.Restore(t.Context(), b, func(*target.Value, *target.RefusedError) error { return errors.New("enough") }); err == nil || err.Error() != "enough" {
		t.Errorf("an error of settle does not end it: %v", err)
	}
}

func restoresOver(t *testing.T, s Subject, w target.Writer) {
	restored(t, w, s.batchOf(t, target.Overwrite{}, 0, "{o}old", "1"))
	got := restored(t, w, s.batchOf(t, target.Overwrite{}, 0, "{o}old", "2", "{o}new", "2"))
	if !errors.Is(got["{o}old"], target.ErrExists) || got["{o}new"] != nil {
		t.Errorf("settled with %v", got)
	}
	s.holds(t, map[string]string{"{o}old": "1", "{o}new": "2"})
	if got := restored(t, w, s.batchOf(t, target.Overwrite{First: true}, 0, "{o}old", "3")); got["{o}old"] != nil {
		t.Error(got)
	}
	s.holds(t, map[string]string{"{o}old": "3"})
}

// largeBytes is more than one command of a rebuilt value carries.
const largeBytes = 600 << 10

// inPieces shows a string in two pieces, and ends with an error.
func inPieces(err error) func(keyspace.Visitor) error {
	return func(v keyspace.Visitor) error {
		return errors.Join(v.StringChunk([]byte("first")), v.StringChunk(make([]byte, largeBytes)), err)
	}
}

func rebuilds(t *testing.T, s Subject, w target.Writer) {
	at := time.Now().Add(time.Hour).UnixMilli()
	lost, err := w.Rebuild(t.Context(), target.Value{Name: "large", ExpireAt: at}, target.Overwrite{}, inPieces(nil))
	if err != nil || len(lost) > 0 {
		t.Fatal(lost, err)
	}
	if got, expireAt, _ := s.Get(keyspace.Key{Name: "large"}); got != "first"+string(make([]byte, largeBytes)) || expireAt < at-1000 || expireAt > at+1000 {
		t.Errorf("%d bytes that expire at %d, want %d", len(got), expireAt, at)
	}
}

func rebuildsOver(t *testing.T, s Subject, w target.Writer) {
	text := func(v keyspace.Visitor) error { return v.StringChunk([]byte("new")) }
	restored(t, w, s.batchOf(t, target.Overwrite{}, 0, "standing", "old"))
	var refused *target.RefusedError
	if _, err := w.Rebuild(t.Context(), target.Value{Name: "standing"}, target.Overwrite{}, text); !errors.Is(err, target.ErrExists) || !errors.As(err, &refused) {
		t.Errorf("a key that stands: %v", err)
	}
	s.holds(t, map[string]string{"standing": "old"})
	if _, err := w.Rebuild(t.Context(), target.Value{Name: "standing"}, target.Overwrite{First: true}, text); err != nil {
		t.Error(err)
	}
	s.holds(t, map[string]string{"standing": "new"})
}

func rebuildsNothing(t *testing.T, s Subject, w target.Writer) {
	if _, err := w.Rebuild(t.Context(), target.Value{Name: "fleeting"}, target.Overwrite{}, inPieces(keyspace.ErrGone)); !errors.Is(err, keyspace.ErrGone) {
		t.Errorf("a value that went away: %v", err)
	}
	s.holds(t, map[string]string{"fleeting": ""})
}

func rebuildsUnsupported(t *testing.T, s Subject, w target.Writer) {
	var refused *target.RefusedError
	_, err := w.Rebuild(t.Context(), target.Value{Name: "module"}, target.Overwrite{}, func(v keyspace.Visitor) error { return v.ModulePayload([]byte("x")) })
	if !errors.As(err, &refused) || !errors.As(refused.Reply, new(*keyspace.UnsupportedError)) {
		t.Errorf("a value that no command builds: %v", err)
	}
	s.holds(t, map[string]string{"module": ""})
}

func removes(t *testing.T, s Subject, w target.Writer) {
	restored(t, w, s.batchOf(t, target.Overwrite{}, 0, "{d}a", "1", "{d}b", "2", "{d}stays", "3"))
	if err := w.Remove(t.Context(), []keyspace.Key{{Name: "{d}a"}, {Name: "never there"}, {Name: "{d}b"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Remove(t.Context(), nil); err != nil {
		t.Errorf("no keys at all: %v", err)
	}
	s.holds(t, map[string]string{"{d}a": "", "{d}b": "", "{d}stays": "3"})
}

func keepsDatabasesApart(t *testing.T, s Subject, w target.Writer) {
	if s.Target.DBs.Only {
		t.Log("this target has one")
		return
	}
	x := s.set(1000, "where", []string{"SET", "where", "0"}, []string{"SET", "where", "1"}, []string{"SET", "stays", "1"})
	for i := range x.Calls[1:] {
		x.Calls[1+i].DB, x.Calls[1+i].Key.DB = 1, 1
	}
	if err := w.Commit(t.Context(), []*target.Transaction{x}); err != nil || len(x.Failed) > 0 {
		t.Fatal(err, x.Failed)
	}
	holds := func(db int, name, want string) {
		t.Helper()
		if got, _, _ := s.Get(keyspace.Key{DB: db, Name: name}); got != want {
			t.Errorf("database %d: %s holds %q, want %q", db, name, got, want)
		}
	}
	holds(0, "where", "0")
	holds(1, "where", "1")
	if err := w.Remove(t.Context(), []keyspace.Key{{DB: 1, Name: "where"}}); err != nil {
		t.Fatal(err)
	}
	holds(0, "where", "0")
	holds(1, "where", "")
	holds(1, "stays", "1")
}
