package verifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// sourceOfMany are databases of a source, by number.
type sourceOfMany struct {
	held  map[int]map[string]string
	fails error
	asked int
}

func (s *sourceOfMany) probe(_ context.Context, keys []keyID, _ int64) ([]reading, error) {
	out := make([]reading, len(keys))
	for i, k := range keys {
		s.asked++
		out[i] = text(s.held[k.db][k.name])
	}
	return out, s.fails
}

// originsTold maps databases 0 to 3 of a source, of which 1 has names of its own on the target, to database 0 of a target.
func originsTold(held ...int) origins {
	mapping := keyspace.Filter{DBMap: map[int]int{1: 0, 2: 0, 3: 0}, DBPrefix: map[int]string{1: "one:"}}.To(keyspace.Databases{Home: endpoint.AllDBs})
	used := map[int]bool{}
	for _, db := range held {
		used[db] = true
	}
	return origins{&mapping, &heldDatabases{used: used}}
}

// TestOriginsOfKeys: in which databases of the source a key of the target may lie.
func TestOriginsOfKeys(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		key       keyID
		want      []int
	}{
		{"one of several", "they are all mapped to its database", keyID{pairDB: 0, name: "k"}, []int{0, 2, 3}},
		{"by its prefix", "no other database has such names on the target", keyID{pairDB: 0, name: "one:k"}, []int{1}},
		{"a database that is not mapped", "it keeps its number", keyID{pairDB: 7, name: "k"}, []int{7}},
		{"a database that is mapped elsewhere", "nothing of it comes here", keyID{pairDB: 2, name: "k"}, nil},
	} {
		o := originsTold(0, 2)
		if got := o.of(tt.key); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v (%s)", tt.name, got, tt.want, tt.why)
		}
		at, several := o.locate(tt.key, false)
		if first := append(slices.Clone(tt.want), -1)[0]; at.db != first || several != (len(tt.want) > 1) {
			t.Errorf("%s: located in %d, one of several %v", tt.name, at.db, several)
		}
		if at, several := o.locate(keyID{db: 9, name: "k"}, true); at.db != 9 || several {
			t.Errorf("%s: a key that the source has listed was moved to %d", tt.name, at.db)
		}
	}
}

// TestPlacesOfSuspects: a key that only the target has listed may have been created meanwhile in any of several databases. It is
// compared with the one that holds it, with none where none does, and with none of two.
func TestPlacesOfSuspects(t *testing.T) {
	key := keyID{db: 0, pairDB: 0, name: "k"}
	for _, tt := range []struct {
		name, why string
		flags     byte
		held      []int // databases of the source that hold it by now
		db        int
		left      byte
	}{
		{"nowhere", "it is extra, as far as anybody can tell", unplaced, nil, 0, unplaced},
		{"in the first", "", unplaced, []int{0}, 0, 0},
		{"in another", "compared with database 0, it would be extra", unplaced, []int{3}, 3, 0},
		{"in two", "nobody can tell of which the target has it", unplaced, []int{0, 3}, 0, clash},
		{"in three", "", unplaced, []int{0, 2, 3}, 0, clash},
		{"where its place is known", "nothing is asked", seen, []int{3}, 0, seen},
	} {
		source := &sourceOfMany{held: map[int]map[string]string{}}
		for _, db := range tt.held {
			source.held[db] = map[string]string{"k": "v"}
		}
		batch := []record{{keyID: keyID{name: "other"}, flags: seen}, {keyID: key, flags: tt.flags}}
		if err := originsTold(2).place(t.Context(), source, batch); err != nil {
			t.Fatal(err)
		}
		if r := batch[1]; r.db != tt.db || r.flags != tt.left || batch[0].db != 0 || batch[0].flags != seen {
			t.Errorf("%s: database %d, flags %b, want %d, %b (%s)", tt.name, r.db, r.flags, tt.db, tt.left, tt.why)
		}
		if asks := tt.flags&unplaced != 0; (source.asked > 0) != asks {
			t.Errorf("%s: asked for %d keys", tt.name, source.asked)
		}
	}
	over := errors.New("interrupted")
	batch := []record{{keyID: key, flags: unplaced}}
	if err := originsTold(2).place(t.Context(), &sourceOfMany{fails: over}, batch); !errors.Is(err, over) || batch[0].flags != unplaced {
		t.Errorf("an interrupted run: %v, flags %b", err, batch[0].flags)
	}
}

// TestKeysThatAppearMeanwhile: a key that came into a database of the source after its names were listed is no extra key of the target,
// whichever of the databases it came into.
func TestKeysThatAppearMeanwhile(t *testing.T) {
	for _, db := range []int{0, 3} {
		p := newEvenPair(t, "7.0.15")
		p.source.PutIn(3, "first", stringOf("abc"))
		p.target.Put("first", stringOf("abc"))
		p.target.Before("SCAN", func() {
			for deadline := time.Now().Add(time.Minute); len(p.source.Calls("TYPE first")) == 0 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond) // until the source has listed both databases
			}
			p.source.PutIn(db, "late", stringOf("abc"))
			p.target.Put("late", stringOf("abc"))
		})
		r, err := verifyTold(t, p.source, p.target, func(c *Config) { c.Filter.DBMap = map[int]int{3: 0} })
		if err != nil {
			t.Fatal(err)
		}
		if r.Totals.Extra+r.Totals.Different+r.Totals.Missing > 0 || r.Totals.Same != 8 {
			t.Errorf("into database %d: %s", db, fmt.Sprintf("%+v, %+v", r.Totals, r.Findings))
		}
	}
}
