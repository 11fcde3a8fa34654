package compat

import (
	"fmt"
	"slices"

	"surecut/internal/profile"
)

// script begins to follow what a script touches.
func (a *call) script(keys keySet, at []int) {
	if len(at) == 0 {
		a.condition(profile.NoKeys)
	}
	s := &script{e: a.e, command: a.name, at: a.At, client: a.from, session: a.st.clients[a.Client], declared: map[string]bool{}, keys: keys}
	s.keys.names = slices.Clone(keys.names)
	for _, i := range at {
		s.declared[string(a.Args[i])] = true
	}
	a.st.script = s
}

// addLua notes what a script's call touched. Servers show it right behind the call of the script.
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
	at, err := spec.Keys(c.Args, t.keys[:0])
	t.keys = at[:0]
	if err != nil {
		return
	}
	for _, i := range at {
		name := string(c.Args[i])
		s.keys.add(name, t.routes(name))
		if !s.declared[name] && len(s.strays) < maxKeysKept && !slices.Contains(s.strays, name) {
			s.strays = append(s.strays, name)
		}
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
	o := t.observe(s.e, profile.UndeclaredKey, s.command, s.command, s.at, s.client)
	if o == nil {
		return
	}
	o.affected++
	o.show(s.strays)
	if s.keys.cross && len(o.details) == 0 {
		o.details = append(o.details, fmt.Sprintf("At least one call touched keys of several slots, such as %s.", shownKeys(s.keys.names)))
	}
}

// endStream judges what is still open on a stream and forgets it.
func (t *Tally) endStream(name string) {
	if st := t.streams[name]; st != nil {
		t.finish(st)
		delete(t.streams, name)
	}
}
