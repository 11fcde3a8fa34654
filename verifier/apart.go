package verifier

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// cutAttempts is how often a single key is read when the server closes the connection before it has sent the whole reply.
const cutAttempts = 3

// cutError says that a server closes the connection whenever it is asked for one particular key, although it answers
// other requests.
type cutError struct {
	addr, limit string
	err         error
}

func (e *cutError) Error() string {
	why := "its log says why"
	if e.limit != "" {
		why = "its client-output-buffer-limit for normal clients is " + e.limit + ", which is too low for this key"
	}
	return fmt.Sprintf("%s closes the connection whenever this key is read (%s): %v", e.addr, why, e.err)
}

func (e *cutError) Unwrap() error { return e.err }

// apart splits a batch that broke the connection into halves until it has found the key that breaks it, and asks for
// fewer bytes at a time from then on: a server closes a connection when more than client-output-buffer-limit waits to
// be sent on it.
func (r *reader) apart(ctx context.Context, names []string, out []reading, keep int64, cause error) error {
	r.node.flight.shrink()
	if half := len(names) / 2; half > 0 {
		if err := r.read(ctx, names[:half], out[:half], keep); err != nil {
			return err
		}
		return r.read(ctx, names[half:], out[half:], keep)
	}
	for range cutAttempts {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		clear(out)
		err := r.try(ctx, names, out, keep)
		if broken := (*connError)(nil); !errors.As(err, &broken) {
			return err
		}
		if cause = err; !r.alive(ctx) {
			return err
		}
		r.node.flight.shrink()
	}
	out[0] = reading{Err: &cutError{addr: r.node.addr(), limit: r.outputLimit(ctx), err: cause}}
	return nil
}

// alive says whether the node answers on a new connection. If it does, the old connection was closed because of what
// was asked on it.
func (c *conn) alive(ctx context.Context) bool {
	_, err := c.one(ctx, "TIME")
	return err == nil
}

// outputLimit describes the output buffer limits of normal clients in words. It returns "" where there are none or
// the server does not tell.
func (c *conn) outputLimit(ctx context.Context) string {
	m, err := c.one(ctx, "CONFIG", "GET", "client-output-buffer-limit")
	if err != nil {
		return ""
	}
	list, err := m.AsStrSlice()
	if err != nil || len(list) != 2 {
		return ""
	}
	words := strings.Fields(list[1])
	for i := 0; i+3 < len(words); i += 4 {
		if words[i] != "normal" || words[i+1] == "0" && words[i+2] == "0" {
			continue
		}
		return fmt.Sprintf("%s bytes, or %s bytes for %s s", words[i+1], words[i+2], words[i+3])
	}
	return ""
}
