// Package compat finds what stops working on another kind of server: commands that a cluster or a proxy refuses, answers wrongly
// without an error, or answers only at a price.
//
// A Tally collects the evidence: calls with their arguments (Add), in the order in which one server ran them, numbers of calls of a
// command (Count), and other observations (Note). For each call the Tally determines the conditions that it meets, such as keys in
// several slots, and the profile of the target's kind (internal/profile) says what that means there. Numbers alone do not show
// keys: they lead to findings that are possible, whereas calls lead to findings that are proven.
//
// A Result always says what was examined and what that cannot show. Without evidence of calls the best verdict is "unproven".
// Memory is bounded by the number of existing commands, and by limits on templates, examples and clients. Values are never kept,
// and keys only as examples. Nothing is written to a source; a Trial sends the calls to a cluster that was provided for it.
package compat
