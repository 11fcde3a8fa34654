package receive

import (
	"errors"
	"fmt"
	"slices"

	"surecut/internal/spool"
)

// These errors are reasons for which Run ends.
var (
	// ErrNotContinued says that the source cannot continue the stream, since its backlog does not reach back to the end of the spool, or it
	// has another stream.
	ErrNotContinued = errors.New("the source no longer holds the stream from where this link stands (its repl-backlog-size is too small for the outage, or it was replaced): start again with a new Config.StateDir and Config.OnExisting replace; keys that were deleted since will show as extra in verify")

	// ErrFailedOver says that the source has failed over to a primary that cannot continue the stream, so that a new snapshot is needed.
	ErrFailedOver = errors.New("the source has failed over to a primary that does not hold the stream from where this link stands")

	// ErrStranger says that nothing proves that a node, which holds the slots of the shard, belongs to it.
	ErrStranger = errors.New("this node holds the slots of the shard, but it is not one of the shard's known nodes and cannot continue their stream, so it is not certain that it was promoted in their place, and nothing was deleted: begin a new migration with a new Config.StateDir and an empty target (or Config.OnExisting replace)")

	// ErrNoPSYNC says that the stream of a source without PSYNC cannot be continued.
	ErrNoPSYNC = errors.New("the source has no PSYNC (added in Redis 2.8), so a stream that was lost or stopped cannot be continued: empty the target, which may hold keys that the source has deleted meanwhile, and start again with a new Config.StateDir")

	// ErrCut says that a snapshot was cut off after parts of it may have been loaded.
	ErrCut = errors.New("the connection to the source was lost before its snapshot was complete: run the same command again, which first deletes from the target what was loaded of this snapshot")

	// ErrDamaged says that the snapshot which an earlier run has received cannot be read any more.
	ErrDamaged = errors.New("the snapshot that was received is damaged, cut off or gone on the disk")

	// ErrFull says that snapshot or stream have reached their limit on disk.
	ErrFull = errors.New("the spool has reached Config.SpoolLimit: the target is slower than the source writes; raise the limit, or speed up the target, and run the same command again to resume")
)

// errStale says that the topology of the source is behind.
var errStale = errors.New("the topology of the source still names this node as the primary of its shard, but the node says that it is a replica; the topology is asked for again")

// errElsewhere says that the primary of the shard is to be asked instead.
var errElsewhere = errors.New("this node cannot continue the stream; the primary of its shard is asked next")

// errLeft says that the node from which the shard was received does not belong to it any more, according to the topology.
var errLeft = errors.New("the node no longer belongs to its shard")

// errUnfit says that the replica from which the shard was received may lack what its primary has written, or hold what it has not.
var errUnfit = errors.New("the replica is no longer received from")

// final says whether connecting to the source again cannot help after an error.
func final(err error) bool {
	return slices.ContainsFunc([]error{ErrNotContinued, ErrFailedOver, ErrStranger, ErrNoPSYNC, ErrCut, spool.ErrFull},
		func(end error) bool { return errors.Is(err, end) })
}

// DiskError is a failure of the disk to which what is received is written. It ends receiving, since connecting to the source again does not
// help.
type DiskError struct{ err error }

func (e *DiskError) Error() string {
	return e.err.Error() + " (make room or mend the disk under Config.StateDir, and run the same command again to resume)"
}

// Unwrap returns the error of the disk.
func (e *DiskError) Unwrap() error { return e.err }

// onDisk returns the error of a write to a file as a DiskError, and nil for nil. what says what was to be done.
func onDisk(what string, err error) error {
	if err == nil {
		return nil
	}
	return &DiskError{fmt.Errorf("%s: %w", what, err)}
}
