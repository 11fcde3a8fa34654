package migrator

import (
	"context"

	"surecut/migrator/internal/load"
	"surecut/migrator/internal/stream"
)

// origin is where a link gets its keys and commands from. There are three: a source that is replicated, one that is scanned, and a file.
type origin interface {
	// open opens what an earlier run has left on disk.
	open() error
	close() error

	// run copies until the link is told to stop or the origin ends, and then returns nil, or until it fails.
	run(ctx context.Context) error

	// load loads the snapshot once.
	load(ctx context.Context, ld *load.Config) error

	// feed returns what the stream is read from, beginning at a mark. receiving is done once the migration is told to stop.
	feed(at stream.Mark, receiving context.Context) (stream.Feed, error)

	// received returns the offset up to which the stream has been received.
	received() int64
}

// chooseOrigin sets the origin of the link. path is that of a source that is a file.
func (l *link) chooseOrigin(path string) error {
	file, err := openFile(l.m, path)
	switch {
	case err != nil:
		return err
	case file != nil:
		l.file = &fromFile{l: l, file: file}
		l.origin = l.file
	case l.m.scans():
		l.origin = scanned{l}
	default:
		l.replica = &replica{l: l}
		l.origin = l.replica
	}
	return nil
}
