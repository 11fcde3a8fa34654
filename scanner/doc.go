// Package scanner finds what could disturb a migration. It never writes to a source or a target.
//
// A big-key scan reads every key once, from live servers (ScanLive) or from an RDB file (ScanRDB), and sums up the results by type,
// prefix, slot and time to live. The largest keys are listed with the risks that their figures prove. Its memory depends on the
// options, not on the number of keys: the lists of top keys and of prefixes are bounded. Prefixes that do not fit are summed up in
// one group "(other)", so that every breakdown adds up to the totals.
//
// A key that could not be read counts as an error and is never guessed. Where sizes are estimated, the result says so.
package scanner
