// Package keylist keeps lists of keys on disk, so that a long list costs no memory and a crash does not forget it.
//
// A list is a file to which keys are added at its end and which is read from its beginning. A key may be in it more than once. A key that
// was added can be read at once; it survives a power failure once Save has returned. FORMAT.md describes the file.
//
// The package does not know why a key is on a list.
package keylist
