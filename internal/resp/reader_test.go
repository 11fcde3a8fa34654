package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// command is one command as a test expects it.
type command struct {
	args string // words joined by "|"
	n    int64
}

// readAll reads to the end and gives the bytes of trailing keep-alives.
func readAll(r *Reader) (got []command, rest int64, err error) {
	for {
		args, n, err := r.ReadCommand()
		if err == io.EOF {
			return got, n, nil
		}
		if err != nil {
			return got, 0, err
		}
		got = append(got, command{string(bytes.Join(args, []byte("|"))), n})
	}
}

func TestReadCommand(t *testing.T) {
	tests := []struct {
		name, why, stream string
		want              []command
		rest              int64
	}{
		{name: "empty", why: "a stream may end before its first command"},
		{name: "one", stream: "*1\r\n$4\r\nPING\r\n", want: []command{{"PING", 14}}},
		{name: "binary", why: "arguments are bytes", stream: "*2\r\n$3\r\nGET\r\n$4\r\n\r\n\x00\xff\r\n", want: []command{{"GET|\r\n\x00\xff", 23}}},
		{name: "empty argument", stream: "*2\r\n$3\r\nGET\r\n$0\r\n\r\n", want: []command{{"GET|", 19}}},
		{name: "keep-alives", why: "each counts for the offset, with the command behind it",
			stream: "\n\n\r\n*1\r\n$4\r\nPING\r\n\n*1\r\n$4\r\nPING\r\n", want: []command{{"PING", 18}, {"PING", 15}}},
		{name: "keep-alives at the end", why: "they count although no command follows", stream: "*1\r\n$4\r\nPING\r\n\n\n\n", want: []command{{"PING", 14}}, rest: 3},
		{name: "only keep-alives", stream: "\n\r\n\n", rest: 4},
		{name: "empty multibulk", why: "Redis skips it", stream: "*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n", want: []command{{"PING", 23}}},
		{name: "inline", why: "very old primaries ping this way", stream: "PING\r\nSELECT 3\nset \"a b\" 'c'\r\n", want: []command{{"PING", 6}, {"SELECT|3", 9}, {"set|a b|c", 15}}},
		{name: "inline escapes", stream: `set "\x41\n\"\q" '\'\n' x` + "\n", want: []command{{"set|A\n\"q|'\\n|x", 26}}},
		{name: "inline empty word", stream: "set k \"\"\n", want: []command{{"set|k|", 9}}},
		{name: "inline blanks", stream: "ping  \t a \r\n", want: []command{{"ping|a", 12}}},
		{name: "annotation", why: "an AOF has timestamps since 7.0", stream: "#TS:1700000000\r\n*1\r\n$4\r\nPING\r\n#TS:1\r\n", want: []command{{"PING", 30}}, rest: 7},
		{name: "leading zeros", stream: "*01\r\n$04\r\nPING\r\n", want: []command{{"PING", 16}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for reads, src := range differentReads(t, tt.stream) {
				r := NewReader(src)
				got, rest, err := readAll(r)
				if err != nil || rest != tt.rest || fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("%s: %+v, rest %d, %v; want %+v, rest %d", reads, got, rest, err, tt.want, tt.rest)
				}
				if r.Offset() != int64(len(tt.stream)) {
					t.Errorf("%s: offset %d of %d", reads, r.Offset(), len(tt.stream))
				}
			}
		})
	}
}

// differentReads gives readers of s that cut it at different places.
func differentReads(t testing.TB, s string) map[string]io.Reader {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := map[string]io.Reader{
		"whole":           strings.NewReader(s),
		"one byte a read": iotest.OneByteReader(strings.NewReader(s)),
		"half reads":      iotest.HalfReader(strings.NewReader(s)),
		"data with EOF":   iotest.DataErrReader(strings.NewReader(s)),
		"random":          &randomReader{strings.NewReader(s), rand.New(rand.NewPCG(seed, 1))},
	}
	if len(s) < 200 {
		for i := range s {
			m[fmt.Sprintf("split at %d", i)] = io.MultiReader(strings.NewReader(s[:i]), strings.NewReader(s[i:]))
		}
	}
	return m
}

