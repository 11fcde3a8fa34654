// Package preflight checks every precondition of a migration before it begins.
//
// Run first gathers the facts of every node of both sides (INFO, CONFIG GET, TIME and the like), then makes the
// checks from them; a few checks ask the servers more. A check says pass, note, alarm, fail or skipped,
// with the figures found, what was wanted, and a remedy that can be pasted. What needs no decision of a person is a note and no alarm.
//
// Nothing hides anything: a side that cannot be opened, a node that does not answer, a command that is forbidden
// or a probe that takes too long makes the checks that need it skipped, with the reason, and no others. A check that looked
// at a sample says so.
//
// The package only reads. What it queues on a server to learn of permissions is discarded, never executed.
package preflight
