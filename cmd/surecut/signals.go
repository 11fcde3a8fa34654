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

// stopSignals are those that stop a command in good order. A terminal that is closed, or a connection to it that is lost, sends SIGHUP;
// under nohup that is ignored, and stays so.
func stopSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// outliveReaders keeps the process alive when nobody reads its stdout or stderr any more: writing there fails instead of killing it with
// SIGPIPE, which would leave no report, and a source whose writes are paused.
func outliveReaders() (stop func()) {
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	return func() { signal.Stop(broken) }
}

// secondSignal closes its channel when a second signal comes that stops a command. The first one, which ends the context of the command,
// counts only if it comes after the call, so this is to be called before the work begins. A terminal that is closed may send SIGHUP more
// than once, which is one signal.
func secondSignal() (second <-chan struct{}, stop func()) {
	signals, closed, over := make(chan os.Signal, 4), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, stopSignals()...)
	go func() {
		for seen, hungUp := 0, false; seen < 2; {
			select {
			case s := <-signals:
				if s == syscall.SIGHUP && hungUp {
					continue
				}
				hungUp = hungUp || s == syscall.SIGHUP
				seen++
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

// unlessStopped returns err, or the error of ctx where a signal has come: an engine whose connections were broken off has found nothing.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
