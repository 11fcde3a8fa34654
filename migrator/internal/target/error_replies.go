package target

import (
	"errors"
	"fmt"
	"strings"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// This file decides what an error reply of the target leads to. The table replies has a row for each code; exceptions says where the
// purpose of the command makes a difference. Whoever reads a reply asks consequenceOf, and does what it says in the way of its command.
//
// One kind of error reply is not looked up: that of a call in the list that EXEC returns. The checkpoint beside the call is written by
// then, so that the call is never sent again, not even by the next run. Whatever the reply is, the keys of the call are copied.

// consequence is what an error leads to. Where several errors belong together, as those of one transaction, the greatest decides: what is
// sent again meets the other errors once more.
type consequence uint8

const (
	noError       consequence = iota
	concernsKey               // the command is refused for good, and everything else goes on: the keys of a call are copied, a value is built by commands, and what fails then is reported
	keyExists                 // the value is not written, since the target has its key already
	endsRun                   // the migration ends; most often the same command resumes it
	sendLater                 // the server refuses the command for now: it is sent again
	sendElsewhere             // the same, and by then another server may answer, or this one with other data: the connection is dropped
	unanswered                // nobody knows whether the command ran: the connection broke, or a proxy did not reach its server
)

// again says whether the command is to be sent again, after the target was asked where its slots are. nodes.Retry does both, for up to
// Config.RetryFor.
func (c consequence) again() bool { return c >= sendLater }

// outcome is a row of the table replies.
type outcome struct {
	is     consequence
	advice string // for whoever runs the migration
}

// replies has the codes of error replies. A code that is not listed, such as ERR, WRONGTYPE, NOSCRIPT or CROSSSLOT, concerns the key.
var replies = map[string]outcome{
	"OOM": {is: endsRun}, // as ErrTargetFull; waiting would make no room

	// A mistake in the settings is not repaired by copying keys.
	"NOPERM":    {endsRun, "allow the target's user this command, its keys and its channels, then run the same command again to resume"},
	"NOAUTH":    {endsRun, "give the target's password, then run the same command again to resume"},
	"WRONGPASS": {endsRun, "correct the target's user and password, then run the same command again to resume"},
	"DENIED":    {endsRun, "let the target accept this host (its protected mode), then run the same command again to resume"},

	// The state of the server passes by itself, or its administrator ends it.
	"BUSY":       {is: sendLater}, // a script runs
	"MISCONF":    {is: sendLater}, // it cannot save to its disk
	"NOREPLICAS": {is: sendLater}, // fewer replicas than min-replicas-to-write
	"TRYAGAIN":   {is: sendLater}, // some of the keys have moved, the others have not yet
	"ASK":        {is: sendLater}, // the slot is moving, and is asked for where it was until MOVED says that it has gone

	// The server is no primary any more, or has just started, and may have lost data.
	"MOVED":       {is: sendElsewhere},
	"CLUSTERDOWN": {is: sendElsewhere},
	"READONLY":    {is: sendElsewhere},
	"MASTERDOWN":  {is: sendElsewhere},
	"LOADING":     {is: sendElsewhere},

	"BUSYKEY": {is: keyExists},
}

// tooManyClients is in the reply of a server that takes no more connections for now. The reply has no code of its own. That of a cluster's
// node goes on with "+ cluster connections reached" since 6.0, others with "reached".
const tooManyClients = "max number of clients"

// named are errors of surecut's own that have a consequence. Any other error that is no reply leaves the command unanswered.
var named = []struct {
	err error
	is  consequence
}{
	{ErrTargetFull, endsRun}, {ErrClaimed, endsRun}, {ErrGivenAway, endsRun}, {ErrRegressed, endsRun},
	{ErrExists, keyExists}, {errKeyTooLong, concernsKey}, {errRanNothing, concernsKey},
}

// purpose is what a command is for. It makes a difference to what an error leads to.
type purpose uint8

const (
	toFollow  purpose = iota // a command of the source, whether it is sent in a transaction, bare or through a proxy; a script or function library
	toRestore                // RESTORE of a value, and what is asked before it
	toBuild                  // one of the commands that build a value
	toGoOn                   // what the run cannot go on without: surecut's own keys, the frame of a transaction, a new connection, the expiry of a value that was written without
)

// exceptions are the deliberate differences between purposes.
var exceptions = map[purpose]map[consequence]consequence{
	toFollow: {keyExists: concernsKey},
	// A value is read from the snapshot only once, in pieces, so that commands which build it cannot be sent again. The next run does.
	toBuild: {sendLater: endsRun, sendElsewhere: endsRun, unanswered: endsRun},
	// No key could be copied or reported in its place.
	toGoOn: {concernsKey: endsRun, keyExists: endsRun},
}

// consequenceOf says what an error leads to if it is the outcome of a command for this purpose.
func consequenceOf(err error, p purpose) consequence {
	if err == nil {
		return noError
	}
	if errors.As(err, new(*connectError)) {
		p = toGoOn
	}
	is := outcomeOf(err).is
	if other, differs := exceptions[p][is]; differs {
		return other
	}
	return is
}

// outcomeOf looks an error up.
func outcomeOf(err error) outcome {
	switch code := codeOf(err); {
	case code == "ERR" && strings.Contains(err.Error(), tooManyClients):
		return outcome{is: sendLater}
	case code != "" && endpoint.Unreached(err):
		return outcome{is: unanswered}
	case code != "":
		if known, listed := replies[code]; listed {
			return known
		}
		return outcome{is: concernsKey}
	}
	for _, n := range named {
		if errors.Is(err, n.err) {
			return outcome{is: n.is}
		}
	}
	if errors.As(err, new(*keyspace.UnsupportedError)) || errors.As(err, new(*TooLargeError)) {
		return outcome{is: concernsKey}
	}
	return outcome{is: unanswered}
}

// codeOf returns the code of an error reply, and "" for any other error. In EXECABORT Transaction discarded because of: <error> it is the
// code of the inner error, if that is listed: since 6.2, EXEC answers so where the server's state now forbids commands that it allowed
// when they were queued.
func codeOf(err error) string {
	code := endpoint.Code(err)
	if code == "EXECABORT" {
		_, cause, _ := strings.Cut(err.Error(), "because of: ")
		inner, _, _ := strings.Cut(strings.TrimPrefix(cause, "-"), " ")
		if _, listed := replies[inner]; listed {
			return inner
		}
	}
	return code
}

// endOf returns the error with which the migration ends because of an error, with advice.
func endOf(err error) error {
	found := outcomeOf(err)
	switch {
	case codeOf(err) == "OOM":
		return ErrTargetFull
	case found.is.again():
		found.advice = "run the same command again to resume"
	}
	if found.advice == "" || strings.Contains(err.Error(), found.advice) {
		return err
	}
	return fmt.Errorf("%w; %s", err, found.advice)
}

// AgainOrEnd says what becomes of a command that the run cannot go on without: nothing if it succeeded; again if it is to be sent again;
// end if the run ends. Both are errors that name the node at addr. With addr "", the given error names it already.
func AgainOrEnd(addr string, failed error) (again, end error) {
	is := consequenceOf(failed, toGoOn)
	if is == endsRun {
		failed = endOf(failed)
	}
	if failed != nil && addr != "" {
		failed = fmt.Errorf("target %s: %w", addr, failed)
	}
	if is == endsRun {
		return nil, failed
	}
	return failed, nil
}

// ErrRegressed says that the target does not hold what it has acknowledged.
var ErrRegressed = errors.New("the target has lost writes that it had acknowledged (it restarted without its data, or a replica was promoted that did not have them all): run the same command again if the target is one server that keeps its data on disk, else start again with a new Config.StateDir and Config.OnExisting replace")

// ErrTargetFull says that the target has no memory left.
var ErrTargetFull = errors.New("the target has no memory left (OOM): raise its maxmemory or make room, then run the same command again to resume")

// ErrExists says that a value was not written since the target has its key already.
var ErrExists = errors.New("the key exists already")

// errKeyTooLong is the failure of a call that nutcracker (twemproxy) would not pass on, but close the connection for.
var errKeyTooLong = errors.New("the name of the key is too long for the proxy (twemproxy takes only names that fit into one of its buffers; their size is its option mbuf-size)")

// errRanNothing says that EXEC ran nothing, though no key was watched.
var errRanNothing = errors.New("EXEC ran nothing")

// RefusedError is an error reply by which the target refuses a command for good, or the reason why a command was not sent.
type RefusedError struct {
	Addr  string
	Reply error
}

func (e *RefusedError) Error() string { return "target " + e.Addr + ": " + e.Reply.Error() }
func (e *RefusedError) Unwrap() error { return e.Reply }

// connectError says that a command was not sent, since there is no connection for it.
type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }
