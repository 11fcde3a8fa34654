// Package target writes to the deployment that a migration copies into.
//
// Everything stands on nodes (nodes.go): what the deployment can do (Facts, found out in facts_learn.go), which node holds a slot, and how a node
// is asked until it answers. There are two kinds of Writer: direct writes to each node, in transactions; proxied writes through a proxy,
// which passes no transactions on. Open chooses the kind; everybody else asks for the target's Abilities instead of its kind.
//
// For each unit the target holds a checkpoint: the offset up to which the unit's commands are applied. Every transaction also writes the
// checkpoints of its units (direct.go), so that every command is applied exactly once even if the run crashes at any instant and is
// restarted. Some commands may be applied twice without harm; internal/command/absolute.go lists them. They are sent bare, which means as
// single commands without a checkpoint, if mayGoBare in direct.go allows it at that moment. The link's record passes bare commands only once
// the target has answered them, so that after a crash they are applied again from the offset in that record. A server that comes back with
// older data may lack bare commands; instances.go notices that another server answers. docs/consistency.md has the whole rule. All that the
// target remembers of one link is reached through its Checkpoints (checkpoint.go, records.go), which a link shares with its writers.
//
// Three more things belong to the target as a whole. Claim says which run may write: claim_holder.go and claim_resume.go have the rules by
// which its record is judged, claim_store.go writes it. Witnesses show whether a node has lost its keys. leftBehind ends connections on which
// commands might still arrive. The names of surecut's own keys are listed in own_keys.go.
//
// A proxy passes no MULTI on, so that after a lost connection or a crash it is not known which commands were applied; proxied.go says how
// that is repaired.
//
// What an error reply of the target leads to is decided in one place, the table in error_replies.go. A missing permission, or a target
// that is full (OOM), ends the run: the user repairs that, starts surecut again with the same arguments, and it resumes. What passes by
// itself (LOADING, READONLY, MOVED and the like) is waited for, in nodes.Retry. Everything else concerns the keys of the command alone. The
// table also says where it makes a difference what the command was for. Whoever reads a reply asks consequenceOf, or AgainOrEnd for
// surecut's own commands. One kind of error is not looked up there: that of a call in the list which EXEC returns. Its checkpoint is
// written by then, so that its keys are copied, whatever the error is (settle in direct.go).
//
// Expiring (expiring.go) remembers which keys may have expired on the target before a command on them ran, so that the target is asked
// whether such a key is still there. It does not decide which keys are held without their expiry: load and stream do.
//
// Words:
//
//	node         a server that is written at an address of its own; the proxy, where the target is written through one
//	call         one command for the target, and what its reply must show
//	unit         the keys that one checkpoint covers: those of a slot of a cluster, or of a lane of a standalone server
//	transaction  calls that a Writer applies together: in one MULTI ... EXEC with the checkpoints of their units, or bare
//	bare         of a transaction: sent as single commands, without MULTI and without a checkpoint
//	record       the offset up to which all units of a link have applied the stream, as the target holds it; on a cluster, as each node does
//	fence        the offset as of which a key was copied: commands up to this offset are not applied to the key
//	batch        values of a snapshot for one node
//	wave         calls through a proxy that share no key, so that their order does not matter
//	witness      one of surecut's own keys: while it exists, its node has not lost its data
//	claim        the record that says which run may write
//
// The package reads nothing from the source, decides on no key, and counts nothing.
package target
