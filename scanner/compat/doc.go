// Package compat finds what stops working on another kind of server: commands that a cluster or a proxy refuses, answers
// wrongly without an error, or answers at a price.
//
// Evidence goes into a Tally: calls with their arguments (Add), in the order of one server, or how often a command was
// called (Count), or what else was found (Note). For each call the Tally computes the conditions that it meets, such as
// keys in several slots, and the profile of the target's kind (internal/profile) says what that means there. Counts alone
// cannot tell keys: they give findings that are possible, calls give findings that are proven.
//
// A Result always says what was looked at and what that cannot show. Without evidence of calls there is no verdict but
// "unproven". Memory is bounded: by the commands there are, and by limits on templates, examples and clients. Values are
// never kept, keys as examples only. Nothing is written to a source; a Trial sends the calls to a cluster that was given for it.
package compat
