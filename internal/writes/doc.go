// Package writes learns the names of the keys that are written on a server while it is in use.
//
// There are two sources. Replica attaches to the stream that a server sends to its replicas, at the offset where the server stands
// now: that costs the server no snapshot. Tracking asks for CLIENT TRACKING in broadcasting mode (since 6.0). Both put the names into
// a Set, which can be exchanged at any moment: what is written from then on is in the new one.
//
// Invariant: a key that a Set does not have was not written since the Set was put in place, up to the point that was awaited. The
// other direction does not hold: a Set knows names without their databases, as seeded hashes in bounded memory, so that it may have a
// key that nobody wrote. Whatever cannot be told apart (FLUSHALL, SWAPDB, a command whose keys are not known, a connection that was
// lost) makes a Set have every key.
package writes
