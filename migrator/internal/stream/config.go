package stream

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/scope"
	"surecut/migrator/internal/target"
)

// Config is what a stream needs of its link.
type Config struct {
	Name      string // of the link
	Target    *target.Target
	Scope     *scope.Scope
	Ledger    *ledger.Ledger
	Expiries  *ledger.Expiries
	Doubts    *Doubts
	Scripts   *Scripts
	Libraries Libraries // nil: function libraries are left out
	Positions *Positions
	Source    *reread.Reader
	Clock     *reread.Clock
	Writer    Writer // of the dispatcher; each lane has one of its own
	Moved     *atomic.Pointer[Moved]
	Link      Link
	Log       *slog.Logger

	Describe func(name string) (*command.Spec, error) // asks the source for a command that surecut does not know by this name; nil: nobody can be asked

	HoldExpiry time.Duration // keys that expire within this time are held without expiry until the link has caught up
	RetryFor   time.Duration // how long an offset is waited for that the source has reached

	File           bool   // the source is a file, whose expiries are postponed until all of it is applied
	Codis          bool   // the servers of the source are behind Codis proxies
	Alone          bool   // no other link writes to the target
	TargetWasEmpty bool   // the target held no keys when the migration began
	CannotCopy     string // why no key can be copied from the source in place of a command; "": keys can be copied
}

// Writer is what the dispatcher writes with.
type Writer interface {
	Committer

	// Rebuild writes a value by commands, and promises what load.Writer does.
	Rebuild(ctx context.Context, k target.Value, over target.Overwrite, walk func(keyspace.Visitor) error) (lost []string, err error)

	// Remove deletes keys, none of which occurs twice. It does not try again.
	Remove(ctx context.Context, keys []keyspace.Key) error
}

// Libraries are the function libraries of the target.
type Libraries interface {
	// Apply carries a FUNCTION command of a link, which need not be the first time. The error is a libraries.ErrUnreadable if it is not known
	// what the command does.
	Apply(ctx context.Context, link string, args []string) error
}

// Link is what a stream asks of its link, which knows the other parts of the migration and the state on disk.
type Link interface {
	// NearlyCaughtUp says whether the lag is so small that held keys may get their expiry.
	NearlyCaughtUp() bool

	// Reserve makes durable that commands up to an offset may have been applied.
	Reserve(offset int64) error

	// SaveState makes durable which state the expiries are in.
	SaveState() error

	// SaveCheckpoint saves a checkpoint of the link on the target.
	SaveCheckpoint(ctx context.Context, at Mark) error

	// RememberWitnesses notes witnesses that were placed on the target.
	RememberWitnesses(ws []target.Witness)

	// Fail ends the link with an error that its finder cannot return.
	Fail(err error)

	// FileEnd returns the offset at which the commands of a file end.
	FileEnd() int64
}
