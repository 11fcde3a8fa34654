package rdb_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
)

// older returns a value without what a server of an RDB version does not keep.
func older(v keyspace.Value, version int) keyspace.Value {
	groups := v.Groups
	v.Groups = nil
	for _, g := range groups {
		g = g.Clone()
		if version < 10 {
			g.EntriesRead = -1
		}
		for i := range g.Consumers {
			if version < 11 {
				g.Consumers[i].ActiveMs = -1
			}
		}
		v.Groups = append(v.Groups, g)
	}
	if version < 10 {
		v.Meta.MaxDeletedID, v.Meta.EntriesAdded, v.Meta.HasCounters = keyspace.StreamID{}, 0, false
	}
	return v
}

// holds returns the version that a server needs to hold a value, and "" if one of this RDB version can.
func holds(v keyspace.Value, version int) string {
	switch {
	case v.Type == keyspace.Stream && version < 9:
		return "5.0"
	case v.Type == keyspace.Module && version < 8:
		return "4.0"
	}
	for _, f := range v.Hash {
		if f.ExpireAt != 0 && version < 12 {
			return "7.4"
		}
	}
	return ""
}

// reencode makes the payload of a value for each version and reads it back.
func reencode(t *testing.T, key string, rdbType byte, raw []byte) {
	t.Helper()
	whole := keyspace.Collector{V: keyspace.Value{Type: rdb.TypeOf(rdbType)}}
	if err := rdb.WalkValue(rdbType, raw, &whole); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	for _, s := range serverVersions {
		payload, err := rdb.Encoder{Version: s.version}.Append([]byte("before"), rdbType, raw)
		if since := holds(whole.V, s.version); since != "" {
			var unsupported *rdb.UnsupportedError
			if !errors.As(err, &unsupported) || !strings.HasPrefix(unsupported.Since, since) || string(payload) != "before" {
				t.Errorf("%s for %s: %v, want an error that names %s", key, s.name, err, since)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s for %s: %v", key, s.name, err)
			continue
		}
		payload = payload[len("before"):]
		if bytes.IndexByte(s.types, payload[0]) < 0 {
			t.Errorf("%s for %s: type %d, which it does not read", key, s.name, payload[0])
		}
		if version := int(binary.LittleEndian.Uint16(payload[len(payload)-10:])); version != s.version {
			t.Errorf("%s for %s: stamped with version %d", key, s.name, version)
		}
		if kept := bytes.IndexByte(s.types, rdbType) >= 0; kept && !bytes.Equal(payload[1:len(payload)-10], raw) {
			t.Errorf("%s for %s: the server reads type %d, and its bytes were changed", key, s.name, rdbType)
		}
		got, err := rdb.DecodeDump(payload)
		want := whole.V
		if payload[0] != rdbType {
			want = older(want, s.version)
		}
		if err != nil || !sameValue(got, want) {
			t.Errorf("%s for %s: type %d became %d: %v\n got %.300v\nwant %.300v", key, s.name, rdbType, payload[0], err, got, want)
		}
		again, err := rdb.Encoder{Version: s.version}.Payload(rdb.AppendDump(nil, rdbType, raw, sourceVersion(rdbType)))
		if err != nil || payload[0] != rdbType && !bytes.Equal(again, payload) {
			t.Errorf("%s for %s: its DUMP payload becomes another value: %v", key, s.name, err)
		}
	}
}

// sameValue compares scores bit by bit, since reflect takes -0 for 0.
func sameValue(a, b keyspace.Value) bool {
	if len(a.ZSet) != len(b.ZSet) {
		return false
	}
	for i := range a.ZSet {
		x, y := a.ZSet[i], b.ZSet[i]
		if math.Float64bits(x.Score) != math.Float64bits(y.Score) && (x.Score == x.Score || y.Score == y.Score) || !bytes.Equal(x.Name, y.Name) {
			return false
		}
	}
	a.ZSet, b.ZSet = nil, nil
	if len(a.Groups)+len(b.Groups) == 0 {
		a.Groups, b.Groups = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

func sourceVersion(rdbType byte) int {
	if rdbType == rdb.TypeValkeyHash2 {
		return 80
	}
	return 13
}

func TestFixturesReencode(t *testing.T) {
	for _, f := range fixtures.All(t) {
		t.Run(f.Version, func(t *testing.T) {
			keys := 0
			r := rdb.NewReader(bytes.NewReader(f.DumpRDB), rdb.Options{})
			for {
				e, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if e.Kind == rdb.KindKey {
					reencode(t, fmt.Sprintf("%q", e.Key), e.Type, e.Raw)
					keys++
				}
			}
			if keys != len(f.Expected) {
				t.Errorf("%d keys of %d", keys, len(f.Expected))
			}
		})
	}
}

func TestValuesReencode(t *testing.T) {
	for _, tt := range valueTests() {
		t.Run(tt.name, func(t *testing.T) { reencode(t, tt.name, tt.rdbType, tt.raw) })
	}
	odd := []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64, math.SmallestNonzeroFloat64,
		0.1, 1.0 / 3, -1e-300, 1 << 53, 1<<53 + 2, math.Nextafter(1, 2)}
	var raw []byte
	for i, score := range odd {
		raw = append(append(raw, str(fmt.Sprint(i))...), le64(math.Float64bits(score))...)
	}
	t.Run("scores", func(t *testing.T) { reencode(t, "scores", rdb.TypeZSet2, cat(length(len(odd)), raw)) })
	for _, n := range []int{0, 1, 63, 64, 16383, 16384, 70000} {
		var all []any
		for i := range n {
			all = append(all, i)
		}
		t.Run(fmt.Sprintf("%d members", n), func(t *testing.T) { reencode(t, "set", rdb.TypeSetListpack, str(listpack(all...))) })
	}
}

func TestReencodeRefuses(t *testing.T) {
	blob := str(listpack("a", "b"))
	tests := []struct {
		name, why string
		encoder   rdb.Encoder
		rdbType   byte
		raw       []byte
		want      func(error) bool
	}{
		{"too large", "a compressed value grows", rdb.Encoder{Version: 10, Max: 1000}, rdb.TypeSetListpack, literalLZF(listpack(strings.Repeat("x", 1000))),
			func(err error) bool { return errors.Is(err, rdb.ErrTooLarge) }},
		{"cut short", "", rdb.Encoder{Version: 10}, rdb.TypeSetListpack, blob[:len(blob)-1], isFormat},
		{"bytes behind", "", rdb.Encoder{Version: 10}, rdb.TypeSetListpack, append(blob[:len(blob):len(blob)], 0), isFormat},
		{"stream cut short", "", rdb.Encoder{Version: 10}, rdb.TypeStream3, streamTests()[2].raw[:50], isFormat},
		{"bytes behind a stream", "", rdb.Encoder{Version: 10}, rdb.TypeStream3, append(bytes.Clone(streamTests()[2].raw), 0), isFormat},
		{"unknown type", "", rdb.Encoder{Version: 10}, 99, blob, isFormat},
		{"release candidate", "", rdb.Encoder{Version: 10}, rdb.TypeHashListpackPre, blob, isFormat},
	}
	for _, tt := range tests {
		if out, err := tt.encoder.Append([]byte("before"), tt.rdbType, tt.raw); !tt.want(err) || string(out) != "before" {
			t.Errorf("%s (%s): %v", tt.name, tt.why, err)
		}
	}
	if _, err := (rdb.Encoder{Version: 10}).Payload(rdb.AppendDump(nil, rdb.TypeValkeyHash2, []byte{0}, 12)); err == nil {
		t.Error("type 22 of Redis is taken for Valkey's")
	}
	damaged := rdb.AppendDump(nil, 0, str("v"), 12)
	damaged[1] ^= 1
	if _, err := (rdb.Encoder{Version: 10}).Payload(damaged); !errors.Is(err, rdb.ErrChecksum) {
		t.Errorf("damaged payload: %v", err)
	}
}

func isFormat(err error) bool { return errors.As(err, new(*rdb.FormatError)) }

// FuzzReencode checks that what decodes is the same value in every encoding, and that what does not is refused by each.
func FuzzReencode(f *testing.F) {
	for _, tt := range valueTests() {
		if len(tt.raw) < 2000 {
			f.Add(tt.rdbType, tt.raw)
		}
	}
	for _, x := range fixtures.All(f) {
		r := rdb.NewReader(bytes.NewReader(x.DumpRDB), rdb.Options{})
		for e, err := r.Next(); err == nil; e, err = r.Next() {
			if e.Kind == rdb.KindKey && len(e.Raw) < 500 {
				f.Add(e.Type, bytes.Clone(e.Raw))
			}
		}
	}
	f.Fuzz(func(t *testing.T, rdbType byte, raw []byte) {
		if _, err := rdb.DecodeDump(rdb.AppendDump(nil, rdbType, raw, 80)); err == nil {
			reencode(t, "value", rdbType, raw)
			return
		}
		for _, s := range serverVersions {
			if out, err := (rdb.Encoder{Version: s.version, Max: 1 << 20}).Append(nil, rdbType, raw); err != nil && len(out) > 0 {
				t.Fatalf("an error and %d bytes: %v", len(out), err)
			}
		}
	})
}
