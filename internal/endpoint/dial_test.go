package endpoint

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// fakeServer answers the first bytes of each connection with a fixed text.
func fakeServer(t *testing.T, answer string) string {
	return listen(t, func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, answer)
		conn.Close()
	})
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	tests := []struct{ name, url, says string }{ // nobody listens on port 1
		{"refused", "redis://127.0.0.1:1", "no server is listening there"},
		{"HTTP", "redis://" + fakeServer(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), "no Redis answers"},
		{"closes at once", "redis://" + fakeServer(t, ""), "rediss://"},
		{"plain server for TLS", "rediss://" + fakeServer(t, "-ERR unknown command\r\n"), "does not speak TLS"},
		{"no password", "redis://" + fakeServer(t, "-NOAUTH Authentication required.\r\n"), "requires a password"},
		{"wrong password", "redis://:s3cr3t@" + fakeServer(t, "-WRONGPASS invalid username-password pair\r\n"), "password is wrong"},
		{"user before 6.0", "redis://u:s3cr3t@" + fakeServer(t, "-ERR wrong number of arguments for 'auth' command\r\n"), "before 6.0"},
		{"file", "rdb:/x", "no such file"},
		{"sentinel", "redis+sentinel://127.0.0.1:1/m", "no sentinel leads to a primary"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec, err := Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			d, err := Open(ctx, spec)
			if err == nil {
				d.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("Open: %v, want an error that says %q and no password", err, tt.says)
			}
			for _, addr := range spec.Addrs {
				if spec.Kind == Standalone && !strings.Contains(err.Error(), addr) {
					t.Errorf("Open: %v does not name %s", err, addr)
				}
			}
		})
	}
}

func TestReadLineTakesNoMore(t *testing.T) {
	r := strings.NewReader("+PONG\r\n+FULLRESYNC")
	line, err := readLine(r)
	rest, _ := io.ReadAll(r)
	if err != nil || line != "+PONG" || string(rest) != "+FULLRESYNC" {
		t.Errorf("readLine = %q, %v and left %q", line, err, rest)
	}
	if _, err := readLine(strings.NewReader(strings.Repeat("+", 5000))); err == nil {
		t.Error("an endless line was read")
	}
}

func TestTLSFiles(t *testing.T) {
	for _, tt := range []struct {
		name string
		tls  TLS
		says string
	}{
		{"missing CA", TLS{CAFile: "/nonexistent/ca.pem"}, "CA file"},
		{"no PEM", TLS{CAFile: "dial_test.go"}, "no PEM certificate"},
		{"certificate without key", TLS{CertFile: "x"}, "both"},
		{"no certificate", TLS{CertFile: "/nonexistent/a", KeyFile: "/nonexistent/b"}, "client certificate"},
	} {
		if _, err := tt.tls.tlsConfig(); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want an error that says %q", tt.name, err, tt.says)
		}
	}
}
