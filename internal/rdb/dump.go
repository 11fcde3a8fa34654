package rdb

import (
	"encoding/binary"
	"fmt"

	"surecut/internal/keyspace"
)

// AppendDump appends the payload that RESTORE accepts for a value: its type, its raw bytes, the RDB version (two bytes) and a CRC64
// over all of these. A server refuses a version above its own.
func AppendDump(dst []byte, rdbType byte, raw []byte, rdbVersion int) []byte {
	start := len(dst)
	dst = append(dst, rdbType)
	dst = append(dst, raw...)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(rdbVersion))
	return binary.LittleEndian.AppendUint64(dst, CRC64(0, dst[start:]))
}

// These are the highest RDB versions that are known. Valkey's own versions begin with 80.
const (
	newestRedis  = 14
	newestValkey = 89
)

// Dump is a DUMP payload divided into its parts.
type Dump struct {
	Type    byte
	Raw     []byte // a part of the payload
	Version int
}

// SplitDump divides a payload into its parts and checks it. Its error wraps ErrChecksum or ErrVersion where one of these is the
// reason.
func SplitDump(payload []byte) (Dump, error) {
	const trailer = 2 + 8
	if len(payload) < 1+trailer {
		return Dump{}, fmt.Errorf("DUMP payload of %d bytes is too short", len(payload))
	}
	body, sum := payload[:len(payload)-8], binary.LittleEndian.Uint64(payload[len(payload)-8:])
	if got := CRC64(0, body); got != sum {
		return Dump{}, fmt.Errorf("DUMP payload: %w: it contains %016x, but its bytes give %016x", ErrChecksum, sum, got)
	}
	d := Dump{Type: body[0], Raw: body[1 : len(body)-2], Version: int(binary.LittleEndian.Uint16(body[len(body)-2:]))}
	if d.Version < 1 || d.Version > newestRedis && d.Version < valkeyVersion || d.Version > newestValkey {
		return d, fmt.Errorf("DUMP payload: %w %d", ErrVersion, d.Version)
	}
	return d, nil
}

// DecodeDump builds the value of a DUMP payload. The payload holds no expiry of the key.
func DecodeDump(payload []byte) (keyspace.Value, error) {
	d, err := SplitDump(payload)
	if err != nil {
		return keyspace.Value{}, err
	}
	if err := refuse(d.Type, d.Version >= valkeyVersion); err != nil {
		return keyspace.Value{}, fmt.Errorf("DUMP payload: %w", err)
	}
	c := keyspace.Collector{V: keyspace.Value{Type: TypeOf(d.Type)}}
	if err := WalkValue(d.Type, d.Raw, &c); err != nil {
		return keyspace.Value{}, fmt.Errorf("DUMP payload: %w", err)
	}
	return c.V, nil
}
