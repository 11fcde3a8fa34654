// Package reply reads the replies of servers as values: the time, a page of a scan, the entries of a stream, and what XINFO
// and XPENDING tell of it.
//
// Its invariant: a reply is read as it was meant, or it is an error. A reply of another shape than the commands give, a number
// that is none and a field that is missing are never read as zero.
//
// The package opens no connection and decides on nothing. The migrator and the verifier share it, and each has a loop of its
// own that asks for values piece by piece: one wrong loop in both would read the same wrong value twice and call it the same.
package reply
