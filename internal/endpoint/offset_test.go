package endpoint

import (
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
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

// TestReadsAtOffset: clusters of 3.2 to 5.0 answer EXEC on a replica with MOVED, after they have taken every command before it.
func TestReadsAtOffset(t *testing.T) {
	shard := Shard{Slots: keyspace.SlotRanges{{First: 5461, Last: 10922}}}
	for _, tt := range []struct {
		name, exec string
		shard      Shard
		want       bool
		code       string
	}{
		{name: "3.0, and since 6.0", exec: "*2\r\n:0\r\n*0\r\n", shard: shard, want: true},
		{name: "3.2 to 5.0", exec: "-MOVED 5461 10.0.0.1:6379\r\n", shard: shard},
		{name: "no longer of this shard", exec: "-EXECABORT Transaction discarded because of previous errors.\r\n", shard: shard, code: "EXECABORT"},
		{name: "no slots", exec: "-CLUSTERDOWN Hash slot not served\r\n", want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := listen(t, func(conn net.Conn) {
				defer conn.Close()
				in := resp.NewReader(conn)
				for {
					args, _, err := in.ReadCommand()
					if err != nil {
						return
					}
					reply := "+OK\r\n"
					switch strings.ToUpper(string(args[0])) {
					case "HELLO":
						reply = "-ERR unknown command 'HELLO'\r\n"
					case "INFO":
						const text = "redis_version:4.0.14\r\nrole:slave\r\nmaster_replid:8c5f\r\n"
						reply = "$" + strconv.Itoa(len(text)) + "\r\n" + text + "\r\n"
					case "EXEC":
						reply = tt.exec
					}
					if _, err := io.WriteString(conn, reply); err != nil {
						return
					}
				}
			})
			d, err := newDeployment(Spec{Kind: Cluster, Addrs: []string{addr}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.Close)
			reads, err := d.ReadsAtOffset(t.Context(), tt.shard, addr)
			if reads != tt.want || Code(err) != tt.code {
				t.Errorf("%v, %v; want %v and the code %q", reads, err, tt.want, tt.code)
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
