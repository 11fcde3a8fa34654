// Package verifier compares source and target key by key while both are in use, and repairs what differs.
//
// A run has three parts. The enumeration scans every shard of both sides and reads each key by typed commands
// into a fingerprint; records of key, fingerprint and expiry go to a temporary file, so that memory does not
// depend on the number of keys. The join pairs the records of both sides; what does not agree is a suspect,
// never a verdict. The resolution reads suspects again, in rounds over time or, where a migration feeds the
// target, at one offset of the source, and gives each its finding.
//
// Invariant: "same" is said only of keys that were read on both sides and agreed. What could not be read,
// kept changing or was not enumerated is unchecked, with the reason.
//
// The loops that read values piece by piece are this package's own, and the migrator has others on purpose: one wrong loop in
// both would read the same wrong value twice and call it the same. They share the parsing of single replies alone
// (internal/reply).
//
// The package never writes, except for Repair.
package verifier
