package target

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"surecut/internal/endpoint"
)

// TestPipe: each command of a batch has the reply that stands in its place, or none.
func TestPipe(t *testing.T) {
	for _, tt := range []struct {
		name, why, replies string
		want               []string // by command: "" for success, the code of an error reply, or "lost"
	}{
		{"all well", "", "+OK\r\n:1\r\n+OK\r\n", []string{"", "", ""}},
		{"errors", "they belong to one command each", "-BUSYKEY Target key name already exists.\r\n+OK\r\n-OOM no memory\r\n", []string{"BUSYKEY", "", "OOM"}},
		{"closed", "what was not answered may be applied or not", "+OK\r\n", []string{"", "lost", "lost"}},
		{"cut off", "half a line is no reply", "+OK\r\n+O", []string{"", "lost", "lost"}},
		{"strings and lists", "are read to their ends", "$3\r\n-ab\r\n*2\r\n:1\r\n$2\r\n-x\r\n-ERR x\r\n", []string{"", "", "ERR"}},
		{"none", "no reply begins like that", "%1\r\n+OK\r\n+OK\r\n", []string{"lost", "lost", "lost"}},
		{"no length", "", "$x\r\n+OK\r\n+OK\r\n", []string{"lost", "lost", "lost"}},
		{"no CR", "", "+OK\n+OK\r\n+OK\r\n", []string{"lost", "lost", "lost"}},
		{"too long", "", "+" + strings.Repeat("x", 10_000) + "\r\n", []string{"lost", "lost", "lost"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			sent := make(chan string, 1)
			go func() {
				defer far.Close()
				got := make([]byte, len("*1\r\n$4\r\nPING\r\n")*3)
				_, _ = io.ReadFull(far, got)
				sent <- string(got)
				_, _ = io.WriteString(far, tt.replies)
			}()
			p := &pipe{conn: near, in: answers{in: bufio.NewReader(near)}}
			for i := range 3 {
				if at := p.add("PING"); at != i {
					t.Fatalf("command %d has place %d", i, at)
				}
			}
			res := p.exchange()
			if got := <-sent; got != strings.Repeat("*1\r\n$4\r\nPING\r\n", 3) {
				t.Errorf("sent %q", got)
			}
			for i, reply := range res {
				err := reply.err
				got := endpoint.Code(err)
				if err != nil && got == "" {
					got = "lost"
				}
				if got != tt.want[i] {
					t.Errorf("command %d: %v, want %q: %s", i, err, tt.want[i], tt.why)
				}
			}
			if len(res) != 3 || p.sent != 0 || len(p.out) != 0 {
				t.Errorf("%d results, %d commands left", len(res), p.sent)
			}
		})
	}
}

// TestAnswers: a reply is read for what it says, to its end.
func TestAnswers(t *testing.T) {
	read := func(text string) []answer {
		r := answers{in: bufio.NewReader(strings.NewReader(text))}
		var out []answer
		for {
			got := r.next()
			if out = append(out, got); got.kind == answerNone {
				return out
			}
		}
	}
	got := read("+OK\r\n+other\r\n-ERR no\r\n:-12\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n*3\r\n:7\r\n*1\r\n*1\r\n:1\r\n$-1\r\n:5\r\n")
	var b strings.Builder
	var show func(m answer)
	show = func(m answer) {
		switch m.kind {
		case answerNone:
			fmt.Fprintf(&b, "none(%v) ", m.err)
		case answerStatus:
			fmt.Fprintf(&b, "status(%s) ", m.text)
		case answerError:
			fmt.Fprintf(&b, "error(%v) ", m.err)
		case answerInt:
			fmt.Fprintf(&b, "%d ", m.n)
		case answerBulk:
			b.WriteString("bulk ")
		case answerNil:
			b.WriteString("nil ")
		case answerList:
			b.WriteString("[ ")
			for _, e := range m.list {
				show(e)
			}
			b.WriteString("] ")
		}
	}
	for _, m := range got {
		show(m)
	}
	const want = "status() status(other) error(ERR no) -12 bulk nil nil [ ] [ 7 [ [ ] ] nil ] 5 none(EOF) "
	if b.String() != want {
		t.Errorf("read %s, want %s", b.String(), want)
	}
	for _, text := range []string{":\r\n", ":1x\r\n", "$-2\r\n", "$5\r\nab", ":99999999999999999999\r\n", ":9999999999999999999\r\n", ":+5\r\n", strings.Repeat("*1\r\n", 20), "+OK\n"} {
		if got := read(text); got[0].kind != answerNone || got[0].err == nil {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}

// FuzzAnswers reads any bytes: no panic, and no memory beyond what was sent.
func FuzzAnswers(f *testing.F) {
	f.Add("+OK\r\n*2\r\n:1\r\n$2\r\nab\r\n-ERR x\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := answers{in: bufio.NewReader(strings.NewReader(text))}
		for range len(text) + 1 {
			if got := r.next(); got.kind == answerNone {
				return
			}
		}
		t.Fatal("more replies than bytes")
	})
}
