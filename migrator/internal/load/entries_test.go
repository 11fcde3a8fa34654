package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// entriesOf is a snapshot that ends with an error, as an RDB ends with io.EOF.
type entriesOf struct {
	list []rdb.Entry
	end  error
	e    rdb.Entry // the last one
}

func (s *entriesOf) Next() (*rdb.Entry, error) {
	if len(s.list) == 0 {
		return nil, s.end
	}
	s.e, s.list = s.list[0], s.list[1:]
	return &s.e, nil
}

func (s *entriesOf) Walk(v keyspace.Visitor) error { return rdb.WalkValue(s.e.Type, s.e.Raw, v) }
func (*entriesOf) Consumed() int64                 { return 7 }

// keyOf returns an entry with a string.
func keyOf(db int, name string, expireAt int64) rdb.Entry {
	return rdb.Entry{Kind: rdb.KindKey, DB: db, Key: []byte(name), Type: rdb.TypeString, Raw: []byte("\x04text"), ExpireAt: expireAt, Idle: -1, Freq: -1}
}

// TestKeysAreSorted: every key of a snapshot ends in one counter, with the expiry that it is to have for now.
func TestKeysAreSorted(t *testing.T) {
	now := time.Now().UnixMilli()
	passed, near, far := now-10_000, now+10_000, now+10_000_000
	hold := func(c *Config) { c.Hold, c.HoldExpiry = true, time.Minute }
	aof := func(c *Config) { c.AOF = true }
	big := func(e rdb.Entry) rdb.Entry { e.Big = true; return e }
	module := rdb.Entry{Kind: rdb.KindKey, Key: []byte("a"), Type: rdb.TypeModule, Raw: []byte("\x81\x10\x00\x00\x00\x00\x00\x00\x01\x00")}
	for _, tt := range []struct {
		name, why string
		change    func(*Config)
		entry     rdb.Entry
		expireAt  int64
		held      bool // on the list of those that get their expiry later
		count     ledger.Counters
		problem   string
		fails     string

		unsent bool // no RESTORE is sent
	}{
		{name: "a key", entry: keyOf(0, "a", 0), count: ledger.Counters{SnapshotApplied: 1}},
		{name: "that expires", entry: keyOf(0, "a", near), expireAt: near, count: ledger.Counters{SnapshotApplied: 1}},
		{name: "that expires soon", why: "the stream may renew it", change: hold, entry: keyOf(0, "a", near), held: true, count: ledger.Counters{SnapshotApplied: 1}},
		{name: "that expires later", change: hold, entry: keyOf(0, "a", far), expireAt: far, count: ledger.Counters{SnapshotApplied: 1}},
		{name: "that may be the target's", why: "its own key must not get the source's expiry", change: func(c *Config) { hold(c); c.Keep = true }, entry: keyOf(0, "a", near),
			expireAt: near, count: ledger.Counters{SnapshotApplied: 1}},
		{name: "that had expired", change: func(c *Config) { c.StartedMs = now }, entry: keyOf(0, "a", passed), count: ledger.Counters{SnapshotExpired: 1}},
		{name: "that had expired in an AOF", why: "a later command may renew it", change: func(c *Config) { aof(c); c.StartedMs = now }, entry: keyOf(0, "a", passed),
			expireAt: target.Postponed(passed), held: true, count: ledger.Counters{SnapshotApplied: 1}},
		{name: "excluded", change: func(c *Config) { c.Scope.Exclude = []string{"a"} }, entry: keyOf(0, "a", 0), count: ledger.Counters{SnapshotFiltered: 1}},
		{name: "of a database that is not selected", change: func(c *Config) { c.Scope.DBs = []int{1} }, entry: keyOf(0, "a", 0), count: ledger.Counters{SnapshotFiltered: 1}},
		{name: "surecut's own", entry: keyOf(0, keyspace.Prefix+":x", 0), count: ledger.Counters{SnapshotFiltered: 1}},
		{name: "of a database that the target lacks", change: func(c *Config) { c.Scope.Target = keyspace.Databases{Home: -1, Count: 4} }, entry: keyOf(5, "a", 0),
			count: ledger.Counters{SnapshotReported: 1}, problem: "the target has no database 5"},
		{name: "two keys of one name", why: "one would overwrite the other", change: func(c *Config) {
			c.Scope.DBPrefix, c.Scope.Target = map[int]string{1: "one:"}, keyspace.Databases{Home: 0, Only: true}
		}, entry: keyOf(0, "one:a", 0), fails: "key one:a of database 0 and key a of database 1"},
		{name: "too large for memory", entry: big(keyOf(0, "a", near)), expireAt: near, count: ledger.Counters{SnapshotApplied: 1}},
		{name: "too large for one command", change: func(c *Config) { c.BigValue = 3 }, entry: keyOf(0, "a", near), expireAt: near, count: ledger.Counters{SnapshotApplied: 1}},
		{name: "a list without elements", why: "it has not expired",
			entry: big(rdb.Entry{Kind: rdb.KindKey, Key: []byte("a"), Type: rdb.TypeList, Raw: []byte("\x00"), Idle: -1, Freq: -1}), count: ledger.Counters{SnapshotEmpty: 1}},
		{name: "larger than the target takes in one argument", why: "RESTORE must not be tried", change: func(c *Config) { c.Target.Bounds.Argument = 10 }, unsent: true,
			entry: keyOf(0, "a", near), expireAt: near, count: ledger.Counters{SnapshotApplied: 1}},
		{name: "a module's, which the target does not take", change: func(c *Config) { c.Target.Payloads.Modules = false }, entry: module, count: ledger.Counters{SnapshotReported: 1}, problem: "module"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, m, problems := newTestLoad(t)
			if tt.change != nil {
				tt.change(cfg)
			}
			err := New(cfg).Load(t.Context(), &entriesOf{list: []rdb.Entry{tt.entry}, end: io.EOF})
			if (err != nil) != (tt.fails != "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
				t.Fatalf("%v, want %q (%s)", err, tt.fails, tt.why)
			}
			if tt.count.SnapshotKeys = 1; err == nil && cfg.Ledger.ThisRun() != tt.count {
				t.Errorf("counted %+v, want %+v (%s)", cfg.Ledger.ThisRun(), tt.count, tt.why)
			}
			if tt.unsent && m.Payloads > 0 {
				t.Errorf("its payload was sent (%s)", tt.why)
			}
			v, there := m.Get(keyspace.Key{Name: "a"})
			if there != (tt.count.SnapshotApplied == 1) || there && v != (targettest.Value{Text: "text", ExpireAt: tt.expireAt}) {
				t.Errorf("the target holds %+v, %v, want the expiry %d (%s)", v, there, tt.expireAt, tt.why)
			}
			if held, err := cfg.Expiries.Next(2); err != nil || (len(held) == 1) != tt.held {
				t.Errorf("held keys %v, %v (%s)", held, err, tt.why)
			}
			if list := problems.All(); (len(list) == 1) != (tt.problem != "") || len(list) == 1 && !strings.Contains(list[0].Reason, tt.problem) {
				t.Errorf("problems %+v, want %q", list, tt.problem)
			}
		})
	}
}