type randomReader struct {
	r   io.Reader
	rnd *rand.Rand
}

func (r *randomReader) Read(p []byte) (int, error) {
	return r.r.Read(p[:min(len(p), 1+r.rnd.IntN(3000))])
}

func TestReadCommandRefuses(t *testing.T) {
	small := Options{MaxArgs: 3, MaxBulk: 100, MaxCommand: 150}
	long := "*2\r\n$80\r\n" + strings.Repeat("x", 80) + "\r\n$80\r\n"
	tests := []struct {
		name, why, stream string
		at                int64
		found             string
		opt               Options
	}{
		{name: "reply", why: "an error among commands must not be taken for one", stream: "*1\r\n$4\r\nPING\r\n-ERR no\r\n", at: 14, found: "-ERR no"},
		{name: "binary", why: "an RDB in place of a stream", stream: "\x00\x01", at: 0, found: `\x00\x01`},
		{name: "inline binary", why: "an RDB again", stream: "REDIS0011\xfa\x00abc\n", at: 10, found: `\x00abc`},
		{name: "inline quotes", stream: "get \"a\n", at: 4},
		{name: "inline quote inside", stream: "get \"a\"b\n", at: 4},
		{name: "bad count", stream: "*x\r\n", at: 0, found: "*x"},
		{name: "no count", stream: "*\r\n", at: 0},
		{name: "bad end of header", stream: "*1\n$4\r\nPING\r\n", at: 0},
		{name: "no dollar", stream: "*1\r\n:4\r\n", at: 4, found: ":4"},
		{name: "negative length", stream: "*1\r\n$-1\r\n", at: 9},
		{name: "huge length", stream: "*1\r\n$99999999999999999999\r\n", at: 4},
		{name: "wrong length", why: "a shifted stream must not go on", stream: "*1\r\n$3\r\nPING\r\n", at: 11, found: `G\r\n`},
		{name: "too many arguments", stream: "*4\r\n", at: 0, opt: small},
		{name: "too long an argument", stream: "*1\r\n$101\r\n", at: 4, opt: small},
		{name: "too long a command", stream: long, at: int64(len(long)), opt: small},
		{name: "endless inline", stream: strings.Repeat("x", maxInline+1), at: 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for reads, src := range differentReads(t, tt.stream) {
				r := NewReaderOptions(src, tt.opt)
				_, _, err := readAll(r)
				var broken *ProtocolError
				if !errors.As(err, &broken) || broken.Offset != tt.at || !strings.Contains(broken.Found, tt.found) && reads == "whole" {
					t.Fatalf("%s: %v; want an error at byte %d that shows %s", reads, err, tt.at, tt.found)
				}
				if _, _, again := r.ReadCommand(); again != err {
					t.Errorf("%s: then %v; a lost framing must stay lost", reads, again)
				}
			}
		})
	}
}

