// Package writes learns the names of the keys that are written on a server while it is in use.
//
// There are two sources. Replica attaches to the stream that a server sends to its replicas, at the server's present offset, so
// that the server need not make a snapshot. Tracking uses CLIENT TRACKING in broadcasting mode (since 6.0). Both put the names into
// a Set, which can be exchanged at any moment: later writes go into the new one.
//
// Invariant: a key that a Set does not have was not written between the moment when the Set was put in place and the point that was
// awaited. The opposite does not hold: a Set holds names without their databases, as seeded hashes in bounded memory, so that it
// may have a key that nobody wrote. If the written keys cannot be determined (FLUSHALL, SWAPDB, a command whose keys are not known,
// a lost connection), the Set has every key.
package writes