// TestSnapshotEnds: a snapshot counts as loaded only if it was read to its end.
func TestSnapshotEnds(t *testing.T) {
	broken := errors.New("the disk is gone")
	for _, tt := range []struct {
		name string
		from entriesOf
		is   error
		says string
	}{
		{name: "well", from: entriesOf{list: []rdb.Entry{keyOf(0, "a", 0)}, end: io.EOF}},
		{name: "cut off", from: entriesOf{list: []rdb.Entry{keyOf(0, "a", 0)}, end: fmt.Errorf("read: %w", io.ErrUnexpectedEOF)}, is: io.ErrUnexpectedEOF, says: "snapshot: "},
		{name: "broken", from: entriesOf{end: broken}, is: broken, says: "snapshot: "},
	} {
		cfg, _, _ := newTestLoad(t)
		err := New(cfg).Load(t.Context(), &tt.from)
		if (err != nil) != (tt.says != "") || tt.is != nil && !errors.Is(err, tt.is) || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
		if err == nil && cfg.Ledger.SnapshotBytes.Load() != 7 {
			t.Errorf("%s: %d bytes are loaded", tt.name, cfg.Ledger.SnapshotBytes.Load())
		}
	}
}

// TestFactsOfSnapshots: what a snapshot tells besides keys. Whoever watches sees the facts, and those keys alone that are carried.
func TestFactsOfSnapshots(t *testing.T) {
	aux := func(name, value string) rdb.Entry {
		return rdb.Entry{Kind: rdb.KindAux, Name: []byte(name), Value: []byte(value)}
	}
	cfg, _, problems := newTestLoad(t)
	var scripts, shown []string
	var dbs []int
	cfg.Scope.Exclude = []string{"b"}
	cfg.Script = func(text string) error { scripts = append(scripts, text); return nil }
	cfg.StreamDB = func(db int) { dbs = append(dbs, db) }
	cfg.Show = func(e *rdb.Entry) { shown = append(shown, string(e.Name)+string(e.Key)) }
	entries := []rdb.Entry{aux("redis-ver", "6.2"), aux("repl-stream-db", "3"), aux("repl-stream-db", "-1"), aux("repl-stream-db", "x"), aux("lua", "return 1"),
		{Kind: rdb.KindFunction, Value: []byte("#!lua name=f")}, {Kind: rdb.KindModuleAux, Name: []byte("module")}, keyOf(0, "a", 0), keyOf(0, "b", 0)}
	if err := New(cfg).Load(t.Context(), &entriesOf{list: slices.Clone(entries), end: io.EOF}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(scripts, dbs, shown); got != "[return 1] [3] [redis-ver repl-stream-db repl-stream-db repl-stream-db lua a]" || len(problems.All()) > 0 {
		t.Errorf("%s, problems %+v", got, problems.All())
	}
	full := errors.New("no room for scripts")
	cfg.Script = func(string) error { return full }
	if err := New(cfg).Load(t.Context(), &entriesOf{list: slices.Clone(entries), end: io.EOF}); !errors.Is(err, full) {
		t.Errorf("%v, want %v", err, full)
	}
}

// TestLibraries: the function libraries of a snapshot are handed over at once, before its keys, and those of a source without any data are not.
func TestLibraries(t *testing.T) {
	library := func(code string) rdb.Entry { return rdb.Entry{Kind: rdb.KindFunction, Value: []byte(code)} }
	refused := errors.New("the target has one of its own")
	for _, tt := range []struct {
		name    string
		entries []rdb.Entry
		err     error
		want    string // what was handed over, with the number of keys that were read before
	}{
		{"before the keys", []rdb.Entry{library("f"), library("g"), keyOf(0, "a", 0), keyOf(0, "b", 0)}, nil, "[f g] after 1"},
		{"no keys", []rdb.Entry{library("f")}, nil, "[f] after 0"},
		{"no libraries", []rdb.Entry{keyOf(0, "a", 0)}, nil, "[] after 1"},
		{"nothing at all", nil, nil, ""},
		{"refused", []rdb.Entry{library("f"), keyOf(0, "a", 0), keyOf(0, "b", 0)}, refused, "[f] after 1"},
	} {
		cfg, m, _ := newTestLoad(t)
		var told string
		cfg.Libraries = func(_ context.Context, codes []string) error {
			told += fmt.Sprint(codes, " after ", cfg.Ledger.SnapshotKeys.Load())
			return tt.err
		}
		err := New(cfg).Load(t.Context(), &entriesOf{list: tt.entries, end: io.EOF})
		if told != tt.want || !errors.Is(err, tt.err) || tt.err != nil && len(m.Keys) > 0 {
			t.Errorf("%s: %q, %v, %d keys, want %q", tt.name, told, err, len(m.Keys), tt.want)
		}
	}
}

// TestFieldsThatHavePassed: an AOF may renew the expiry of a field further down, when the target has deleted the field already.
func TestFieldsThatHavePassed(t *testing.T) {
	now := time.Now().UnixMilli()
	hash := func(at int64) rdb.Entry {
		kind, raw, err := rdb.Encode(&keyspace.Value{Type: keyspace.Hash, Hash: []keyspace.Field{{Name: []byte("f"), Value: []byte("v"), ExpireAt: at}, {Name: []byte("stays"), Value: []byte("v")}}})
		if err != nil {
			t.Fatal(err)
		}
		return rdb.Entry{Kind: rdb.KindKey, Key: []byte("h"), Type: kind, Raw: raw, Idle: -1, Freq: -1}
	}
	large := hash(now + 1_000_000)
	large.Big = true
	for _, tt := range []struct {
		name  string
		entry rdb.Entry
		aof   bool
		noted bool
	}{
		{"to come", hash(now + 1_000_000), true, false},
		{"passed", hash(now - 1000), true, true},
		{"passed, in a snapshot of a server", hash(now - 1000), false, false},
		{"no field expires", hash(0), true, false},
		{"too large to tell", large, true, true},
	} {
		cfg, _, problems := newTestLoad(t)
		cfg.AOF = tt.aof
		ld := New(cfg)
		if _, err := ld.expiry(&tt.entry, keyspace.Key{Name: "h"}); err != nil {
			t.Fatal(err)
		}
		if got := len(problems.All()) == 1; got != tt.noted {
			t.Errorf("%s: problems %+v", tt.name, problems.All())
		}
	}
}

// TestUnload: of a snapshot that was cut off, the target loses the keys that were in it, as far as it goes, and no others.
func TestUnload(t *testing.T) {
	var file bytes.Buffer
	file.WriteString("REDIS0010\xfe\x00")
	for _, name := range []string{"a", "b", "c"} {
		file.WriteString("\x00\x01" + name + "\x04text")
	}
	whole := file.Len()
	for _, tt := range []struct {
		name string
		data []byte
		left string
		says string
	}{
		{"cut off between keys", file.Bytes()[:whole], "b d", ""},
		{"cut off in a key", file.Bytes()[:whole-2], "b c d", ""},
		{"no RDB", []byte("PNG whatever comes here"), "a b c d", "REDIS"},
	} {
		cfg, m, _ := newTestLoad(t)
		cfg.Scope.Exclude = []string{"b"}
		for _, name := range []string{"a", "b", "c", "d"} {
			m.Keys[keyspace.Key{Name: name}] = targettest.Value{Text: "text"}
		}
		err := New(cfg).Unload(t.Context(), rdb.NewReader(bytes.NewReader(tt.data), rdb.Options{MaxValue: 1 << 20}))
		if (err != nil) != (tt.says != "") {
			t.Errorf("%s: %v", tt.name, err)
		}
		var left []string
		for k := range m.Keys {
			left = append(left, k.Name)
		}
		slices.Sort(left)
		if got := strings.Join(left, " "); got != tt.left {
			t.Errorf("%s: left are %q, want %q", tt.name, got, tt.left)
		}
	}
}
