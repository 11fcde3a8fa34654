package endpoint_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
)

// TestFrozenConnection: a connection that carries nothing any more, while its server answers on a new one, is given up; one of a server that
// does not answer at all is not. Each kind of connection asks in another way.
func TestFrozenConnection(t *testing.T) {
	kinds := map[string]func(t *testing.T, d *endpoint.Deployment, addr string) (ask func() error){
		"shared": func(t *testing.T, d *endpoint.Deployment, addr string) func() error {
			c, err := d.Client(t.Context(), addr, 0)
			if err != nil {
				t.Fatal(err)
			}
			return func() error { return c.Do(t.Context(), c.B().Arbitrary("STRLEN", "k").Build()).Error() }
		},
		"dedicated": func(t *testing.T, d *endpoint.Deployment, addr string) func() error {
			c, err := d.Connect(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			return func() error {
				return c.DoMulti(context.Background(), c.B().Arbitrary("STRLEN", "k").Build(), c.B().Arbitrary("STRLEN", "k").Build())[1].Error()
			}
		},
		"for commands": func(t *testing.T, d *endpoint.Deployment, addr string) func() error {
			c, err := d.DialCommands(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return func() error {
				if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
					return err
				}
				if _, err := c.Write([]byte("STRLEN k\r\n")); err != nil {
					return err
				}
				_, err := c.Read(make([]byte, 100))
				return err
			}
		},
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			relay := endpointtest.ServeRelay(t, endpointtest.Serve(t, "7.0.15").Addr)
			d := endpointtest.Open(t, relay.URL())
			endpoint.LateAfter(d, 500*time.Millisecond)
			ask := kind(t, d, relay.Addr)
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			if silent := d.Silences(); len(silent) > 0 {
				t.Errorf("an answer is awaited from %v although it has come", silent)
			}
			relay.Freeze()
			var frozen *endpoint.FrozenError
			if err := within(t, ask); !errors.As(err, &frozen) || frozen.Addr != relay.Addr || !endpoint.IsSilence(err) {
				t.Errorf("a frozen connection: %v", err)
			}
			relay.Stop()
			ask = kind(t, d, endpointtest.Serve(t, "7.0.15").Addr)
			if err := within(t, ask); err != nil {
				t.Errorf("another connection: %v", err)
			}
		})
	}
}

// TestStoppedServer: no connection of a server that answers nowhere is given up for frozen, and since when it is silent can be told.
func TestStoppedServer(t *testing.T) {
	relay := endpointtest.ServeRelay(t, endpointtest.Serve(t, "7.0.15").Addr)
	d := endpointtest.Open(t, relay.URL())
	endpoint.LateAfter(d, 50*time.Millisecond)
	c, err := d.Client(t.Context(), relay.Addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	relay.Stop()
	begun := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Do(ctx, c.B().Arbitrary("STRLEN", "k").Build()).Error() }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		silent := d.Silences()
		if len(silent) == 1 && silent[0].Addr == relay.Addr && !silent[0].Since.Before(begun) && time.Since(silent[0].Since) > time.Second {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("silent: %v", silent)
		}
	}
	select {
	case err := <-ended:
		t.Errorf("the answer was not waited for: %v", err)
	default:
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// within returns the error of ask, which is to end in time.
func within(t *testing.T, ask func() error) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- ask() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(25 * time.Second):
		t.Fatal("there is no end to the wait")
		return nil
	}
}
