package target

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/internal/resp"
)

// recorder keeps commands as text.
type recorder struct{ commands []string }

func (r *recorder) emit(args ...[]byte) error {
	r.commands = append(r.commands, string(bytes.Join(args, []byte(" "))))
	return nil
}

func TestRebuildCommands(t *testing.T) {
	id := func(ms, seq uint64) keyspace.StreamID { return keyspace.StreamID{Ms: ms, Seq: seq} }
	stream := func(b *rebuild) error {
		group := keyspace.Group{Name: []byte("g"), LastID: id(2, 0), EntriesRead: 2,
			Consumers: []keyspace.Consumer{{Name: []byte("c")}},
			Pending: []keyspace.Pending{
				{ID: id(1, 0), Consumer: []byte("c"), DeliveryMs: 9, DeliveryCount: 1},
				{ID: id(1, 5), Consumer: []byte("c"), DeliveryMs: 9, DeliveryCount: 1},
				{ID: id(2, 0), Consumer: []byte("c"), DeliveryMs: 9, DeliveryCount: 1},
				{ID: id(3, 0), Consumer: []byte("c"), DeliveryMs: 9, DeliveryCount: 4},
			}}
		return errors.Join(b.StreamEntry(id(1, 0), [][]byte{[]byte("f"), []byte("v")}), b.StreamEntry(id(2, 0), [][]byte{[]byte("f"), []byte("v")}),
			b.StreamMeta(keyspace.StreamMeta{Length: 2, LastID: id(3, 0), MaxDeletedID: id(3, 0), EntriesAdded: 3, HasCounters: true}),
			b.StreamGroup(group))
	}
	tests := []struct {
		name, why string
		number    int
		build     func(b *rebuild) error
		expireAt  int64
		want      []string
		lost      int
		err       error
	}{
		{name: "string", number: 70000, build: func(b *rebuild) error { return errors.Join(b.StringChunk([]byte("a")), b.StringChunk([]byte("b"))) },
			expireAt: 5, want: []string{"SET k ab", "PEXPIREAT k 5"}},
		{name: "empty string", why: "it is a value all the same", number: 70000, build: func(b *rebuild) error { return b.StringChunk(nil) }, want: []string{"SET k "}},
		{name: "list", number: 70000, build: func(b *rebuild) error {
			return errors.Join(b.ListElement([]byte("a")), b.ListElement(nil))
		}, want: []string{"RPUSH k a "}},
		{name: "scores", why: "must read back the same", number: 70000, build: func(b *rebuild) error {
			return errors.Join(b.ZSetMember([]byte("a"), 0.1), b.ZSetMember([]byte("b"), math.Inf(1)), b.ZSetMember([]byte("c"), math.Inf(-1)), b.ZSetMember([]byte("d"), 1e300))
		}, want: []string{"ZADD k 0.1 a inf b -inf c 1e+300 d"}},
		{name: "hash before 4.0", number: 32000, build: func(b *rebuild) error { return b.HashField([]byte("f"), []byte("v"), 0) }, want: []string{"HMSET k f v"}},
		{name: "fields that expire", number: 70400, build: func(b *rebuild) error {
			return errors.Join(b.HashField([]byte("f"), []byte("v"), 7), b.HashField([]byte("g"), []byte("v"), 7), b.HashField([]byte("h"), []byte("v"), 0), b.HashField([]byte("i"), []byte("v"), 8))
		}, want: []string{"HSET k f v g v h v i v", "HPEXPIREAT k 7 FIELDS 2 f g", "HPEXPIREAT k 8 FIELDS 1 i"}},
		{name: "fields that expire before 7.4", number: 70200, build: func(b *rebuild) error { return b.HashField([]byte("f"), []byte("v"), 7) }, err: fieldTTLUnsupported},
		{name: "stream before 5.0", number: 40014, build: stream, err: streamUnsupported},
		{name: "stream", number: 70000, build: stream, lost: 2, want: []string{"XADD k 1-0 f v", "XADD k 2-0 f v", "XSETID k 3-0 ENTRIESADDED 3 MAXDELETEDID 3-0",
			"XGROUP CREATE k g 2-0 ENTRIESREAD 2", "XGROUP CREATECONSUMER k g c", "XCLAIM k g c 0 1-0 2-0 TIME 9 RETRYCOUNT 1 FORCE JUSTID"}},
		{name: "stream on 5.0", number: 50000, build: stream, lost: 2, want: []string{"XADD k 1-0 f v", "XADD k 2-0 f v", "XSETID k 3-0",
			"XGROUP CREATE k g 2-0", "XREADGROUP GROUP g c COUNT 1 STREAMS k 0", "XCLAIM k g c 0 1-0 2-0 TIME 9 RETRYCOUNT 1 FORCE JUSTID"}},
		{name: "empty stream", number: 70000, build: func(b *rebuild) error { return b.StreamMeta(keyspace.StreamMeta{LastID: id(7, 3)}) },
			want: []string{"XADD k MAXLEN 0 7-3 x x", "XSETID k 7-3 ENTRIESADDED 0 MAXDELETEDID 0-0"}},
		{name: "stream that never had an entry", number: 70000, build: func(b *rebuild) error { return b.StreamMeta(keyspace.StreamMeta{}) },
			want: []string{"XGROUP CREATE k __surecut 0 MKSTREAM", "XGROUP DESTROY k __surecut"}},
		{name: "module", number: 80000, build: func(b *rebuild) error { return b.ModulePayload(nil) }, err: moduleUnsupported},
	}
	for _, tt := range tests {
		var r recorder
		b := newRebuild([]byte("k"), command.DialectOf(tt.number, 0), r.emit)
		err := tt.build(b)
		if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) || err != nil && !isUnsupported(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil {
			continue
		}
		if err := b.Finish(tt.expireAt); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got, want := strings.Join(r.commands, "\n"), strings.Join(tt.want, "\n"); got != want {
			t.Errorf("%s (%s):\n%s\nwant\n%s", tt.name, tt.why, got, want)
		}
		if len(b.Lost) != tt.lost {
			t.Errorf("%s: lost %q", tt.name, b.Lost)
		}
	}
}

