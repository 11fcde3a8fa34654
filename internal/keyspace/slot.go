package keyspace

import (
	"strconv"
	"strings"
	"sync"
)

// Slots is the number of hash slots of a Redis Cluster.
const Slots = 16384

// Slot returns the Redis Cluster slot of a key: CRC16 (XMODEM) of its hash tag, or of the whole name where there is no tag. An
// empty tag "{}" does not count.
func Slot(name string) uint16 {
	if open := strings.IndexByte(name, '{'); open >= 0 {
		if n := strings.IndexByte(name[open+1:], '}'); n > 0 {
			name = name[open+1 : open+1+n]
		}
	}
	var crc uint16
	for i := 0; i < len(name); i++ {
		crc = crc<<8 ^ crc16Table[byte(crc>>8)^name[i]]
	}
	return crc % Slots
}

var crc16Table = func() (t [256]uint16) {
	for i := range t {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		t[i] = crc
	}
	return t
}()

var slotTags = sync.OnceValue(func() *[Slots]string {
	var tags [Slots]string
	for i, left := 0, Slots; left > 0; i++ {
		tag := strconv.FormatInt(int64(i), 36)
		if s := Slot(tag); tags[s] == "" {
			tags[s], left = tag, left-1
		}
	}
	return &tags
})

// SlotTag returns a short hash tag of the slot, so that a name with "{" + tag + "}" is in that slot.
func SlotTag(slot uint16) string { return slotTags()[slot] }
