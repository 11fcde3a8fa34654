// Package command holds what surecut knows of each command of Redis 2.8 to 8.x and Valkey 8.1:
// whether it writes, where its keys stand, since which version it exists, how it may be taken
// apart in a replication stream, and what expiry it gives.
//
// The table (table.tsv) is generated from the COMMAND replies of real servers by gen, joined with
// extra.tsv, which holds by hand what those servers do not tell: commands of other versions and of
// modules, and the key rules that a server marks as incomplete. A new fact goes to extra.tsv, never
// to table.tsv.
//
// The package does no I/O and never panics on what it is given: arguments that fit no form of their
// command are an error.
package command
