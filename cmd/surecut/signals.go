package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// graceAfterSecond is how long a command may take to clean up after a second signal.
const graceAfterSecond = 5 * time.Second

// stopSignals returns the signals that stop a command in an orderly way. SIGHUP is sent when a terminal is closed or the connection
// to it is lost. Under nohup it is ignored, and stays ignored.
func stopSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// outliveReaders keeps the process alive when nobody reads its stdout or stderr any more. A write there then fails, and does not
// kill the process with SIGPIPE, which would leave no report, and a source with paused writes.
func outliveReaders() (stop func()) {
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	return func() { signal.Stop(broken) }
}

// secondSignal returns a channel that is closed when the second stop signal arrives. Only signals after the call are counted, so it
// must be called before the work begins. A closed terminal may send SIGHUP more than once, so all SIGHUPs count as one signal.
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

// orAbandon runs a command, which should end when its context ends. If it has not ended graceAfterSecond after a second signal,
// orAbandon returns without it, and the end of the process ends the command.
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
		return interrupted("the work did not end within %v after the second signal, and was abandoned", graceAfterSecond)
	}
}

// unlessStopped returns the error of ctx if a signal has come, otherwise err. The error of an engine whose connections were cut by
// a signal has no meaning.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
