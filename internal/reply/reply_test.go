package reply

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

type refused string

// message makes a reply as the client hands it over: of a string, a number, nil, an error or a list of these.
func message(t testing.TB, v any) *rueidis.RedisMessage {
	t.Helper()
	m := &rueidis.RedisMessage{}
	if err := m.CacheUnmarshalView(appendMessage(make([]byte, 7), v)); err != nil {
		t.Fatal(err)
	}
	return m
}

func appendMessage(p []byte, v any) []byte {
	head := func(kind byte, n int) { p = binary.BigEndian.AppendUint64(append(p, kind), uint64(n)) }
	switch v := v.(type) {
	case nil:
		head('_', 0)
	case int:
		head(':', v)
	case string:
		head('$', len(v))
		p = append(p, v...)
	case refused:
		head('-', len(v))
		p = append(p, v...)
	case []any:
		head('*', len(v))
		for _, e := range v {
			p = appendMessage(p, e)
		}
	}
	return p
}

type list = []any

func TestTime(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   any
		want int64 // Unix µs, -1: an error
	}{
		{"a time", list{"1700000000", "123456"}, 1700000000123456},
		{"the beginning", list{"0", "0"}, 0},
		{"one part", list{"1700000000"}, -1},
		{"three parts", list{"1", "2", "3"}, -1},
		{"no number", list{"1700000000", "x"}, -1},
		{"nil in it", list{"1700000000", nil}, -1},
		{"more than a second", list{"1700000000", "1000000"}, -1},
		{"before the beginning", list{"-1", "0"}, -1},
		{"beyond all time", list{"9223372036854775807", "0"}, -1},
		{"refused", refused("NOPERM no"), -1},
		{"nil", nil, -1},
	} {
		got, err := Time(message(t, tt.in))
		if err != nil != (tt.want < 0) || err == nil && got.UnixMicro() != tt.want || err != nil && got.UnixMilli() != 0 {
			t.Errorf("%s: %v, %v, want %d", tt.name, got, err, tt.want)
		}
	}
}

func TestScan(t *testing.T) {
	for _, tt := range []struct {
		name   string
		in     any
		cursor string
		page   []string
		ok     bool
	}{
		{"a page", list{"17", list{"a", "b\x00"}}, "17", []string{"a", "b\x00"}, true},
		{"an empty page", list{"17", list{}}, "17", []string{}, true},
		{"the last", list{"0", list{"a"}}, "0", []string{"a"}, true},
		{"a large cursor", list{"18446744073709551615", list{}}, "18446744073709551615", []string{}, true},
		{"no cursor", list{"x", list{}}, "", nil, false},
		{"no page", list{"0", nil}, "", nil, false},
		{"nil in the page", list{"0", list{nil}}, "", nil, false},
		{"one part", list{"0"}, "", nil, false},
		{"refused", refused("WRONGTYPE no"), "", nil, false},
	} {
		cursor, page, err := Scan(message(t, tt.in))
		var names []string
		if err == nil {
			names, err = Texts(page)
		}
		if err == nil != tt.ok || tt.ok && (cursor != tt.cursor || !reflect.DeepEqual(names, tt.page)) {
			t.Errorf("%s: %q, %q, %v", tt.name, cursor, names, err)
		}
	}
}

