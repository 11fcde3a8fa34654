package compat

import (
	"strings"

	"surecut/internal/keyspace"
)

// tagRule makes the new names of a template's keys.
type tagRule struct {
	template string
	active   bool   // false: the names stay as they are
	keep     bool   // the names have their tag already
	constant string // the same tag for all keys; "": part is the tag
	part     int    // index of the folded part that is the tag
	like     string // the text of tags that exist already, such as "user:#"; "": the part alone
}

// Retag returns the name that a key gets by the proposals of a result. A key without a proposal keeps its own.
func (r *Result) Retag(key string) string {
	text, folded := keyspace.Template(key)
	for _, g := range r.KeyGroups {
		for _, t := range g.Templates {
			if t.rule.active && t.rule.template == text {
				return t.rule.apply(key, folded)
			}
		}
	}
	return key
}

func (r tagRule) apply(key string, folded []keyspace.Span) string {
	if r.keep {
		return key
	}
	if r.constant != "" {
		if rest, ok := strings.CutPrefix(key, r.constant); ok && startsApart(rest) {
			return "{" + r.constant + "}" + rest
		}
		return "{" + r.constant + "}:" + key
	}
	if r.part >= len(folded) {
		return key
	}
	at := folded[r.part]
	if r.like == "" || r.like == "#" || r.like == "*" {
		return key[:at.From] + "{" + key[at.From:at.To] + "}" + key[at.To:]
	}
	return "{" + fill(r.like, key[at.From:at.To]) + "}:" + key
}

// startsApart says whether the text after a word is not a continuation of the word.
func startsApart(rest string) bool { return rest == "" || strings.IndexByte(":./|-", rest[0]) >= 0 }

// fill replaces the folded part of a tag's text by a value.
func fill(like, value string) string {
	if i := strings.IndexAny(like, "#*"); i >= 0 {
		return like[:i] + value + like[i+1:]
	}
	return like
}

// pattern returns the result of apply for the template itself.
func (r tagRule) pattern() string {
	var folded []keyspace.Span
	for i := range len(r.template) {
		if r.template[i] == '#' || r.template[i] == '*' {
			folded = append(folded, keyspace.Span{From: i, To: i + 1})
		}
	}
	return r.apply(r.template, folded)
}
