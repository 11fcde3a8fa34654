package compat

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseLine(t *testing.T) {
	for _, tt := range []struct {
		line string
		want string // db, client, lua, arguments; "" for an error
		why  string
	}{
		{`1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`, `0 127.0.0.1:60866 false ["keys" "*"]`, ""},
		{`+1339518083.107412 [3 lua] "GET" "a b"` + "\r\n", `3 lua true ["GET" "a b"]`, "as it comes from the wire"},
		{`1339518083.107412 [0 [::1]:60866] "GET" "k"`, `0 [::1]:60866 false ["GET" "k"]`, "IPv6"},
		{`1339518083.107412 [0 unix:/tmp/redis.sock] "GET" "k"`, `0 unix:/tmp/redis.sock false ["GET" "k"]`, ""},
		{`1339518083.107412 [0 a:1] "SET" "\x00\xff\"\\" "\n\r\t\a\b"`, `0 a:1 false ["SET" "\x00\xff\"\\" "\n\r\t\a\b"]`, "every escape"},
		{`1339518083.107412 [0 a:1] "AUTH" (redacted) (redacted)`, `0 a:1 false ["AUTH" "(redacted)" "(redacted)"]`, ""},
		{`1339518083.107412 [0 a:1] "ECHO" ""`, `0 a:1 false ["ECHO" ""]`, "an empty argument"},
		{`"1339518083.107412 [0 a:1] \"SET\" \"a\\\"b\\\\\\n\" \"v\\xff\""`, `0 a:1 false ["SET" "a\"b\\\n" "v\xff"]`, "redis-cli --csv and --json quote the line"},
		{`"1339518083.107412 [0 a:1] \"GET\" \"k\"`, "", "the same, cut off"},
		{`"hello"`, "", ""},
		{`1339518083.107412 [0 ` + strings.Repeat("x", 1000) + `] "PING"`, `0 ` + strings.Repeat("x", maxClient) + ` false ["PING"]`, "no address is as long"},
		{`1339518083.107412 [0 a:1] "GET" "k`, "", "cut off"},
		{`1339518083.107412 [0 a:1] GET k`, "", "no quotes"},
		{`1339518083 [0 a:1] "GET" "k"`, "", "no fraction"},
		{`x [0 a:1] "GET" "k"`, "", ""},
		{`1339518083.107412 [x a:1] "GET" "k"`, "", ""},
		{`1339518083.107412 [0a:1] "GET" "k"`, "", ""},
		{`1339518083.107412 [0 a:1]`, "", ""},
		{`1339518083.107412 [0 a:1] "GET" "\xzz"`, "", "no escape"},
		{`OK`, "", ""},
		{``, "", ""},
	} {
		c, err := parseLine([]byte(tt.line), nil)
		got := ""
		if err == nil {
			got = fmt.Sprintf("%d %s %v %q", c.DB, c.Client, c.Lua, c.Args)
		}
		if got != tt.want {
			t.Errorf("%s: %s (%v), want %s (%s)", tt.line, got, err, tt.want, tt.why)
		}
	}
	if _, err := parseLine([]byte(`1.000002 [0 a:1] "MGET" "k" "l`), nil); !errors.Is(err, errCut) {
		t.Errorf("a line that was cut off: %v", err)
	}
	c, _ := parseLine([]byte(`1339518083.000002 [0 a:1] "GET" "k"`), nil)
	if !c.At.Equal(time.Unix(1339518083, 2000)) {
		t.Errorf("time %v", c.At)
	}
	if c, err := parseLine([]byte(`39518083.000002 [0 a:1] "GET" "k"`), nil); err != nil || !c.At.IsZero() {
		t.Errorf("a time whose first digits were cut off: %v, %v", c.At, err)
	}
}

// FuzzParseLine: what a server would print for arguments is read back as it was, and nothing makes it fall over.
func FuzzParseLine(f *testing.F) {
	f.Add(`1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`, "a", "b")
	f.Add(`+1.1 [0 lua] "\x`, "\x00\"", "\\")
	f.Fuzz(func(t *testing.T, line, a, b string) {
		_, _ = parseLine([]byte(line), nil)
		want := []string{"SET", a, b}
		c, err := parseLine([]byte("12.000003 [1 h:2]"+printed(want)), nil)
		if err != nil {
			t.Fatalf("%q: %v", want, err)
		}
		var got []string
		for _, arg := range c.Args {
			got = append(got, string(arg))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

// printed writes arguments as a server does.
func printed(args []string) string {
	var b strings.Builder
	for _, arg := range args {
		b.WriteString(` "`)
		for _, c := range []byte(arg) {
			switch {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c == '\n':
				b.WriteString(`\n`)
			case c < ' ' || c >= 0x7f:
				fmt.Fprintf(&b, `\x%02x`, c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteString(`"`)
	}
	return b.String()
}
