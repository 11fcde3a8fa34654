// Package outdir lets only one run at a time use a directory of reports.
//
// A run takes its directory before it connects to anything. From then on the directory holds no outdated verdict: earlier reports
// of the kinds that the run will write, and of the kinds that the run makes outdated, are moved into a subdirectory of earlier/. A
// report of these kinds that is there afterwards was written by the run. A directory whose gate says GO is the record of a cutover,
// and no run may take it.
//
// The package moves only files of surecut's own reports, and deletes only temporary files that a killed run has left.
package outdir
