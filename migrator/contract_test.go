package migrator

import (
	"context"
	"errors"
	"testing"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// subject is a target whose writers are held to their contract.
type subject struct {
	Target *target
	Get    func(k keyspace.Key) (value string, expireAt int64, there bool)
	End    func(u unit) int64 // checkpoint of a unit; nil: the target has none
}

// text is the payload of a short string.
func (s subject) text(tb testing.TB, text string) []byte {
	tb.Helper()
	payload, err := s.Target.payloads.appendValue(nil, rdb.TypeString, append([]byte{byte(len(text))}, text...), 1<<20)
	if err != nil {
		tb.Fatal(err)
	}
	return payload
}

// holds checks what keys hold; "" is for none.
func (s subject) holds(tb testing.TB, want map[string]string) {
	tb.Helper()
	for name, text := range want {
		if got, _, there := s.Get(keyspace.Key{Name: name}); got != text || there != (text != "") {
			tb.Errorf("key %s: %q (there: %v), want %q", name, got, there, text)
		}
	}
}

// contract is what every writer promises to whoever uses it.
func contract(t *testing.T, s subject) {
	for _, c := range []struct {
		name, why string
		test      func(t *testing.T, s subject, w writer)
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
			w := s.Target.newWriter(writing{link: "0", acknowledged: func(unit) int64 { return 0 }})
			defer w.close()
			c.test(t, s, w)
		})
	}
}

// set is a transaction of one slot.
func (s subject) set(end int64, name string, calls ...[]string) *transaction {
	slot := s.Target.slot(name)
	x := &transaction{slot: slot, units: []unit{s.Target.unitOf(slot)}, end: end}
	for _, args := range calls {
		x.calls = append(x.calls, call{args: args, key: keyspace.Key{Name: args[1]}})
	}
	return x
}

func commitsInOrder(t *testing.T, s subject, w writer) {
	x := s.set(500, "{a}order", []string{"SET", "{a}order", "1"}, []string{"APPEND", "{a}order", "2"}, []string{"SET", "{a}gone", "x"}, []string{"DEL", "{a}gone"}, []string{"APPEND", "{a}order", "3"})
	y := s.set(500, "{b}other", []string{"SET", "{b}other", "4"})
	txs := []*transaction{x}
	if x.units[0] != y.units[0] { // those of one call share no unit
		txs = append(txs, y)
	} else {
		x.calls = append(x.calls, y.calls...)
	}
	if err := w.commit(t.Context(), txs); err != nil || len(x.failed)+len(y.failed) > 0 {
		t.Fatal(err, x.failed, y.failed)
	}
	s.holds(t, map[string]string{"{a}order": "123", "{a}gone": "", "{b}other": "4"})
	if s.End != nil && s.End(x.units[0]) != 500 {
		t.Errorf("the checkpoint stands at %d", s.End(x.units[0]))
	}
}

func commitsTheRest(t *testing.T, s subject, w writer) {
	x := s.set(600, "{r}text", []string{"SET", "{r}text", "1"}, []string{"RPUSH", "{r}text", "x"}, []string{"APPEND", "{r}text", "2"})
	if err := w.commit(t.Context(), []*transaction{x}); err != nil {
		t.Fatal(err)
	}
	if len(x.failed) != 1 || x.failed[0].call.args[0] != "RPUSH" || x.failed[0].reply == nil {
		t.Errorf("refused: %+v", x.failed)
	}
	s.holds(t, map[string]string{"{r}text": "12"})
}

func commitsCopies(t *testing.T, s subject, w writer) {
	k := keyspace.Key{Name: "{c}copy"}
	for range 2 {
		x := s.set(700, k.Name, []string{"DEL", k.Name}, []string{"RESTORE", k.Name, "0", string(s.text(t, "copied"))})
		x.fence = map[keyspace.Key]int64{k: 800}
		if err := w.commit(t.Context(), []*transaction{x}); err != nil || len(x.failed) > 0 {
			t.Fatal(err, x.failed)
		}
	}
	s.holds(t, map[string]string{k.Name: "copied"})
}

func commitsNothing(t *testing.T, s subject, w writer) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x := s.set(900, "{l}late", []string{"SET", "{l}late", "1"})
	if err := w.commit(ctx, []*transaction{x}); err == nil {
		t.Error("a commit whose context is over succeeded")
	}
	s.holds(t, map[string]string{"{l}late": ""})
}

// batchOf holds strings for one node: those of a cluster have one slot.
func (s subject) batchOf(t *testing.T, over overwrite, expireAt int64, values ...string) *batch {
	addr, err := s.Target.addrOf(values[0])
	if err != nil {
		t.Fatal(err)
	}
	b := &batch{addr: addr, over: over}
	for i := 0; i < len(values); i += 2 {
		k := loadKey{name: values[i], expireAt: expireAt, freq: -1, from: len(b.payload)}
		b.payload = append(b.payload, s.text(t, values[i+1])...)
		k.to = len(b.payload)
		b.keys = append(b.keys, k)
	}
	return b
}

// restored restores a batch, and returns what each key was settled with.
func restored(t *testing.T, w writer, b *batch) map[string]*refusedError {
	t.Helper()
	settled := map[string]*refusedError{}
	n := len(b.keys)
	err := w.restore(t.Context(), b, func(k *loadKey, refused *refusedError) error {
		if _, twice := settled[k.name]; twice {
			t.Errorf("%s was settled twice", k.name)
		}
		settled[k.name] = refused
		return nil
	})
	if err != nil || len(settled) != n {
		t.Fatalf("%d of %d keys were settled: %v", len(settled), n, err)
	}
	return settled
}

