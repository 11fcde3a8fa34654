package migrator

import "surecut/migrator/internal/target"

// Names of package target, for tests in which target is a server.
var (
	errClaimed    = target.ErrClaimed
	errRegressed  = target.ErrRegressed
	errTargetFull = target.ErrTargetFull
)

const keyMigration = target.KeyMigration
