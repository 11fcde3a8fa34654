package compat

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"surecut/internal/profile"
)

// script is one call of a script, with the keys that it touched.
type script struct {
	e        *Evidence
	command  string
	at       time.Time
	client   string
	session  *session // set where the script runs in a transaction
	declared map[string]bool
	own      keySet   // keys that the script declares
	keys     keySet   // keys that it declares or touches
	strays   []string // names of keys that it touches without declaring them
	strict   bool     // all keys that it touches must be in one slot
	crosses  bool     // one of its calls names keys of several slots
}

// beginScript begins to record what a script touches.
func (a *call) beginScript(keys keySet, at []int) {
	if v := a.t.o.version(); v > 0 && v < sinceShebang && a.shebang() != nil {
		if o := a.t.observeRule(a.e, shebangRule, RuleShebang, a.name, a.At, a.from); o != nil {
			o.affected++
			o.show(keys.names)
		}
		return
	}
	if len(at) == 0 {
		a.condition(profile.NoKeys)
	}
	s := &script{e: a.e, command: a.name, at: a.At, client: a.from, session: a.st.clients[a.Client], declared: map[string]bool{}, own: keys, keys: keys, strict: a.strict()}
	s.keys.names = slices.Clone(keys.names)
	for _, i := range at {
		s.declared[string(a.Args[i])] = true
	}
	a.st.script = s
}

// strict says whether all keys of a script must be in one slot. That is so for functions, and for scripts that begin with a shebang
// (both since 7.0), unless they specify allow-cross-slot-keys. The text of a script that EVALSHA calls is not seen.
func (a *call) strict() bool {
	switch a.name {
	case "FCALL", "FCALL_RO":
		return !a.t.free[strings.ToLower(string(a.Args[1]))]
	}
	line := a.shebang()
	return line != nil && !bytes.Contains(line, []byte("allow-cross-slot-keys"))
}

// shebang returns the first line of a script that begins with a shebang. It returns nil where the script does not, or is not seen.
func (a *call) shebang() []byte {
	if a.name != "EVAL" && a.name != "EVAL_RO" || !bytes.HasPrefix(a.Args[1], []byte("#!")) {
		return nil
	}
	line, _, _ := bytes.Cut(a.Args[1], []byte("\n"))
	return line
}

// addLua records what a call inside a script touched. A server shows such calls directly after the call of the script.
func (t *Tally) addLua(st *stream, c Call) {
	s := st.script
	if s == nil {
		t.orphans++
		return
	}
	spec, known := t.lookup(c.Args)
	if !known {
		return
	}
	a := call{t: t, e: s.e, st: st, spec: spec, name: spec.Name, from: s.client, Call: c}
	if a.unknownThere() {
		return
	}
	at, err := spec.Keys(c.Args, t.keys[:0])
	t.keys = at[:0]
	if err != nil {
		return
	}
	a.inScript(s)
	var own keySet
	for _, i := range at {
		name := string(c.Args[i])
		a.use(&own, i)
		s.keys.add(name, t.routes(name))
		if !s.declared[name] && len(s.strays) < maxKeysKept && !slices.Contains(s.strays, name) {
			s.strays = append(s.strays, name)
		}
	}
	s.crosses = s.crosses || own.cross
}

// inScript judges a call inside a script by its command, regardless of its keys.
func (a *call) inScript(s *script) {
	switch a.name {
	case "SELECT":
		if string(a.Args[1]) == "0" {
			return
		}
	case "SORT", "SORT_RO":
		a.sort()
		return
	}
	if o := a.condition(profile.InScript); o != nil && len(o.details) == 0 {
		o.details = append(o.details, "Called within "+s.command+".")
	}
}

// finish judges the script whose calls have ended.
func (t *Tally) finish(st *stream) {
	s := st.script
	st.script = nil
	if s == nil {
		return
	}
	if len(s.keys.names) > 1 {
		t.pairs.use(s.command, s.keys.names)
	}
	if s.session != nil && s.session.multi {
		s.session.touched.addAll(s.keys)
	}
	if len(s.strays) == 0 {
		return
	}
	o := t.undeclared(s)
	if o == nil {
		return
	}
	o.affected++
	o.show(s.strays)
	if s.keys.cross && len(o.details) == 0 {
		o.details = append(o.details, fmt.Sprintf("At least one call touched keys of several slots, such as %s.", shownKeys(s.keys.names)))
	}
}

// undeclared returns the finding for a script with undeclared keys: the target may refuse the script everywhere, or run it as long
// as one node holds all of its keys, or the undeclared keys may be in the slot of the declared ones, which does little harm.
func (t *Tally) undeclared(s *script) *observation {
	observe := func(when profile.Condition) *observation {
		return t.observe(s.e, when, s.command, s.command, s.at, s.client)
	}
	if s.keys.cross && !s.own.cross && (s.strict || s.crosses) {
		if o := observe(profile.ScriptCrossSlot); o != nil {
			return o
		}
	}
	if s.own.n > 0 && !s.keys.cross {
		return observe(profile.UndeclaredTogether)
	}
	if s.keys.far {
		if o := observe(profile.UndeclaredElsewhere); o != nil {
			return o
		}
	}
	return observe(profile.UndeclaredKey)
}

// allow notes a function that may touch keys of several slots.
func (t *Tally) allow(function string) {
	if t.free == nil {
		t.free = map[string]bool{}
	}
	t.free[strings.ToLower(function)] = true
}

// endStream judges the script that is still open on a stream, and forgets the stream.
func (t *Tally) endStream(name string) {
	if st := t.streams[name]; st != nil {
		t.finish(st)
		delete(t.streams, name)
	}
}
