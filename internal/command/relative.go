package command

import (
	"bytes"
	"slices"
	"sync"
)

var newest = sync.OnceValue(func() *Dialect { return DialectOf(80000, 0) })

// Relative says whether a command sets an expiry that counts from the moment when the command runs.
func Relative(args [][]byte) bool {
	s, ok := Lookup(args)
	if !ok || !s.Expires {
		return false
	}
	rule, d := expiryRules[s.Name], newest()
	early, changed := rule(nil, args, 1, d)
	if !changed {
		return false
	}
	late, _ := rule(nil, args, 2, d)
	return !slices.EqualFunc(early, late, func(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) })
}
