// Package target writes to the deployment that a migration copies into.
//
// Open finds out what the deployment can do (Facts). There are two kinds of Writer: direct writes to each node, in transactions; proxied
// writes through a proxy, which passes no transactions on. Open chooses the kind; everybody else asks for the target's Abilities instead of
// its kind.
//
// For each unit the target holds a checkpoint: the offset up to which the unit's commands are applied. Every transaction also writes the
// checkpoints of its units (direct.go), so that every command is applied exactly once even if the run crashes at any instant and is
// restarted. Commands that may be applied again (command.Spec.Absolute) need no checkpoint and go bare, as single commands (mayGoBare); the
// link's record, which is written once they are answered, says from where on they are applied again. docs/consistency.md has the whole rule.
// Where another server answers than before, bare commands may be lost (instances.go).
//
// A proxy passes no MULTI on, so that after a lost connection or a crash it is not known which commands were applied; proxied.go says how
// that is repaired.
//
// An error reply of the target has one of three consequences, on which each writer decides. Out of memory or a missing permission ends the
// migration, and the same command resumes it (ErrTargetFull). What passes by itself (LOADING, MOVED and the like, see endpoint.Passing) is
// waited for (Target.Retry). Everything else concerns the command alone.
//
// Words:
//
//	call         one command for the target, and what its reply must show
//	unit         the keys that one checkpoint covers: those of a slot of a cluster, or of a lane of a standalone server
//	transaction  the calls and the checkpoints that one MULTI ... EXEC applies; or, without checkpoints, calls that go bare
//	bare         sent as single commands, without a transaction and without a checkpoint
//	record       the offset up to which all units of a link have applied the stream, as the target holds it; on a cluster, as each node does
//	fence        the offset as of which a key was copied: commands up to this offset are not applied to the key
//	batch        values of a snapshot for one node
//	wave         calls through a proxy that share no key, so that their order does not matter
//	witness      one of surecut's own keys: while it exists, its node has not lost its data
//	claim        the record that says which run may write
//
// The package reads nothing from the source, decides on no key, and counts nothing.
package target