func TestStreamReplies(t *testing.T) {
	id := keyspace.StreamID{Ms: 1700000000000, Seq: 7}
	read := map[string]func(m *rueidis.RedisMessage) (any, error){
		"entry":    func(m *rueidis.RedisMessage) (any, error) { return Entry(m) },
		"consumer": func(m *rueidis.RedisMessage) (any, error) { return Consumer(m) },
		"pending": func(m *rueidis.RedisMessage) (any, error) {
			p, ms, err := Pending(m)
			p.DeliveryMs = ms
			return p, err
		},
		"group": func(m *rueidis.RedisMessage) (any, error) {
			g, pending, err := Group(m)
			return fmt.Sprintf("%+v, %d pending", g, pending), err
		},
		"stream": func(m *rueidis.RedisMessage) (any, error) {
			f, err := FieldsOf(m)
			if err != nil {
				return nil, err
			}
			return Stream(f)
		},
	}
	group := func(g keyspace.Group, pending int) string { return fmt.Sprintf("%+v, %d pending", g, pending) }
	for _, tt := range []struct {
		of, name, why string
		in            any
		want          any // nil: an error
	}{
		{of: "entry", name: "fields", in: list{id.String(), list{"f", "v", "g", ""}}, want: keyspace.Entry{ID: id, Fields: [][]byte{[]byte("f"), []byte("v"), []byte("g"), {}}}},
		{of: "entry", name: "no fields", why: "XINFO STREAM FULL lists a deleted entry nowhere", in: list{id.String(), nil}},
		{of: "entry", name: "no ID", in: list{"x-1", list{}}},
		{of: "entry", name: "half an ID", in: list{"17", list{}}},
		{of: "entry", name: "a field that is nil", why: "it is not an empty one", in: list{id.String(), list{"f", nil}}},
		{of: "entry", name: "three parts", in: list{id.String(), list{}, "x"}},
		{of: "pending", name: "of XPENDING", in: list{id.String(), "c", 250, 3}, want: keyspace.Pending{ID: id, Consumer: []byte("c"), DeliveryMs: 250, DeliveryCount: 3}},
		{of: "pending", name: "no number", in: list{id.String(), "c", "x", 3}},
		{of: "pending", name: "no count", in: list{id.String(), "c", 250, nil}},
		{of: "pending", name: "a consumer that is nil", in: list{id.String(), nil, 250, 1}},
		{of: "consumer", name: "6.0", in: list{"name", "c", "pending", 1, "idle", 5}, want: []byte("c")},
		{of: "consumer", name: "no name", in: list{"pending", 1}},
		{of: "consumer", name: "a name without a value", in: list{"name"}},
		{of: "group", name: "6.0", in: list{"name", "g", "consumers", 1, "pending", 2, "last-delivered-id", id.String()},
			want: group(keyspace.Group{Name: []byte("g"), LastID: id, EntriesRead: -1}, 2)},
		{of: "group", name: "7.0", in: list{"name", "g", "consumers", 1, "pending", 2, "last-delivered-id", id.String(), "entries-read", 9, "lag", 0},
			want: group(keyspace.Group{Name: []byte("g"), LastID: id, EntriesRead: 9}, 2)},
		{of: "group", name: "7.0 that does not know", in: list{"name", "g", "pending", 0, "last-delivered-id", id.String(), "entries-read", nil, "lag", nil},
			want: group(keyspace.Group{Name: []byte("g"), LastID: id, EntriesRead: -1}, 0)},
		{of: "group", name: "of XINFO STREAM FULL", why: "pending is the list there", in: list{"name", "g", "last-delivered-id", id.String(), "pel-count", 1, "pending", list{list{}}},
			want: group(keyspace.Group{Name: []byte("g"), LastID: id, EntriesRead: -1}, 1)},
		{of: "group", name: "no count of pending", why: "it is not none", in: list{"name", "g", "last-delivered-id", id.String()}},
		{of: "group", name: "no position", in: list{"name", "g", "pending", 0}},
		{of: "stream", name: "6.0", in: list{"length", 3, "last-generated-id", id.String()}, want: keyspace.StreamMeta{Length: 3, LastID: id}},
		{of: "stream", name: "7.0", in: list{"length", 3, "last-generated-id", id.String(), "max-deleted-entry-id", "1-1", "entries-added", 5},
			want: keyspace.StreamMeta{Length: 3, LastID: id, MaxDeletedID: keyspace.StreamID{Ms: 1, Seq: 1}, EntriesAdded: 5, HasCounters: true}},
		{of: "stream", name: "one of two counters", in: list{"length", 3, "last-generated-id", id.String(), "max-deleted-entry-id", "1-1"}},
		{of: "stream", name: "no last ID", in: list{"length", 3}},
		{of: "stream", name: "refused", in: refused("ERR no such key")},
	} {
		got, err := read[tt.of](message(t, tt.in))
		if err != nil != (tt.want == nil) || err == nil && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s, %s: %+v, %v, want %+v (%s)", tt.of, tt.name, got, err, tt.want, tt.why)
		}
	}
}

func TestCounts(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   list
		want bool
	}{
		{"all", list{"length", 2, "entries", list{"a", "b"}}, true},
		{"some", list{"length", 3, "entries", list{"a", "b"}}, false},
		{"no list", list{"length", 0}, false},
		{"no count", list{"entries", list{}}, false},
	} {
		if f, err := FieldsOf(message(t, tt.in)); err != nil || f.Counts("length", "entries") != tt.want {
			t.Errorf("%s: %v, %v", tt.name, f, err)
		}
	}
}

