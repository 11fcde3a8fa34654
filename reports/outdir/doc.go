// Package outdir keeps a directory of reports to one run at a time.
//
// A run takes its directory before it connects to anything. From then on the directory holds no verdict of another run: reports of
// the kinds that the run will write, and of those that would be out of date with them, are moved into a subdirectory earlier/. What
// is there afterwards, the run has written. A directory whose gate says GO is the record of a cutover, and no run may take it.
//
// The package moves the files of surecut's own reports only; it deletes nothing but temporary files that a killed run has left.
package outdir
