package psync

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"surecut/internal/resp"
)

// RefusedError is an error reply of the source to a step of the handshake, or in place of
// the snapshot. It unwraps to the resp.Error.
type RefusedError struct {
	Step  string // "PING", "REPLCONF listening-port", "PSYNC", "SYNC", "snapshot"
	Reply resp.Error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("replication handshake: %s: the source replied: %s", e.Step, string(e.Reply))
}

func (e *RefusedError) Unwrap() error { return e.Reply }

// Retryable tells that the same request may succeed a little later: the source is loading
// its data, has lost its own primary, is short of connections, or could not make a snapshot.
func (e *RefusedError) Retryable() bool {
	switch e.Reply.Code() {
	case "LOADING", "NOMASTERLINK", "MASTERDOWN", "BUSY", "TRYAGAIN":
		return true
	case "ERR":
		return e.Step == stepSnapshot || lacksPrimary(e.Reply) || strings.HasPrefix(string(e.Reply), "ERR max number of clients")
	}
	return false
}

// lacksPrimary knows the reply of a replica that has lost its primary. Before 4.0 it has
// no code of its own.
func lacksPrimary(e resp.Error) bool {
	return e.Code() == "NOMASTERLINK" || strings.HasPrefix(string(e), "ERR Can't SYNC while not connected")
}

// StalledError means that the source sent no byte for Waited, where a healthy one sends
// keep-alives. It unwraps to os.ErrDeadlineExceeded.
type StalledError struct {
	During string
	Waited time.Duration
	cause  error
}

func (e *StalledError) Error() string {
	return fmt.Sprintf("%s: the source sent nothing for %v", e.During, e.Waited)
}

func (e *StalledError) Unwrap() error { return e.cause }

// UnexpectedError is a reply that the replication protocol does not have in this place:
// what answers is no Redis, or a proxy.
type UnexpectedError struct {
	Step, Wanted, Found string // Found is quoted and shortened
}

func (e *UnexpectedError) Error() string {
	return fmt.Sprintf("replication handshake: %s: expected %s, but the source replied %s", e.Step, e.Wanted, e.Found)
}

// Retryable tells that err, from Start, CopySnapshot or Read, leaves hope for another
// attempt on a new connection without anybody changing anything: stalls, lost connections,
// and refusals that pass. Not so for refused permissions, replies that make no sense, a
// failing writer of the snapshot, and what the caller ended itself.
func Retryable(err error) bool {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.Retryable()
	}
	var unexpected *UnexpectedError
	var local *writeError
	switch {
	case err == nil, errors.As(err, &unexpected), errors.As(err, &local):
		return false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, net.ErrClosed):
		return false
	}
	return true
}

// writeError is a failure of the writer that takes the snapshot: not the source's fault.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write the snapshot: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }
