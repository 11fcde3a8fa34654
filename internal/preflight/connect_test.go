package preflight

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
)

// TestConnectWithin: a server that accepts connections and does not answer is waited for, and that is told; one that is not there is not.
func TestConnectWithin(t *testing.T) {
	t.Parallel()
	relay := endpointtest.ServeRelay(t, endpointtest.Serve(t, "7.0.15").Addr)
	relay.Stop()
	spec, err := endpoint.Parse(relay.URL())
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	opened := make(chan Side, 1)
	go func() {
		opened <- ConnectWithin(t.Context(), spec, time.Hour, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	select {
	case s := <-opened:
		t.Fatal("it was not waited for: ", s.Err)
	case <-time.After(toldAfter + time.Second): // for as long as the wait is to take
	}
	relay.Freeze() // new connections carry
	s := <-opened
	defer s.Close()
	if told := log.String(); s.Err != nil || !strings.Contains(told, "has not answered yet") || !strings.Contains(told, "CLIENT PAUSE") {
		t.Errorf("%v, told: %s", s.Err, told)
	}

	relay.Stop()
	s = ConnectWithin(t.Context(), spec, time.Millisecond, slog.New(slog.DiscardHandler))
	if !endpoint.IsSilence(s.Err) || !strings.Contains(s.Err.Error(), "it was waited for since") || !strings.Contains(s.Err.Error(), "CLIENT PAUSE") {
		t.Errorf("given up: %v", s.Err)
	}
	if spec, err = endpoint.Parse("redis://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	if s = ConnectWithin(t.Context(), spec, time.Hour, slog.New(slog.DiscardHandler)); s.Err == nil || endpoint.IsSilence(s.Err) {
		t.Errorf("nobody listens there: %v", s.Err)
	}
}
