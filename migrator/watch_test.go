package migrator

import (
	"testing"

	"surecut/internal/keyspace"
)

func TestParseNotice(t *testing.T) {
	for _, c := range []struct {
		channel, message, why string
		key                   keyspace.Key
		event                 string
		ok                    bool
	}{
		{"__keyevent@3__:set", "a", "", keyspace.Key{DB: 3, Name: "a"}, "set", true},
		{"__keyspace@0__:a", "del", "", keyspace.Key{Name: "a"}, "del", true},
		{"__keyspace@0__:x__:y", "del", "the key holds what ends the head", keyspace.Key{Name: "x__:y"}, "del", true},
		{"__keyevent@0__:set", "__keyevent@1__:del", "any bytes are a key", keyspace.Key{Name: "__keyevent@1__:del"}, "set", true},
		{"__keyevent@x__:set", "a", "no database", keyspace.Key{}, "", false},
		{"__keyevent@-1__:set", "a", "no database", keyspace.Key{}, "", false},
		{"__sentinel__:hello", "a", "another channel", keyspace.Key{}, "", false},
		{"news", "a", "another channel", keyspace.Key{}, "", false},
	} {
		key, event, ok := parseNotice(c.channel, c.message)
		if key != c.key || event != c.event || ok != c.ok {
			t.Errorf("%s %s: %v %q %v: %s", c.channel, c.message, key, event, ok, c.why)
		}
	}
}
