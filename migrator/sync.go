package migrator

import (
	"surecut/internal/endpoint"
)

// A source before 2.8 has SYNC and no PSYNC: it tells neither offsets nor a replication ID. The link counts the bytes of the
// stream itself, from 0. So nothing read at the source can be put in order with the stream: no key is copied in place of a
// command, and no expiry is held. A connection that is lost cannot be continued: a new snapshot replaces what the target has. Nor
// can a run that has ended; that is left to the user, for the target may be in use by then.

// cannotCopy says why keys cannot be copied from the source in place of commands; "" where they can.
func (l *link) cannotCopy() string {
	switch {
	case l.file != nil:
		return "a file cannot be asked for its result"
	case !l.standing.countsOffsets():
		return "a source before 2.8 tells no offset at which its result could be copied"
	}
	return ""
}

// unknownCommand says that a server refused a command that it does not have; the reply has no code of its own.
func unknownCommand(err error) bool { return endpoint.Code(err) == "ERR" }
