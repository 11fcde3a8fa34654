package verifier

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

var nothingWritten = sighting{still: true, of: func(keyID, *pair) (writing, bool) { return unwritten, false }}

// A key that SCAN gives twice must neither cancel a loss nor count as two.
func TestJoin(t *testing.T) {
	type key struct {
		db    int
		name  string
		value string
	}
	tests := []struct {
		name           string
		source, target []key
		dbMap          map[int]int
		same           int64
		suspects       []string
		twice          [2]int64
	}{
		{name: "equal", source: []key{{0, "a", "1"}, {1, "a", "2"}}, target: []key{{1, "a", "2"}, {0, "a", "1"}}, same: 2},
		{name: "value", source: []key{{0, "a", "1"}}, target: []key{{0, "a", "2"}}, suspects: []string{"0>0 a"}},
		{name: "missing", source: []key{{0, "a", "1"}}, suspects: []string{"0>0 a"}},
		{name: "extra", target: []key{{0, "a", "1"}}, suspects: []string{"0>0 a"}},
		{name: "twice on one side", source: []key{{0, "a", "1"}, {0, "a", "1"}}, target: []key{{0, "a", "1"}}, same: 1, twice: [2]int64{1, 0}},
		{name: "twice and another lost", source: []key{{0, "a", "1"}, {0, "b", "1"}}, target: []key{{0, "a", "1"}, {0, "a", "1"}}, same: 1, suspects: []string{"0>0 b"}, twice: [2]int64{0, 1}},
		{name: "mapped", source: []key{{3, "a", "1"}}, target: []key{{0, "a", "1"}}, dbMap: map[int]int{3: 0}, same: 1},
		{name: "mapped extra", target: []key{{0, "a", "1"}}, dbMap: map[int]int{3: 0, 0: 3}, suspects: []string{"3>0 a"}},
		{name: "no way there", target: []key{{3, "a", "1"}}, dbMap: map[int]int{3: 0}, suspects: []string{"-1>3 a"}},
		{name: "two databases into one", source: []key{{0, "a", "1"}, {3, "a", "1"}}, target: []key{{0, "a", "1"}}, dbMap: map[int]int{3: 0}, suspects: []string{"3>0 a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := DefaultConfig()
			o.mapping = keyspace.Filter{DBMap: tt.dbMap}.To(keyspace.Databases{Home: endpoint.AllDBs})
			v := &verification{cfg: &o, judges: theJudges, source: bareSide(endpoint.Source, &endpoint.Deployment{}, &o), target: bareSide(endpoint.Target, &endpoint.Deployment{}, &o), rules: rules{depth: DepthValue}}
			v.tally = newTally(&v.rules, 10)
			fill := func(keys []key, pair func(int) int) *spill {
				s, err := newSpill(t.TempDir(), spillParts)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(s.close)
				for _, k := range keys {
					r := text(k.value)
					if err := s.add(&record{keyID: keyID{k.db, pair(k.db), k.name}, t: r.Type, fp: r.FP}); err != nil {
						t.Fatal(err)
					}
				}
				return s
			}
			suspects := fill(nil, nil)
			s := spills{fill(tt.source, func(db int) int { to, _ := o.mapping.Map(db); return to }), fill(tt.target, func(db int) int { return db })}
			if err := v.join(context.Background(), s, nothingWritten, suspects); err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range suspects.parts {
				suspects.each(i, func(batch []record) error {
					for _, r := range batch {
						got = append(got, fmt.Sprintf("%d>%d %s", r.db, r.pairDB, r.name))
					}
					return nil
				})
			}
			if v.tally.totals.Same != tt.same || fmt.Sprint(got) != fmt.Sprint(tt.suspects) {
				t.Errorf("same %d, suspects %q, want %d, %q", v.tally.totals.Same, got, tt.same, tt.suspects)
			}
			if twice := [2]int64{v.source.short.twice, v.target.short.twice}; twice != tt.twice {
				t.Errorf("twice %v, want %v", twice, tt.twice)
			}
		})
	}
}

// Two types of modules under one name are two types, at any depth.
func TestJoinModules(t *testing.T) {
	for _, depth := range []Depth{DepthKeys, DepthLength, DepthValue} {
		o := DefaultConfig()
		v := &verification{cfg: &o, judges: theJudges, source: bareSide(endpoint.Source, &endpoint.Deployment{}, &o), target: bareSide(endpoint.Target, &endpoint.Deployment{}, &o), rules: rules{depth: depth}}
		v.tally = newTally(&v.rules, 10)
		var all [3]*spill
		for i, module := range []string{"ReJSON-RL", "MBbloom--", ""} {
			s, err := newSpill(t.TempDir(), spillParts)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			if all[i] = s; module == "" {
				continue
			}
			r := record{keyID: keyID{name: "k"}}
			r.hold(&reading{Type: keyspace.Module, TypeName: module})
			if err := s.add(&r); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.join(t.Context(), spills{all[0], all[1]}, nothingWritten, all[2]); err != nil {
			t.Fatal(err)
		}
		if v.tally.totals.Same != 0 || all[2].count() != 1 {
			t.Errorf("%s: %+v, %d suspects", depth, v.tally.totals, all[2].count())
		}
	}
}

func TestSpillHoldsMoreThanABlock(t *testing.T) {
	s, err := newSpill(t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	want := map[string]int64{}
	for i := range 5000 {
		name := fmt.Sprintf("key:%d\x00\xff", i)
		want[name] = int64(i)
		if err := s.add(&record{keyID: keyID{name: name}, t: keyspace.Hash, expireAt: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if s.count() != 5000 || len(s.parts[0].blocks) == 0 {
		t.Fatalf("%d records in %d blocks", s.count(), len(s.parts[0].blocks))
	}
	for i := range s.parts {
		s.each(i, func(batch []record) error {
			for _, r := range batch {
				if at, ok := want[r.name]; !ok || at != r.expireAt {
					t.Errorf("%q: %d, %v", r.name, r.expireAt, ok)
				}
				delete(want, r.name)
			}
			return nil
		})
	}
	if len(want) != 0 {
		t.Errorf("%d records lost", len(want))
	}
}

func FuzzRecord(f *testing.F) {
	full := record{keyID: keyID{-1, 15, "k\x00"}, t: keyspace.Stream, flags: seen, changes: 3,
		fp: keyspace.Fingerprint{Value: 1, Counters: 2, Length: 3}, expireAt: 1 << 41}
	f.Add(full.append(nil))
	module := record{keyID: keyID{0, 0, "k"}, t: keyspace.Module, module: "ReJSON-RL", fp: keyspace.Fingerprint{Value: 1}}
	f.Add(module.append(nil))
	hash := record{t: keyspace.Hash, fp: keyspace.Fingerprint{FieldExpiries: 1}, fieldsAt: 1 << 41}
	f.Add(hash.append(nil))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		var r record
		rest, err := r.parse(string(data))
		if err != nil {
			return
		}
		var again record
		packed := r.append(nil)
		if _, err := again.parse(string(packed)); err != nil || again != r {
			t.Errorf("%+v came back as %+v: %v", r, again, err)
		}
		if len(rest) > len(data) || !bytes.HasSuffix(data, []byte(rest)) {
			t.Errorf("%q is left of %q", rest, data)
		}
	})
}

// Once a field of a hash has expired, the file is read again for it, and not before.
func TestFieldsOfFileExpire(t *testing.T) {
	now := time.Now()
	batch := []record{
		{keyID: keyID{name: "never"}, t: keyspace.Hash},
		{keyID: keyID{name: "later"}, t: keyspace.Hash, fieldsAt: now.Add(time.Second).UnixMilli()},
		{keyID: keyID{name: "passed"}, t: keyspace.Hash, fieldsAt: now.Add(-time.Second).UnixMilli(), flags: seen},
		{keyID: keyID{name: "gone"}, t: keyspace.Hash, fieldsAt: now.UnixMilli()},
	}
	left := reading{Type: keyspace.Hash, TypeName: "hash", FP: keyspace.Fingerprint{Value: 7, Length: 1}}
	file := &fileAgain{held: map[string]reading{"passed": left}}
	v := &verification{probers: probers{Source: file}, clock: &clock{now: func() time.Time { return now }}}
	got, err := v.observeFile(t.Context(), batch)
	if err != nil || !slices.Equal(file.asked, []string{"passed", "gone"}) {
		t.Fatalf("the file was read again for %q, %v", file.asked, err)
	}
	if got[2] != left || got[3].present() || !got[0].present() || !got[1].present() {
		t.Errorf("the file says %+v", got)
	}
	if batch[2].outdated(now) || batch[2].flags != seen {
		t.Errorf("the suspect became %+v", batch[2])
	}
}

// fileAgain is a file that is read again.
type fileAgain struct {
	held  map[string]reading
	asked []string
}

func (f *fileAgain) probe(_ context.Context, keys []keyID, _ int64) ([]reading, error) {
	out := make([]reading, len(keys))
	for i, k := range keys {
		f.asked = append(f.asked, k.name)
		out[i] = f.held[k.name]
	}
	return out, nil
}

func TestExpiryGuard(t *testing.T) {
	u := &rules{tolerance: time.Second, fieldGuard: fieldGuardFor(time.Second), sourceClock: 10 * time.Second, skew: -10 * time.Second}
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).UnixMilli() }
	tests := []struct {
		name string
		pair pair
		wait bool
	}{
		{"never expires", pair{text("a"), reading{}}, false},
		{"far off", pair{expiring("a", at(time.Minute)), reading{}}, false},
		{"near by the source's clock", pair{expiring("a", at(11*time.Second)), reading{}}, true},
		{"far by the target's clock", pair{reading{}, expiring("a", at(11*time.Second))}, false},
		{"past", pair{reading{}, expiring("a", at(-time.Second))}, true},
		{"a field, far off", pair{fields(at(15 * time.Second)), fields(0)}, false},
		{"a field, near by the source's clock", pair{fields(at(11 * time.Second)), fields(0)}, true},
		{"a field, far by the target's clock", pair{fields(0), fields(at(11 * time.Second))}, false},
		{"a field, past", pair{fields(0), fields(at(-time.Second))}, true},
	}
	for _, tt := range tests {
		if wait := u.expiring(&tt.pair, now); wait > 0 != tt.wait {
			t.Errorf("%s: waits %v, want wait = %v", tt.name, wait, tt.wait)
		}
	}
}
