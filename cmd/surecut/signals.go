package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// graceAfterSecond is how long a command may take to put things in order after a second signal.
const graceAfterSecond = 5 * time.Second

// secondSignal closes its channel when a second SIGINT or SIGTERM comes. The first one, which ends the context of the command,
// counts only if it comes after the call, so this is to be called before the work begins.
func secondSignal() (second <-chan struct{}, stop func()) {
	signals, closed, over := make(chan os.Signal, 4), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for range 2 {
			select {
			case <-signals:
			case <-over:
				return
			}
		}
		close(closed)
	}()
	return closed, func() { signal.Stop(signals); close(over) }
}

// orAbandon runs a command, which ends by itself when the context does. Where it has not ended some seconds after a second signal, it
// is left behind: the process ends with it.
func orAbandon(ctx context.Context, work func() error) error {
	second, stop := secondSignal()
	defer stop()
	done := make(chan error, 1)
	go func() { done <- work() }()
	select {
	case err := <-done:
		return err
	case <-second:
	}
	select {
	case err := <-done:
		return err
	case <-time.After(graceAfterSecond):
		return interrupted("a second signal came, and the work did not end within %v of it; it was left where it stood", graceAfterSecond)
	}
}

// unlessStopped is err, or that a signal has come: what an engine found while its connections were broken off is no finding.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
