// Package verifier compares source and target key by key while both are in use, and repairs what differs.
//
// A run has three parts. The enumeration scans every shard of both sides and reads each key by typed commands into a
// fingerprint. It writes a record of key, fingerprint and expiry to a temporary file, so that memory does not depend
// on the number of keys. The join pairs the records of both sides; a key whose records do not agree is a suspect and
// has no verdict yet. The resolution reads the suspects again, in rounds over time or, where a migration feeds the
// target, at one offset of the source, and gives each key its finding.
//
// Invariant: "same" is said only of keys that were read on both sides and agreed. A key that could not be read, kept
// changing or was not enumerated is unchecked, with the reason.
//
// This package has its own loops that read values piece by piece, and the migrator has others on purpose: one wrong
// loop in both would read the same wrong value twice and call it the same. They share only the parsing of single
// replies (internal/reply).
//
// A side keeps which nodes are read (roster), lends their readers (readerPool), and knows which keys are compared under which names
// (naming). A reader reads keys over one connection: their types and expiries (headReader), then their values in a batch (valueBatch),
// in windows where they are large (largeValue), or all as of one offset (instantReader). A verification takes the keys through its
// parts, from window to window (windows).
//
// The package never writes, except for Repair: only a repairer has a keyWriter.
package verifier
