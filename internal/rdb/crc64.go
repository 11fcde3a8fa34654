package rdb

import (
	"encoding/binary"
	"sync"
)

// crcPoly is the Jones polynomial 0xad93d23594c935a9 with its bits reversed.
const crcPoly = 0x95ac9329ac4bc9b5

// crcTables allow the processing of sixteen bytes at a time: table k advances a byte by k additional zero bytes.
var crcTables = sync.OnceValue(func() *[16][256]uint64 {
	var t [16][256]uint64
	for i := range 256 {
		crc := uint64(i)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ crcPoly
			} else {
				crc >>= 1
			}
		}
		t[0][i] = crc
	}
	for i := range 256 {
		for k := 1; k < len(t); k++ {
			t[k][i] = t[k-1][i]>>8 ^ t[0][byte(t[k-1][i])]
		}
	}
	return &t
})

// CRC64 continues the checksum that Redis puts at the end of RDB files and DUMP payloads (Jones polynomial, reflected, no final
// complement) with the bytes of p. The initial value is 0.
func CRC64(crc uint64, p []byte) uint64 {
	t := crcTables()
	for len(p) >= 16 { // half of the lookups do not wait for the checksum so far
		crc ^= binary.LittleEndian.Uint64(p)
		next := binary.LittleEndian.Uint64(p[8:])
		crc = t[15][byte(crc)] ^ t[14][byte(crc>>8)] ^ t[13][byte(crc>>16)] ^ t[12][byte(crc>>24)] ^
			t[11][byte(crc>>32)] ^ t[10][byte(crc>>40)] ^ t[9][byte(crc>>48)] ^ t[8][crc>>56] ^
			t[7][byte(next)] ^ t[6][byte(next>>8)] ^ t[5][byte(next>>16)] ^ t[4][byte(next>>24)] ^
			t[3][byte(next>>32)] ^ t[2][byte(next>>40)] ^ t[1][byte(next>>48)] ^ t[0][next>>56]
		p = p[16:]
	}
	if len(p) >= 8 {
		crc ^= binary.LittleEndian.Uint64(p)
		crc = t[7][byte(crc)] ^ t[6][byte(crc>>8)] ^ t[5][byte(crc>>16)] ^ t[4][byte(crc>>24)] ^
			t[3][byte(crc>>32)] ^ t[2][byte(crc>>40)] ^ t[1][byte(crc>>48)] ^ t[0][crc>>56]
		p = p[8:]
	}
	for _, b := range p {
		crc = crc>>8 ^ t[0][byte(crc)^b]
	}
	return crc
}
