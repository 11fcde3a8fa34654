// Package scanner finds what would break a migration. It never writes.
//
// A big-key scan reads every key once, of live servers (ScanLive) or of an RDB file (ScanRDB), and sums what it
// read by type, prefix, slot and time to live; the largest keys are listed with the risks that their figures
// prove. Its memory depends on the options, not on the number of keys: the lists of top keys and of prefixes are
// bounded, and what falls out of the latter goes to one group "(other)", so that every breakdown adds up to the
// totals.
//
// A key that could not be read is counted as an error, never guessed at; where sizes are estimated the result
// says so.
package scanner
