package sharding

import (
	"hash/crc32"
	"strings"
)

// CodisSlots is the number of slots of every Codis.
const CodisSlots = 1024

// CodisSlot returns the slot of a key: CRC32 (IEEE) of the key or of its hash tag, modulo 1024. Unlike in a Redis Cluster, an empty
// tag "{}" counts: it hashes the empty string.
func CodisSlot(key string) uint16 {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		if n := strings.IndexByte(key[i+1:], '}'); n >= 0 {
			key = key[i+1 : i+1+n]
		}
	}
	return uint16(crc32.ChecksumIEEE([]byte(key)) % CodisSlots)
}