func TestCutShort(t *testing.T) {
	const whole = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
	for i := 1; i < len(whole); i++ {
		_, _, err := readAll(NewReader(strings.NewReader("\n" + whole[:i])))
		if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), fmt.Sprintf("ends at byte %d", i+1)) ||
			!strings.Contains(err.Error(), "begins at byte 1") {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

// A read that timed out is tried again, in the middle of a command.
func TestReadAgain(t *testing.T) {
	const stream = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n"
	timeout := errors.New("timeout")
	for i := range stream {
		r := NewReader(io.MultiReader(strings.NewReader(stream[:i]), &failOnce{err: timeout}, strings.NewReader(stream[i:])))
		var got []command
		failures := 0
		for {
			more, _, err := readAll(r)
			got = append(got, more...)
			if err == nil {
				break
			}
			if !errors.Is(err, timeout) {
				t.Fatal(err)
			}
			failures++
		}
		if want := "[{GET|k 20} {PING 14}]"; fmt.Sprint(got) != want || failures != 1 {
			t.Errorf("cut at %d: %v after %d failures", i, got, failures)
		}
	}
}

type failOnce struct{ err error }

func (f *failOnce) Read([]byte) (int, error) {
	err := f.err
	f.err = io.EOF
	return 0, err
}

func TestEmptyReads(t *testing.T) {
	if _, _, err := NewReader(stuck{}).ReadCommand(); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// What is announced is not allocated before it has arrived.
func TestHostileLengths(t *testing.T) {
	more := strings.Repeat("x", 3*baseBuffer)
	for _, stream := range []string{"*2147483647\r\n$3\r\nSET\r\n", "*1\r\n$536870912\r\nabc", "*1\r\n$536870912\r\n" + more, "*3\r\n$536870912\r\n"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := NewReader(strings.NewReader(stream))
		if _, _, err := r.ReadCommand(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%.30q: %v", stream, err)
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
			t.Errorf("%.30q: allocated %d bytes", stream, grown)
		}
	}
}

func TestLargeCommandIsForgotten(t *testing.T) {
	big := bytes.Repeat([]byte("v"), 5<<20)
	many := make([][]byte, 200_000)
	for i := range many {
		many[i] = []byte("m")
	}
	stream := AppendCommand(nil, []byte("SET"), []byte("k"), big)
	stream = AppendCommand(stream, many...)
	small := AppendCommand(nil, []byte("PING"))
	for range 3 {
		stream = append(stream, small...)
	}
	r := NewReader(iotest.HalfReader(bytes.NewReader(stream)))
	args, n, err := r.ReadCommand()
	if err != nil || !bytes.Equal(args[2], big) || n < 5<<20 {
		t.Fatal(n, err)
	}
	if args, _, err = r.ReadCommand(); err != nil || len(args) != len(many) {
		t.Fatal(len(args), err)
	}
	for range 3 {
		if _, _, err = r.ReadCommand(); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.buf) > keepBuffer || cap(r.args) > keepArgs || cap(r.spans) > keepArgs {
		t.Errorf("holds %d bytes, %d arguments", len(r.buf), cap(r.args))
	}
}

func TestNoAllocations(t *testing.T) {
	cmd := AppendCommand(nil, []byte("SET"), []byte("key:000001"), bytes.Repeat([]byte("v"), 100))
	r := NewReader(&repeat{cmd: cmd})
	if n := testing.AllocsPerRun(10_000, func() {
		if _, _, err := r.ReadCommand(); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a command", n)
	}
}

// repeat is an endless stream of one command.
type repeat struct {
	cmd []byte
	at  int
}

func (r *repeat) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c := copy(p[n:], r.cmd[r.at:])
		n += c
		r.at = (r.at + c) % len(r.cmd)
	}
	return n, nil
}

func TestError(t *testing.T) {
	for _, tt := range []struct{ reply, code string }{
		{"MOVED 3999 127.0.0.1:6381", "MOVED"}, {"ERR unknown command", "ERR"}, {"LOADING", "LOADING"}, {"", ""},
	} {
		if e := Error(tt.reply); e.Code() != tt.code || e.Error() != tt.reply {
			t.Errorf("%q: %q %q", tt.reply, e.Code(), e.Error())
		}
	}
	var typed Error
	if err := fmt.Errorf("restore: %w", Error("OOM full")); !errors.As(err, &typed) || typed.Code() != "OOM" {
		t.Error(err)
	}
}

func BenchmarkReadCommand(b *testing.B) {
	for _, size := range []int{10, 100, 4096, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			cmd := AppendCommand(nil, []byte("SET"), []byte("key:000001"), bytes.Repeat([]byte("v"), size))
			r := NewReader(&repeat{cmd: cmd})
			b.SetBytes(int64(len(cmd)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := r.ReadCommand(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
