package command

import (
	"maps"
	"slices"
	"strings"

	"surecut/internal/profile"
)

// Charge is a rule of a target's kind that applies, or may apply, to a command.
type Charge struct {
	Rule *profile.Rule
	Sure bool // true of every call; false: it depends on the arguments
}

// Against returns the rules of a target's kind against a command ("CONFIG GET") of which only the name is known. The version is
// that of the target's servers, such as 80000; 0 stands for any.
func Against(p *profile.Profile, name string, version int) []Charge {
	words := strings.Fields(name)
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	spec, known := Lookup(args)
	var out []Charge
	if c, ok := againstCall(p, spec, name, version); ok {
		out = append(out, c)
		if c.Sure && p.Refuses(name) {
			return out
		}
	}
	if !known {
		return out
	}
	if spec.Class != Keyless && len(spec.rules) > 0 && !spec.KeyFirst() {
		if r := p.Rule(profile.Misrouted, name, version); r != nil {
			out = append(out, Charge{r, true})
		}
	}
	for _, when := range spec.possible() {
		r := p.Rule(when, name, version)
		if r != nil && !slices.ContainsFunc(out, func(c Charge) bool { return c.Rule.ID == r.ID }) {
			out = append(out, Charge{r, false})
		}
	}
	return out
}

// againstCall finds the rule against calling the command at all. Servers before 7.0 count subcommands under their container: where
// the rules for the subcommands differ, the most severe one counts as possible.
func againstCall(p *profile.Profile, spec *Spec, name string, version int) (Charge, bool) {
	own := p.Rule(profile.Called, name, version)
	if spec == nil || !spec.container || len(spec.subs) == 0 {
		return Charge{own, true}, own != nil
	}
	worst, differ := own, false
	for _, sub := range slices.Sorted(maps.Keys(spec.subs)) {
		r := p.Rule(profile.Called, spec.subs[sub].Name, version)
		if r == own {
			continue
		}
		differ = true
		if r != nil && (worst == nil || slices.Index(profile.Levels(), r.Level) < slices.Index(profile.Levels(), worst.Level)) {
			worst = r
		}
	}
	return Charge{worst, !differ}, worst != nil
}

// possible returns the conditions that calls of the command may meet, depending on their arguments. Conditions on databases are not
// among them, because servers tell which databases are in use.
func (s *Spec) possible() []profile.Condition {
	var out []profile.Condition
	if s.Multi() {
		out = append(out, profile.CrossSlot)
	}
	if s.Class == Script {
		out = append(out, profile.UndeclaredKey, profile.NoKeys)
	}
	switch s.Name {
	case "EXEC":
		out = append(out, profile.TransactionCrossSlot, profile.UnwatchedTransaction)
	case "WATCH":
		out = append(out, profile.WatchCrossSlot)
	case "SORT", "SORT_RO":
		out = append(out, profile.Pattern, profile.PatternElsewhere)
	case "SUBSCRIBE", "PSUBSCRIBE":
		out = append(out, profile.Notifications)
	}
	return out
}
