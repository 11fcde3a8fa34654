package rdb

import (
	"math/rand/v2"
	"testing"
)

func TestCRC64(t *testing.T) {
	if got := CRC64(0, []byte("123456789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("check value %016x", got)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	p := make([]byte, 1000)
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	slow := func(p []byte) (crc uint64) {
		for _, b := range p {
			crc ^= uint64(b)
			for range 8 {
				if crc&1 != 0 {
					crc = crc>>1 ^ crcPoly
				} else {
					crc >>= 1
				}
			}
		}
		return crc
	}
	for range 200 {
		n := rnd.IntN(len(p))
		cut := rnd.IntN(n + 1)
		if got, want := CRC64(CRC64(0, p[:cut]), p[cut:n]), slow(p[:n]); got != want {
			t.Fatalf("%d bytes cut at %d: %016x, want %016x", n, cut, got, want)
		}
	}
}

func BenchmarkCRC64(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"64", 64}, {"64K", 64 << 10}} {
		p := make([]byte, size.n)
		b.Run(size.name, func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				CRC64(0, p)
			}
		})
	}
}
