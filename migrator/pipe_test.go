package migrator

import (
	"bufio"
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
		{"another reply", "its end is not known", "$3\r\nabc\r\n+OK\r\n+OK\r\n", []string{"lost", "lost", "lost"}},
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
			p := &pipe{conn: near, in: bufio.NewReader(near)}
			for i := range 3 {
				if at := p.add("PING"); at != i {
					t.Fatalf("command %d has place %d", i, at)
				}
			}
			res := p.exchange()
			if got := <-sent; got != strings.Repeat("*1\r\n$4\r\nPING\r\n", 3) {
				t.Errorf("sent %q", got)
			}
			for i, err := range res {
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
