package migrator

// A source before 2.8 has SYNC and no PSYNC, and tells neither offsets nor a replication ID. The link counts the bytes of the stream
// itself, from 0. So it is not known at which point of the stream a key was read on the source: no key is copied in place of a command, and
// no expiry is held. A stream whose connection is lost cannot be continued, so that a new snapshot replaces what the target has. A run that
// has ended cannot be continued either; the user has to begin anew, since the target may be in use by then.

// cannotCopy returns the reason why keys cannot be copied from the source in place of commands; "": they can.
func (l *link) cannotCopy() string {
	switch {
	case l.file != nil:
		return "its result cannot be copied from a file"
	case !l.standing.countsOffsets():
		return "its result cannot be copied from a source before 2.8, which has no offsets"
	}
	return ""
}
