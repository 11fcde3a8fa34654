package sharding

import (
	"crypto/md5"
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// hashes are twemproxy's hash functions by their names in its configuration. Where twemproxy reads a byte as a signed char, as on
// x86, these functions do, too.
var hashes = map[string]func(key string) uint32{
	"one_at_a_time": oneAtATime,
	"md5":           md5Hash,
	"crc16":         crc16,
	"crc32":         func(key string) uint32 { return crc32.ChecksumIEEE([]byte(key)) >> 16 & 0x7fff },
	"crc32a":        func(key string) uint32 { return crc32.ChecksumIEEE([]byte(key)) },
	"fnv1_64":       fnv1x64,
	"fnv1a_64":      fnv1ax64,
	"fnv1_32":       fnv1x32,
	"fnv1a_32":      fnv1ax32,
	"hsieh":         hsieh,
	"murmur":        murmur,
	"jenkins":       jenkins,
}

// Hashes lists the names of the hash functions.
func Hashes() []string {
	var names []string
	for name := range hashes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// signed converts a byte as C on x86 converts a char to an unsigned 32-bit number.
func signed(b byte) uint32 { return uint32(int32(int8(b))) }

func oneAtATime(key string) uint32 {
	var v uint32
	for i := range len(key) {
		v += signed(key[i])
		v += v << 10
		v ^= v >> 6
	}
	v += v << 3
	v ^= v >> 11
	v += v << 15
	return v
}

func md5Hash(key string) uint32 {
	sum := md5.Sum([]byte(key))
	return binary.LittleEndian.Uint32(sum[:])
}

// crc16 is CRC-16/XMODEM without dropping the bits above the sixteenth.
func crc16(key string) uint32 {
	var crc uint32
	for i := range len(key) {
		step := (crc>>8 ^ uint32(key[i])) & 0xff << 8
		for range 8 {
			if step&0x8000 != 0 {
				step = step<<1 ^ 0x1021
			} else {
				step <<= 1
			}
		}
		crc = crc<<8 ^ step&0xffff
	}
	return crc
}

const (
	fnv64Init  = 0xcbf29ce484222325
	fnv64Prime = 0x100000001b3
	fnv32Init  = 2166136261
	fnv32Prime = 16777619
)

func fnv1x64(key string) uint32 {
	h := uint64(fnv64Init)
	for i := range len(key) {
		h *= fnv64Prime
		h ^= uint64(int64(int8(key[i])))
	}
	return uint32(h)
}

// fnv1ax64 computes with 32 bits, as twemproxy does.
func fnv1ax64(key string) uint32 {
	h, prime := uint64(fnv64Init), uint64(fnv64Prime)
	v := uint32(h)
	for i := range len(key) {
		v ^= signed(key[i])
		v *= uint32(prime)
	}
	return v
}

func fnv1x32(key string) uint32 {
	h := uint32(fnv32Init)
	for i := range len(key) {
		h *= fnv32Prime
		h ^= signed(key[i])
	}
	return h
}

func fnv1ax32(key string) uint32 {
	h := uint32(fnv32Init)
	for i := range len(key) {
		h ^= signed(key[i])
		h *= fnv32Prime
	}
	return h
}

func hsieh(key string) uint32 {
	pair := func(i int) uint32 { return uint32(key[i]) | uint32(key[i+1])<<8 }
	var h uint32
	if key == "" {
		return 0
	}
	for len(key) >= 4 {
		h += pair(0)
		h = h<<16 ^ pair(2)<<11 ^ h
		h += h >> 11
		key = key[4:]
	}
	switch len(key) {
	case 3:
		h += pair(0)
		h ^= h << 16
		h ^= signed(key[2]) << 18
		h += h >> 11
	case 2:
		h += pair(0)
		h ^= h << 11
		h += h >> 17
	case 1:
		h += uint32(key[0])
		h ^= h << 10
		h += h >> 1
	}
	h ^= h << 3
	h += h >> 5
	h ^= h << 4
	h += h >> 17
	h ^= h << 25
	h += h >> 6
	return h
}

func murmur(key string) uint32 {
	const m = 0x5bd1e995
	n := uint32(len(key))
	h := 0xdeadbeef*n ^ n
	for ; len(key) >= 4; key = key[4:] {
		k := uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24
		k *= m
		k ^= k >> 24
		k *= m
		h *= m
		h ^= k
	}
	for i := len(key) - 1; i >= 0; i-- {
		h ^= uint32(key[i]) << (8 * i)
		if i == 0 {
			h *= m
		}
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}

// jenkins is lookup3 with the initial value 13.
func jenkins(key string) uint32 {
	a := 0xdeadbeef + uint32(len(key)) + 13
	b, c := a, a
	rot := func(x uint32, k int) uint32 { return x<<k | x>>(32-k) }
	word := func(i int) uint32 {
		var w uint32
		for j := 0; j < 4 && i+j < len(key); j++ {
			w |= uint32(key[i+j]) << (8 * j)
		}
		return w
	}
	for len(key) > 12 {
		a += word(0)
		b += word(4)
		c += word(8)
		a -= c
		a ^= rot(c, 4)
		c += b
		b -= a
		b ^= rot(a, 6)
		a += c
		c -= b
		c ^= rot(b, 8)
		b += a
		a -= c
		a ^= rot(c, 16)
		c += b
		b -= a
		b ^= rot(a, 19)
		a += c
		c -= b
		c ^= rot(b, 4)
		b += a
		key = key[12:]
	}
	if key == "" {
		return c
	}
	a += word(0)
	b += word(4)
	c += word(8)
	c ^= b
	c -= rot(b, 14)
	a ^= c
	a -= rot(c, 11)
	b ^= a
	b -= rot(a, 25)
	c ^= b
	c -= rot(b, 16)
	a ^= c
	a -= rot(c, 4)
	b ^= a
	b -= rot(a, 14)
	c ^= b
	c -= rot(b, 24)
	return c
}
