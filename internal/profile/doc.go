// Package profile holds, as data, what each kind of target does with commands. There is one file in data for each kind and
// generation of rules, with its version, and with the source of the fact for every rule.
//
// A rule says when it applies (a Condition, and the commands), how severe that is (a Level), what the target replies in its own
// words, why, and what to do. Of the rules with the same condition, the first one that names the command applies. The package knows
// no servers, keys or calls: a caller that has evidence of calls determines the conditions that they meet, and asks for the rule.
package profile
