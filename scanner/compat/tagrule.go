package compat

import (
	"strings"

	"surecut/internal/keyspace"
)

// tagRule makes the new name of a key of a template.
type tagRule struct {
	template string
	active   bool   // else the name stays
	keep     bool   // it has its tag already
	constant string // the tag of all keys, or
	part     int    // the folded part that is the tag
	like     string // the text of tags that are there already, such as "user:#"; "": the part alone
}

// Retag gives the name that the proposals of a result make of a key; a key that none speaks of keeps its own.
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

// startsApart: what follows a word does not go on with it.
func startsApart(rest string) bool { return rest == "" || strings.IndexByte(":./|-", rest[0]) >= 0 }

// fill puts a value in place of the folded part of a tag's text.
func fill(like, value string) string {
	if i := strings.IndexAny(like, "#*"); i >= 0 {
		return like[:i] + value + like[i+1:]
	}
	return like
}

// pattern is what apply makes of the template.
func (r tagRule) pattern() string {
	var folded []keyspace.Span
	for i := range len(r.template) {
		if r.template[i] == '#' || r.template[i] == '*' {
			folded = append(folded, keyspace.Span{From: i, To: i + 1})
		}
	}
	return r.apply(r.template, folded)
}
