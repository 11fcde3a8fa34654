// Package libraries brings the function libraries of a source to the target.
//
// A library is no key: it belongs to a whole server, and each primary of a cluster has its own copy of all libraries, which whoever loads
// them there keeps alike. So a Set remembers of each link which libraries its shard has, and from that it derives what the target is to
// have: every library that at least one shard has, in the version that came last. A library that one shard flushes or deletes stays as long
// as another one has it.
//
// After each change, every primary of the target is asked for its libraries, and made to have those that it is to have. A library of the
// target is replaced or deleted only if its code is one that this migration has loaded, or, with Config.Replace, to make room for one of the
// source. What the migration is about to load is written to the state before, so that the next run knows it again.
//
// What the target lacks is no event but a state: it is a problem for as long as it lasts.
//
//	library  a name and the code of the functions that go by it
//	version  the hash of a library's code
//	theirs   said of a version that the target had before the migration
//	brought  said of a version that the migration has loaded, or was about to
package libraries
