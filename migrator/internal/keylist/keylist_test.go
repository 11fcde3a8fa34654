package keylist

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"surecut/internal/keyspace"
)

func open(t testing.TB, path string) *List {
	t.Helper()
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.f.Close() })
	return l
}

func add(t testing.TB, l *List, keys ...keyspace.Key) {
	t.Helper()
	for _, k := range keys {
		if err := l.Add(k); err != nil {
			t.Fatal(err)
		}
	}
}

func rest(t testing.TB, c *Cursor) (keys []keyspace.Key) {
	t.Helper()
	for {
		k, ok, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return keys
		}
		keys = append(keys, k)
	}
}

func randomKeys(t testing.TB, n int) []keyspace.Key {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	keys := make([]keyspace.Key, n)
	for i := range keys {
		name := make([]byte, rng.IntN(300))
		for i := range name {
			name[i] = byte(rng.Uint32())
		}
		keys[i] = keyspace.Key{DB: rng.IntN(300), Name: string(name)}
	}
	return keys
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	want := randomKeys(t, 501)
	want[7].Name = strings.Repeat("long", 100_000)
	l := open(t, path)
	if !l.Empty() {
		t.Error("a new list is not empty")
	}
	add(t, l, want[:500]...)
	c := l.Cursor()
	if got := rest(t, c); !slices.Equal(got, want[:500]) {
		t.Fatalf("%d keys, want 500", len(got))
	}
	add(t, l, want[500])
	if got := rest(t, c); !slices.Equal(got, want[500:]) {
		t.Errorf("a cursor at the end returned %v of what was added behind it", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, path)
	if got := rest(t, l.Cursor()); !slices.Equal(got, want) || l.Empty() {
		t.Errorf("opened again: %d keys, want %d", len(got), len(want))
	}
	var seen int
	if err := l.Each(func(k keyspace.Key) error { seen++; return l.Add(k) }); err != nil || seen != len(want) {
		t.Errorf("each key was added again: %d of %d, %v", seen, len(want), err)
	}
	if err := l.Clear(); err != nil || !l.Empty() || len(rest(t, l.Cursor())) > 0 {
		t.Errorf("cleared: %v", err)
	}
	add(t, l, want[0])
	if got := rest(t, l.Cursor()); !slices.Equal(got, want[:1]) {
		t.Errorf("added after it was cleared: %v", got)
	}
}

// TestCutOff cuts a list at every byte of its last records: what is left is read, and goes on to be written.
func TestCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	want := randomKeys(t, 3)
	l := open(t, path)
	ends := []int{len(header)}
	for _, k := range want {
		add(t, l, k)
		end, err := l.Flush()
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, int(end))
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := range len(whole) {
		for _, tail := range []string{"", strings.Repeat("\x00", 4096)} {
			cut := size
			if tail != "" && !slices.Contains(ends, size) {
				continue // zeros within a record are not what a crash leaves: its bytes are written in their order
			}
			if err := os.WriteFile(path, append(whole[:cut:cut], tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			l := open(t, path)
			kept := 0
			for kept+1 < len(ends) && ends[kept+1] <= size {
				kept++
			}
			behind := keyspace.Key{DB: 1, Name: "behind"}
			add(t, l, behind)
			if got := rest(t, l.Cursor()); !slices.Equal(got, append(want[:kept:kept], behind)) {
				t.Fatalf("of %d bytes and %d zeros: %d keys, want %d and the one behind", size, len(tail), len(got), kept)
			}
			l.Close()
		}
	}
}

// TestDamage changes every byte of a list that was closed: it is refused by its name, and left as it is.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	l := open(t, path)
	add(t, l, keyspace.Key{DB: 0, Name: "first"}, keyspace.Key{DB: 3, Name: "second"}, keyspace.Key{DB: 5, Name: strings.Repeat("third", 50)})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := 0
	for i := range whole {
		for _, bits := range []byte{0x01, 0x80, 0xff} {
			damaged := slices.Clone(whole)
			damaged[i] ^= bits
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := Open(path)
			if err == nil {
				// A length that became larger than the file makes the rest look like a record that was cut off.
				if cut++; l.end >= int64(len(whole)) {
					t.Errorf("byte %d changed by %#x was not noticed", i, bits)
				}
				l.f.Close()
				continue
			}
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Errorf("byte %d changed by %#x: %v", i, bits, err)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
				t.Errorf("byte %d changed by %#x: the file was changed", i, bits)
			}
		}
	}
	if cut > 9 {
		t.Errorf("%d changes passed for a record that was cut off", cut)
	}
}

func TestSwap(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "list"))
	add(t, l, keyspace.Key{DB: 0, Name: "a"}, keyspace.Key{DB: 2, Name: "b"}, keyspace.Key{DB: 4, Name: "c"})
	if err := l.Swap(0, 2); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(rest(t, l.Cursor())); got != "[{0 a} {2 b} {4 c} {2 a} {0 b}]" {
		t.Errorf("swapped: %s", got)
	}
	for range 100 {
		if err := l.Swap(0, 2); err != nil {
			t.Fatal(err)
		}
	}
	if got := rest(t, l.Cursor()); len(got) != 5 {
		t.Errorf("swapped again and again, the list has %d keys", len(got))
	}
}

// FuzzOpen opens any bytes: no panic, no memory beyond the file, and what is accepted reads the same again.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(header))
	f.Add(appendRecord([]byte(header), keyspace.Key{DB: 3, Name: "name"}))
	f.Add(binary.AppendUvarint([]byte(header+"\x00"), mostName))
	path := filepath.Join(f.TempDir(), "list")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(path)
		if err != nil {
			return
		}
		keys := rest(t, l.Cursor())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, err = Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if again := rest(t, l.Cursor()); !slices.Equal(keys, again) {
			t.Fatalf("%d keys, then %d", len(keys), len(again))
		}
	})
}
