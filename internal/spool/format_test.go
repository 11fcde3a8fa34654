package spool

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// FuzzDecodeFrame: no input panics or is read past its end; what decodes, encodes to the same.
func FuzzDecodeFrame(f *testing.F) {
	f.Add(frame{receivedAt: 1, start: 2, durable: 1, payload: []byte("abc")}.appendTo(nil))
	f.Add(frame{receivedAt: -1, start: 1 << 60, payload: make([]byte, 3000)}.appendTo(nil)[:2000])
	f.Add([]byte{})
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, size, err := decodeFrame(b)
		switch err {
		case nil:
			if again := got.appendTo(nil); size != len(again) || !bytes.Equal(again, b[:size]) {
				t.Fatalf("%x became %x", b[:size], again)
			}
		case errShort:
			if size <= len(b) || size > frameHeader+maxPayload {
				t.Fatalf("short: wants %d, has %d", size, len(b))
			}
		}
	})
}

func FuzzFrameRoundTrip(f *testing.F) {
	f.Add(int64(1), int64(2), int64(3), []byte("x"), uint16(40))
	f.Fuzz(func(t *testing.T, receivedAt, start, durable int64, payload []byte, flip uint16) {
		if len(payload) == 0 {
			return
		}
		b := frame{receivedAt, start, durable, payload}.appendTo([]byte("before"))[6:]
		got, size, err := decodeFrame(append(b, "behind"...))
		if err != nil || size != len(b) || got.receivedAt != receivedAt || got.start != start || got.durable != durable || !bytes.Equal(got.payload, payload) {
			t.Fatalf("%+v, %d, %v", got, size, err)
		}
		b[int(flip)%len(b)] ^= 1
		if _, _, err := decodeFrame(b); err == nil {
			t.Fatalf("a flipped bit at %d went unnoticed", int(flip)%len(b))
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add(header{first: 1, createdAt: 2, replID: "id"}.appendTo(nil))
	f.Add(header{first: 1 << 62, replID: strings.Repeat("x", maxReplID)}.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHeader(b)
		if err != nil {
			return
		}
		if again, err := decodeHeader(h.appendTo(nil)); err != nil || again != h {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
	})
}

// The bytes were made from FORMAT.md by another program: files of this version stay readable.
func TestFormatIsPinned(t *testing.T) {
	h := header{first: 101, createdAt: 1700000000000, replID: "abcd"}
	wantHeader := "5355524553504f4c01000000b000000065000000000000000068e5cf8b0100000461626364" + strings.Repeat("00", 124+11) + "9f996dcc"
	if got := hex.EncodeToString(h.appendTo(nil)); got != wantHeader {
		t.Errorf("header\n%s, want\n%s", got, wantHeader)
	}
	f := frame{receivedAt: 1700000000001, start: 101, durable: 100, payload: []byte("xyz")}
	const wantFrame = "030000006e3486500168e5cf8b0100006500000000000000640000000000000078797a"
	if got := hex.EncodeToString(f.appendTo(nil)); got != wantFrame {
		t.Errorf("frame\n%s, want\n%s", got, wantFrame)
	}
}

func TestSegmentName(t *testing.T) {
	for _, first := range []int64{1, 901, 1<<63 - 1} {
		if got, ok := parseSegmentName(segmentName(first)); !ok || got != first {
			t.Errorf("%d: %d %v", first, got, ok)
		}
	}
	for _, name := range []string{"", "lock", ".spool", "1.spool", "0000000000000000000x.spool", "-0000000000000000001.spool", "+0000000000000000001.spool", "99999999999999999999.spool"} {
		if _, ok := parseSegmentName(name); ok {
			t.Errorf("%q taken for a segment", name)
		}
	}
}
