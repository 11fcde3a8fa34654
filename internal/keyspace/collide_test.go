package keyspace

import (
	"encoding/binary"
	"math/bits"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// xxhash's constants.
const (
	prime1 uint64 = 11400714785074694791
	prime2 uint64 = 14029467366897019727
)

// inverse returns the number whose product with an odd one is 1, modulo 2^64.
func inverse(odd uint64) uint64 {
	x := odd
	for range 6 {
		x *= 2 - odd*x
	}
	return x
}

// collide makes a string of 64 bytes with the xxhash of another: the second block of a lane takes back what the first one changed.
func collide(text []byte, seed, change uint64) []byte {
	other := append([]byte(nil), text...)
	le := binary.LittleEndian
	round := func(first uint64) uint64 {
		return bits.RotateLeft64(seed+prime1+prime2+first*prime2, 31) * prime1
	}
	first := le.Uint64(text)
	le.PutUint64(other, first^change)
	le.PutUint64(other[32:], le.Uint64(text[32:])+(round(first)-round(first^change))*inverse(prime2))
	return other
}

// Strings that were made to collide under xxhash are told apart.
func TestCollidingStrings(t *testing.T) {
	text := []byte("0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqr")
	other := collide(text, 0, 1)
	if string(other) == string(text) || xxhash.Sum64(other) != xxhash.Sum64(text) {
		t.Fatal("the strings do not collide; the test proves nothing")
	}
	set := func(h *Hasher, p []byte) { _ = h.SetMember(p) }
	for name, feed := range map[string]func(h *Hasher, p []byte){
		"string":         func(h *Hasher, p []byte) { _ = h.StringChunk(p) },
		"string, chunks": func(h *Hasher, p []byte) { _ = h.StringChunk(p[:7]); _ = h.StringChunk(p[7:]) },
		"set":            set,
		"module":         func(h *Hasher, p []byte) { _ = h.ModulePayload(p) },
	} {
		a, b := NewHasher(), NewHasher()
		feed(a, text)
		feed(b, other)
		fa, fb := a.Sum(), b.Sum()
		if fa.Value != fb.Value {
			t.Errorf("%s: the hash without a key tells them apart; the test proves nothing", name)
		}
		if fa.SameValue(&fb) {
			t.Errorf("%s: called the same", name)
		}
	}
}

// A seed would not have been enough: with the highest bit of a lane changed, a pair collides under every second seed.
func TestCollidingWhateverTheSeed(t *testing.T) {
	text := []byte("0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqr")
	other := collide(text, 12345, 1<<63)
	collisions := 0
	for seed := range uint64(1000) {
		sum := func(p []byte) uint64 {
			d := xxhash.NewWithSeed(seed * 0x9e3779b97f4a7c15)
			d.Write(p)
			return d.Sum64()
		}
		if sum(text) == sum(other) {
			collisions++
		}
	}
	if collisions < 100 {
		t.Errorf("collides under %d of 1000 seeds; the test proves nothing", collisions)
	}
	a, b := NewHasher(), NewHasher()
	_ = a.StringChunk(text)
	_ = b.StringChunk(other)
	if fa, fb := a.Sum(), b.Sum(); fa.SameValue(&fb) {
		t.Error("called the same")
	}
}

func BenchmarkHasher(b *testing.B) {
	small, large := []byte("0123456789abcdef"), make([]byte, 64<<10)
	h := NewHasher()
	b.Run("hash of 10 fields", func(b *testing.B) {
		for b.Loop() {
			h.Reset()
			for range 10 {
				_ = h.HashField(small, small, 0)
			}
			h.Sum()
		}
	})
	b.Run("64 KB", func(b *testing.B) {
		b.SetBytes(int64(len(large)))
		for b.Loop() {
			h.Reset()
			_ = h.StringChunk(large)
			h.Sum()
		}
	})
}
