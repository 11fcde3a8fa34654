// Package reply converts replies of servers to values: the time, a page of a scan, the entries of a stream, and the replies of
// XINFO and XPENDING about it.
//
// Its invariant: a reply is either read as it was meant or is an error. A reply of an unexpected shape, a malformed number and a
// missing field are never read as zero.
//
// The package opens no connection and decides nothing. The migrator and the verifier share it, but each has its own loop that asks
// for values piece by piece: one wrong loop in both would read the same wrong value twice and call it the same.
package reply
