package endpoint

import (
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"surecut/internal/resp"
)

func TestParseOffset(t *testing.T) {
	info := func(text string) string { return "$" + strconv.Itoa(len(text)) + "\r\n" + text + "\r\n" }
	for _, tt := range []struct {
		name, reply string
		want        int64
		wrong       string
	}{
		{name: "primary", reply: "*3\r\n$6\r\nmaster\r\n:77\r\n*0\r\n", want: 77},
		{name: "replica", reply: "*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:78\r\n", want: 78},
		{name: "replica without its primary", reply: "*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$7\r\nconnect\r\n:-1\r\n", wrong: "not connected"},
		{name: "sentinel", reply: "*2\r\n$8\r\nsentinel\r\n*0\r\n", wrong: "neither"},
		{name: "cut off", reply: "*2\r\n$5\r\nslave\r\n$1\r\nh\r\n", wrong: "neither"},
		{name: "empty", reply: "*0\r\n", wrong: "neither"},
		{name: "primary before 4.0", reply: info("# Replication\r\nrole:master\r\nmaster_repl_offset:79\r\n"), want: 79},
		{name: "replica before 4.0", reply: info("# Replication\r\nrole:slave\r\nslave_repl_offset:5000\r\nmaster_repl_offset:80\r\n"), want: 80},
		{name: "before 2.8", reply: info("role:master\r\n"), wrong: "older than 2.8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := answering(t, tt.reply)
			m, err := c.Do(t.Context(), c.B().Arbitrary("ROLE").Build()).ToMessage()
			if err != nil {
				t.Fatal(err)
			}
			at, err := ParseOffset(m)
			switch {
			case tt.wrong == "" && (err != nil || at != tt.want):
				t.Errorf("offset %d, %v, want %d", at, err, tt.want)
			case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
				t.Errorf("error %v, want one that says %q", err, tt.wrong)
			}
		})
	}
}

// answering gives a client of a server that answers ROLE so, and refuses everything else.
func answering(t *testing.T, reply string) rueidis.Client {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { there.Close() })
	go func() {
		in := resp.NewReader(there)
		for {
			args, _, err := in.ReadCommand()
			if err != nil {
				return
			}
			out := "-ERR unknown command\r\n"
			if string(args[0]) == "ROLE" {
				out = reply
			}
			if _, err := io.WriteString(there, out); err != nil {
				return
			}
		}
	}()
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{"stand-in:1"}, ForceSingleClient: true, DisableCache: true, AlwaysRESP2: true, DisableRetry: true,
		ClientSetInfo: rueidis.DisableClientSetInfo, DialCtxFn: dialOnce(&quietConn{Conn: here})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
