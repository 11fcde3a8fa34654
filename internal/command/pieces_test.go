package command

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestPieces: a long command is cut between its elements, and what holds for all of them stands in each piece.
func TestPieces(t *testing.T) {
	for _, tt := range []struct{ name, args, want string }{
		{name: "list", args: "RPUSH k a b c d e", want: "RPUSH k a b c|RPUSH k d e"},
		{name: "any case of letters", args: "lpush k a b c d", want: "lpush k a b c|lpush k d"},
		{name: "list that must exist", args: "LPUSHX k a b c d", want: "LPUSHX k a b c|LPUSHX k d"},
		{name: "fields", args: "HSET k a 1 b 2 c 3", want: "HSET k a 1|HSET k b 2|HSET k c 3"},
		{name: "fields to be deleted", args: "HDEL k a b c d", want: "HDEL k a b c|HDEL k d"},
		{name: "scores", args: "ZADD k 1 a 2 b", want: "ZADD k 1 a|ZADD k 2 b"},
		{name: "flags", args: "ZADD k nx 1 a 2 b", want: "ZADD k nx 1 a|ZADD k nx 2 b"},
		{name: "places", args: "GEOADD k 1 2 a 3 4 b", want: "GEOADD k 1 2 a|GEOADD k 3 4 b"},
		{name: "keys", args: "UNLINK a b c d e", want: "UNLINK a b c d|UNLINK e"},
		{name: "keys and values", args: "MSET a 1 b 2 c 3", want: "MSET a 1 b 2|MSET c 3"},
		{name: "acknowledged", args: "XACK k g 1-1 2-2 3-3", want: "XACK k g 1-1 2-2|XACK k g 3-3"},
		{name: "sketches", args: "PFMERGE k a b c d", want: "PFMERGE k a b c|PFMERGE k d"},
		{name: "all together", args: "ZUNIONSTORE d 4 a b c d"},
		{name: "fields of one entry", args: "XADD k * a 1 b 2"},
		{name: "only if none exists", args: "MSETNX a 1 b 2 c 3"},
		{name: "an incomplete pair", args: "HSET k a 1 b 2 c"},
		{name: "options before the elements leave no room", args: "ZADD k NX CH GT 1 a 2 b"},
		{name: "unknown", args: "FROB a b c d e f"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := bytes.Fields([]byte(tt.args))
			was := slices.Clone(args)
			var got []string
			for _, p := range Pieces(args, 5) {
				got = append(got, string(bytes.Join(p, []byte(" "))))
			}
			if all := strings.Join(got, "|"); all != tt.want {
				t.Errorf("%q, want %q", all, tt.want)
			}
			if !slices.EqualFunc(args, was, bytes.Equal) {
				t.Error("the arguments were changed")
			}
		})
	}
}
