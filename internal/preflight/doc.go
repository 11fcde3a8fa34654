// Package preflight checks every precondition of a migration before it begins.
//
// Run first gathers the facts of every node of both sides (INFO, CONFIG GET, TIME and the like), then makes the checks from them; a
// few checks send more requests to the servers. The result of a check is pass, note, alarm, fail or skipped, with the figures
// found, what was wanted, and a remedy that can be pasted. A finding that needs no decision by a person is a note and not an alarm.
//
// No problem hides another: if a side cannot be opened, a node does not answer, a command is forbidden or a probe takes too long,
// the checks that need it are skipped, with the reason, and no others. A check that looked only at a sample says so.
//
// The package only reads. The commands that it queues on a server to learn about permissions are discarded and never executed.
package preflight