// FuzzReplies: no reply crashes a parser, and what a parser takes says the same when it is written as a reply again.
func FuzzReplies(f *testing.F) {
	for _, s := range []string{"*2 $1700000000 $5", "*2 $0 *2 $a $b", "*2 $1-0 *2 $f $v", "*4 $1-0 $c :5 :1", "*8 $name $g $pending :1 $last-delivered-id $1-0 $entries-read _",
		"*8 $length :1 $last-generated-id $1-0 $max-deleted-entry-id $0-0 $entries-added :1", "-ERR no", "_", "*1 *1 *1 _"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		v, _ := grammar(strings.Split(string(p), " "), 0)
		m := message(t, v)
		if now, err := Time(m); err == nil {
			again, err := Time(message(t, list{fmt.Sprint(now.Unix()), fmt.Sprint(now.Nanosecond() / 1000)}))
			if err != nil || !again.Equal(now) || now.Before(time.Unix(0, 0)) {
				t.Errorf("a time: %v, then %v, %v", now, again, err)
			}
		}
		if cursor, page, err := Scan(m); err == nil {
			if names, err := Texts(page); err == nil {
				in := make(list, len(names))
				for i := range names {
					in[i] = names[i]
				}
				if next, page, err := Scan(message(t, list{cursor, in})); err != nil || next != cursor || len(page) != len(names) {
					t.Errorf("a page %q became %q, %v", cursor, next, err)
				}
			}
		}
		if e, err := Entry(m); err == nil {
			in := make(list, len(e.Fields))
			for i := range e.Fields {
				in[i] = string(e.Fields[i])
			}
			if again, err := Entry(message(t, list{e.ID.String(), in})); err != nil || !reflect.DeepEqual(again, e) {
				t.Errorf("an entry: %+v, then %+v, %v", e, again, err)
			}
		}
		if e, ms, err := Pending(m); err == nil {
			again, ms2, err := Pending(message(t, list{e.ID.String(), string(e.Consumer), int(ms), int(e.DeliveryCount)}))
			if err != nil || ms2 != ms || again.ID != e.ID || again.DeliveryCount != e.DeliveryCount || !bytes.Equal(again.Consumer, e.Consumer) {
				t.Errorf("a pending entry: %+v, then %+v, %v", e, again, err)
			}
		}
		if g, n, err := Group(m); err == nil {
			in := list{"name", string(g.Name), "pending", int(n), "last-delivered-id", g.LastID.String()}
			if g.EntriesRead != -1 {
				in = append(in, "entries-read", int(g.EntriesRead))
			}
			if again, n2, err := Group(message(t, in)); err != nil || n2 != n || !reflect.DeepEqual(again, g) {
				t.Errorf("a group: %+v, then %+v, %v", g, again, err)
			}
		}
		_, _ = Consumer(m)
		_, _ = Libraries(m)
		if fields, err := FieldsOf(m); err == nil {
			if s, err := Stream(fields); err == nil {
				in := list{"length", int(s.Length), "last-generated-id", s.LastID.String()}
				if s.HasCounters {
					in = append(in, "max-deleted-entry-id", s.MaxDeletedID.String(), "entries-added", int(s.EntriesAdded))
				}
				fields, _ := FieldsOf(message(t, in))
				if again, err := Stream(fields); err != nil || again != s {
					t.Errorf("a stream: %+v, then %+v, %v", s, again, err)
				}
			}
		}
	})
}

// grammar reads words as a reply: $text, :number, -error, *elements, and nil for all else. It returns what is left.
func grammar(words []string, depth int) (v any, rest []string) {
	if len(words) == 0 || words[0] == "" {
		return nil, words[min(len(words), 1):]
	}
	word, rest := words[0][1:], words[1:]
	switch words[0][0] {
	case '$':
		return word, rest
	case '-':
		return refused(word), rest
	case ':':
		n := 0
		_, _ = fmt.Sscan(word, &n)
		return n, rest
	case '*':
		n, l := 0, list{}
		_, _ = fmt.Sscan(word, &n)
		for range min(n, 32) {
			if depth > 4 {
				break
			}
			v, rest = grammar(rest, depth+1)
			l = append(l, v)
		}
		return l, rest
	}
	return nil, rest
}