func restores(t *testing.T, s subject, w writer) {
	at := time.Now().Add(time.Hour).UnixMilli()
	for name, refused := range restored(t, w, s.batchOf(t, overwrite{}, at, "{s}one", "1", "{s}two", "2")) {
		if refused != nil {
			t.Errorf("%s: %v", name, refused)
		}
	}
	s.holds(t, map[string]string{"{s}one": "1", "{s}two": "2"})
	if _, got, _ := s.Get(keyspace.Key{Name: "{s}two"}); got < at-1000 || got > at+1000 {
		t.Errorf("it expires at %d, want %d", got, at)
	}
	b := s.batchOf(t, overwrite{}, 0, "{s}three", "3")
	if err := w.restore(t.Context(), b, func(*loadKey, *refusedError) error { return errors.New("enough") }); err == nil || err.Error() != "enough" {
		t.Errorf("an error of settle does not end it: %v", err)
	}
}

func restoresOver(t *testing.T, s subject, w writer) {
	restored(t, w, s.batchOf(t, overwrite{}, 0, "{o}old", "1"))
	got := restored(t, w, s.batchOf(t, overwrite{}, 0, "{o}old", "2", "{o}new", "2"))
	if !errors.Is(got["{o}old"], errExists) || got["{o}new"] != nil {
		t.Errorf("settled with %v", got)
	}
	s.holds(t, map[string]string{"{o}old": "1", "{o}new": "2"})
	if got := restored(t, w, s.batchOf(t, overwrite{first: true}, 0, "{o}old", "3")); got["{o}old"] != nil {
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

func rebuilds(t *testing.T, s subject, w writer) {
	at := time.Now().Add(time.Hour).UnixMilli()
	lost, err := w.rebuild(t.Context(), loadKey{name: "large", expireAt: at}, overwrite{}, inPieces(nil))
	if err != nil || len(lost) > 0 {
		t.Fatal(lost, err)
	}
	if got, expireAt, _ := s.Get(keyspace.Key{Name: "large"}); got != "first"+string(make([]byte, largeBytes)) || expireAt < at-1000 || expireAt > at+1000 {
		t.Errorf("%d bytes that expire at %d, want %d", len(got), expireAt, at)
	}
}

func rebuildsOver(t *testing.T, s subject, w writer) {
	text := func(v keyspace.Visitor) error { return v.StringChunk([]byte("new")) }
	restored(t, w, s.batchOf(t, overwrite{}, 0, "standing", "old"))
	var refused *refusedError
	if _, err := w.rebuild(t.Context(), loadKey{name: "standing"}, overwrite{}, text); !errors.Is(err, errExists) || !errors.As(err, &refused) {
		t.Errorf("a key that stands: %v", err)
	}
	s.holds(t, map[string]string{"standing": "old"})
	if _, err := w.rebuild(t.Context(), loadKey{name: "standing"}, overwrite{first: true}, text); err != nil {
		t.Error(err)
	}
	s.holds(t, map[string]string{"standing": "new"})
}

func rebuildsNothing(t *testing.T, s subject, w writer) {
	if _, err := w.rebuild(t.Context(), loadKey{name: "fleeting"}, overwrite{}, inPieces(keyspace.ErrGone)); !errors.Is(err, keyspace.ErrGone) {
		t.Errorf("a value that went away: %v", err)
	}
	s.holds(t, map[string]string{"fleeting": ""})
}

func rebuildsUnsupported(t *testing.T, s subject, w writer) {
	var refused *refusedError
	_, err := w.rebuild(t.Context(), loadKey{name: "module"}, overwrite{}, func(v keyspace.Visitor) error { return v.ModulePayload([]byte("x")) })
	if !errors.As(err, &refused) || !errors.As(refused.reply, new(*keyspace.UnsupportedError)) {
		t.Errorf("a value that no command builds: %v", err)
	}
	s.holds(t, map[string]string{"module": ""})
}

func removes(t *testing.T, s subject, w writer) {
	restored(t, w, s.batchOf(t, overwrite{}, 0, "{d}a", "1", "{d}b", "2", "{d}stays", "3"))
	if err := w.remove(t.Context(), []keyspace.Key{{Name: "{d}a"}, {Name: "never there"}, {Name: "{d}b"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.remove(t.Context(), nil); err != nil {
		t.Errorf("no keys at all: %v", err)
	}
	s.holds(t, map[string]string{"{d}a": "", "{d}b": "", "{d}stays": "3"})
}

func keepsDatabasesApart(t *testing.T, s subject, w writer) {
	if s.Target.dbs.Only {
		t.Log("this target has one")
		return
	}
	x := s.set(1000, "where", []string{"SET", "where", "0"}, []string{"SET", "where", "1"}, []string{"SET", "stays", "1"})
	for i := range x.calls[1:] {
		x.calls[1+i].db, x.calls[1+i].key.DB = 1, 1
	}
	if err := w.commit(t.Context(), []*transaction{x}); err != nil || len(x.failed) > 0 {
		t.Fatal(err, x.failed)
	}
	holds := func(db int, name, want string) {
		t.Helper()
		if got, _, _ := s.Get(keyspace.Key{DB: db, Name: name}); got != want {
			t.Errorf("database %d: %s holds %q, want %q", db, name, got, want)
		}
	}
	holds(0, "where", "0")
	holds(1, "where", "1")
	if err := w.remove(t.Context(), []keyspace.Key{{DB: 1, Name: "where"}}); err != nil {
		t.Fatal(err)
	}
	holds(0, "where", "0")
	holds(1, "where", "")
	holds(1, "stays", "1")
}