// TestRebuildChunks: no command exceeds the limits, except by one large element, and nothing is left out.
func TestRebuildChunks(t *testing.T) {
	var got [][]byte
	large := bytes.Repeat([]byte("x"), chunkBytes+1)
	b := newRebuild([]byte("k"), command.DialectOf(70000, 0), func(args ...[]byte) error {
		size := 0
		for _, a := range args[2:] {
			size += len(a)
			got = append(got, bytes.Clone(a))
		}
		if string(args[0]) != "RPUSH" || len(args)-2 > chunkElements || size > chunkBytes && len(args) > 3 {
			t.Errorf("%s with %d elements of %d bytes", args[0], len(args)-2, size)
		}
		return nil
	})
	var want [][]byte
	for i := range 20000 {
		e := []byte(fmt.Sprintf("element-%d-%s", i, strings.Repeat("y", i%3000)))
		if i%5000 == 77 {
			e = large
		}
		want = append(want, e)
		if err := b.ListElement(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Finish(0); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d elements, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(want[i], got[i]) {
			t.Fatalf("element %d differs", i)
		}
	}
}

func TestRebuildLargeString(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 300000)
	var got []byte
	b := newRebuild([]byte("k"), command.DialectOf(70000, 0), func(args ...[]byte) error {
		if command := string(args[0]); command != "APPEND" && (command != "SET" || got != nil) || len(args[2]) > chunkBytes {
			t.Errorf("%s of %d bytes", command, len(args[2]))
		}
		got = append(got, args[2]...)
		return nil
	})
	for rest := want; len(rest) > 0; {
		n := min(len(rest), 65536)
		if err := b.StringChunk(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := b.Finish(0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
}

func TestIDLog(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var log idLog
	held := map[keyspace.StreamID]bool{}
	var all []keyspace.StreamID
	at := keyspace.StreamID{Ms: rnd.Uint64N(1000)}
	for range 5000 {
		if rnd.IntN(2) == 0 {
			at.Seq += 1 + rnd.Uint64N(300)
		} else {
			at = keyspace.StreamID{Ms: at.Ms + 1 + rnd.Uint64N(1<<40), Seq: rnd.Uint64N(3)}
		}
		all = append(all, at)
		if rnd.IntN(3) > 0 {
			held[at] = true
			log.add(at)
		}
	}
	r := log.reader()
	for _, id := range all {
		if r.has(id) != held[id] {
			t.Fatalf("has(%s) is %v", id, !held[id])
		}
	}
}

// TestRebuildOfNothing: a value without elements is not one that has expired.
func TestRebuildOfNothing(t *testing.T) {
	b := newRebuild([]byte("k"), command.DialectOf(70000, 0), func(...[]byte) error { return nil })
	if err := b.Finish(1); !errors.Is(err, keyspace.ErrEmpty) {
		t.Errorf("%v", err)
	}
	if err := errors.Join(b.StringChunk(nil), b.Finish(1)); err != nil {
		t.Errorf("an empty string: %v", err)
	}
}

// TestRebuildTooLong: the length of a string is told, whether the target refuses it at once or only when much of it is sent.
func TestRebuildTooLong(t *testing.T) {
	const refusal = resp.Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
	for _, late := range []bool{false, true} {
		b := newRebuild([]byte("k"), command.DialectOf(70000, 0), func(args ...[]byte) error {
			if !late && string(args[0]) == "APPEND" {
				return refusal
			}
			return nil
		})
		var err error
		for range 30 {
			err = errors.Join(err, b.StringChunk(make([]byte, 100<<10)))
		}
		if err = errors.Join(err, b.Finish(0)); late { // what was sent last is answered when all is done
			err = errors.Join(err, b.explained(refusal))
		}
		if large := (*TooLargeError)(nil); !errors.As(err, &large) || large.Size != 3000<<10 {
			t.Errorf("late %v: %v", late, err)
		}
	}
}
