// Package ledger keeps the books of a link: how each of its keys and commands has ended, and which keys the target still holds without
// their expiry.
//
// Every key of the snapshot and every command of the stream ends in exactly one counter, so that what has ended adds up to what has
// come. What did not arrive as it was sent is listed as a problem as well, up to a bound.
//
//	Ledger    the counters of one link
//	Counters  their values, of one run or of several
//	Problem   a key or a command that did not arrive as it was sent
//	Problems  their list, which later runs go on with
//	Expiries  the held keys: keys that the target has without their expiry until the link has caught up
//
// The package decides nothing about a key or a command, and talks to no server.
package ledger
