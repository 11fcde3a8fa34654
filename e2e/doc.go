// Package e2e runs the real binary against real servers (build tag e2e).
//
// Nothing here imports what it judges: the binary is started as a user starts it, and its work is compared by package
// dataset. Every test fails where a server is missing.
//
//	TestMatrix       standalone and cluster, both ways, within and across versions, under load
//	TestKilled       kill -9 at bad moments, then the same command again: every write exactly once
//	TestKilledAgain  kill -9 again and again behind the snapshot: nothing that was noted of a key is forgotten
//	TestBadInput     what goes wrong: one clear line, the contract's exit status, no half report
package e2e
