// Package dataset fills servers with data of every type and encoding, keeps them busy with live traffic of every
// class of command, and compares two of them.
//
// It is the tests' own judgement of whether a migration worked: it shares no code with what it judges. Everything
// derives from a seed, which callers print.
//
//   - A Side is one deployment, standalone or cluster.
//   - Fill writes the data set: edge cases, and as many bulk keys as wanted.
//   - Traffic writes at a bounded rate until it is told to stop; a reply that it does not expect fails it.
//   - Compare reads both sides by plain typed commands, key by key, and lists what differs.
//
// Keys that start with "__surecut" belong to the tool and are left out.
package dataset
