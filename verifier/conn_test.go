package verifier

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint"
)

// A node is taken for down when it keeps silent, and not when whoever asked it had no more time.
func TestOwnDeadlineIsNoSilence(t *testing.T) {
	over := errors.New("the caller's time is over")
	ended, cancel := context.WithTimeoutCause(t.Context(), 0, over)
	defer cancel()
	tests := []struct {
		name string
		ctx  context.Context
		says string
		down bool
	}{
		{"the caller's time is over", ended, over.Error(), false},
		{"the node keeps silent", t.Context(), "has not answered for 30s", true},
	}
	for _, tt := range tests {
		n := &node{facts: endpoint.Server{Addr: "s:1"}, silence: 30 * time.Second}
		err := n.retry(tt.ctx, 0, func() error { return n.failed(tt.ctx, "", context.DeadlineExceeded) })
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: the error is %v, want %q in it", tt.name, err, tt.says)
		}
		if n.breaker.exhausted != tt.down {
			t.Errorf("%s: the node counts as down = %v, want %v", tt.name, n.breaker.exhausted, tt.down)
		}
	}
}
