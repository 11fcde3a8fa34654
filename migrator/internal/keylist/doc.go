// Package keylist keeps lists of keys on disk, so that a long list costs no memory and a crash does not forget it.
//
// A list is a file to which keys are added at its end and which is read from its beginning. A key may stand in it more than once.
// What was added is read back at once; it survives a power failure once Save has returned. FORMAT.md describes the file.
//
// The package does not decide why a key is on a list: that is the matter of who keeps it.
package keylist
