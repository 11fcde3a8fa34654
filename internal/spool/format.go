package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The layout is specified in FORMAT.md.
const (
	magic      = "SURESPOL"
	version    = 1
	headerSize = 176
	maxReplID  = 128

	frameHeader = 32
	maxPayload  = 1 << 20

	suffix = ".spool"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segmentName sorts like the first offset.
func segmentName(first int64) string { return fmt.Sprintf("%020d%s", first, suffix) }

func parseSegmentName(name string) (first int64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseInt(digits, 10, 64)
	return first, err == nil && first >= 1 && segmentName(first) == name
}

// header begins a segment.
type header struct {
	first     int64
	createdAt int64 // Unix time in ms
	replID    string
}

// appendTo needs a replID of at most maxReplID bytes.
func (h header) appendTo(dst []byte) []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], headerSize)
	binary.LittleEndian.PutUint64(b[16:], uint64(h.first))
	binary.LittleEndian.PutUint64(b[24:], uint64(h.createdAt))
	b[32] = byte(len(h.replID))
	copy(b[33:], h.replID)
	binary.LittleEndian.PutUint32(b[172:], crc32.Checksum(b[:172], castagnoli))
	return append(dst, b...)
}

// errUnwritten is a header that was being created when the process or the machine stopped.
var errUnwritten = errors.New("unwritten header")

// decodeHeader takes the first bytes of a segment. It returns errUnwritten, an error that
// wraps ErrVersion, or one that says what is wrong.
func decodeHeader(b []byte) (header, error) {
	b = b[:min(len(b), headerSize)]
	if len(b) < headerSize || len(bytes.Trim(b, "\x00")) == 0 {
		return header{}, errUnwritten
	}
	if string(b[:8]) != magic {
		return header{}, fmt.Errorf("this is not a segment of a spool: it begins with %q", b[:8])
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return header{}, fmt.Errorf("%w: it has version %d, and this surecut reads version %d; resume the migration with the surecut that began it", ErrVersion, v, version)
	}
	if n := binary.LittleEndian.Uint32(b[12:]); n != headerSize {
		return header{}, fmt.Errorf("the header claims a length of %d bytes", n)
	}
	if binary.LittleEndian.Uint32(b[172:]) != crc32.Checksum(b[:172], castagnoli) {
		return header{}, errors.New("the header has a wrong checksum")
	}
	h := header{first: int64(binary.LittleEndian.Uint64(b[16:])), createdAt: int64(binary.LittleEndian.Uint64(b[24:]))}
	n := int(b[32])
	if n > maxReplID || h.first < 1 {
		return header{}, errors.New("the header holds impossible values")
	}
	h.replID = string(b[33 : 33+n])
	return h, nil
}

// frame is one record. payload is not copied.
type frame struct {
	receivedAt int64 // Unix time in ms
	start      int64
	durable    int64
	payload    []byte
}

func (f frame) last() int64 { return f.start + int64(len(f.payload)) - 1 }

func (f frame) appendTo(dst []byte) []byte {
	at := len(dst)
	var h [frameHeader]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(len(f.payload)))
	binary.LittleEndian.PutUint64(h[8:], uint64(f.receivedAt))
	binary.LittleEndian.PutUint64(h[16:], uint64(f.start))
	binary.LittleEndian.PutUint64(h[24:], uint64(f.durable))
	dst = append(append(dst, h[:]...), f.payload...)
	binary.LittleEndian.PutUint32(dst[at+4:], frameSum(dst[at:]))
	return dst
}

func frameSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[8:])
}

// What is wrong with a frame.
var (
	errShort  = errors.New("the frame is cut short")
	errLength = errors.New("the frame has an impossible length")
	errSum    = errors.New("the frame has a wrong checksum")
)

// decodeFrame takes the frame at the beginning of b and gives its size with the header.
// With errShort, size is how many bytes it needs at least.
func decodeFrame(b []byte) (f frame, size int, err error) {
	if len(b) < frameHeader {
		return frame{}, frameHeader, errShort
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > maxPayload {
		return frame{}, 0, errLength
	}
	size = frameHeader + int(n)
	if len(b) < size {
		return frame{}, size, errShort
	}
	if binary.LittleEndian.Uint32(b[4:]) != frameSum(b[:size]) {
		return frame{}, 0, errSum
	}
	return frameFields(b[:size:size]), size, nil
}

// frameFields reads the fields of a frame without checking them.
func frameFields(b []byte) frame {
	return frame{
		receivedAt: int64(binary.LittleEndian.Uint64(b[8:])),
		start:      int64(binary.LittleEndian.Uint64(b[16:])),
		durable:    int64(binary.LittleEndian.Uint64(b[24:])),
		payload:    b[frameHeader:],
	}
}
