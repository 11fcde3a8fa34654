// Package profile holds what each kind of target does with commands, as data: one file in data for each kind and
// generation of rules, with its version, and for every rule the source of the fact.
//
// A rule says when it applies (a Condition, and the commands), how bad that is (a Level), what the target answers in its own
// words, why, and what to do. Of the rules with one condition the first that names the command holds. The package knows
// no servers, no keys and no calls: whoever has evidence of calls finds the conditions that they meet and asks for the rule.
package profile
