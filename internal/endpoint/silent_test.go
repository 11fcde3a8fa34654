package endpoint

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
)

// TestSilentServer: a server that takes a connection and says nothing is not one that is not there.
func TestSilentServer(t *testing.T) {
	d := &Deployment{}
	for _, tt := range []struct {
		err  error
		says string
	}{
		{&net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, "accepts connections and does not answer: it is paused (CLIENT PAUSE), stopped or busy"},
		{io.EOF, "no Redis answers there"},
	} {
		if err := d.greetError(t.Context(), "a:1", "PING", tt.err); !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v", err)
		}
	}
}
