package compat

import (
	"slices"
	"strings"
	"time"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/internal/profile"
	"surecut/internal/sharding"
)

// Config says against which target the calls are judged. Only Profile must be set.
type Config struct {
	Profile *profile.Profile
	Version int    // version of the target's servers, 80000 for 8.0; 0: not known, so that the rules of every version apply
	Valkey  bool   // Version is Valkey's own number
	Tag     string // the two bytes that enclose a hash tag, where the profile routes by key; "": there is no hash tag

	// Module returns the server's own description of a command that the table lacks. It may be nil.
	Module func(name string) *command.Spec
}

// Call is one call as it was seen. Args belong to the caller and are not kept.
type Call struct {
	At     time.Time // zero: not known
	Stream string    // calls of one stream are in the order in which one server ran them
	Client string    // address; "": not known
	DB     int
	Lua    bool // made by the last script that was called on this stream
	Args   [][]byte
}

// These bound what is remembered.
const (
	maxClients   = 2000 // by stream: clients in a transaction or with watched keys
	maxKeysKept  = 64   // keys of one call, transaction or script, for templates
	maxName      = 1024 // bytes of a key that is remembered; of longer ones only the slot counts
	maxClient    = 128  // bytes of a client's address
	maxCommands  = 4000 // names of commands, including unknown ones
	maxObserved  = 4000 // number of findings
	templateRoom = 200  // number of templates in one finding
)

// Tally collects evidence and judges it. Only one goroutine may use it at a time.
type Tally struct {
	o        Config
	routes   func(key string) uint32
	commands map[string]*commandCalls
	observed map[observedKey]*observation
	order    []observedKey
	evidence []*Evidence
	streams  map[string]*stream
	pairs    pairing
	trial    *trial          // nil: there is no trial
	free     map[string]bool // functions that may touch keys of several slots, in lower case

	malformed, orphans, skipped int64
	keys                        []int
}

// commandCalls counts the calls of one command.
type commandCalls struct {
	counted  int64 // calls by INFO commandstats
	examined int64 // calls seen with their arguments
	evidence kinds
}

type observedKey struct{ rule, command string }

// observation is a finding that is being collected.
type observation struct {
	rule      *profile.Rule
	command   string
	affected  int64
	possible  bool // possible only: not seen in the arguments of any call
	tools     bool // a number of calls that tools may have made
	templates counter
	examples  []string
	clients   counter
	evidence  kinds
	first     time.Time
	last      time.Time
	details   []string
}

// NewTally returns an empty Tally.
func NewTally(o Config) *Tally {
	t := &Tally{o: o, commands: map[string]*commandCalls{}, observed: map[observedKey]*observation{}, streams: map[string]*stream{}, pairs: newPairing()}
	t.routes = router(o)
	return t
}

// router returns a function that returns a number for a key. Two keys with the same number are together on every target of the
// kind.
func router(o Config) func(key string) uint32 {
	switch o.Profile.Routing {
	case profile.RouteCodis:
		return func(key string) uint32 { return uint32(sharding.CodisSlot(key)) }
	case profile.RouteKey:
		return func(key string) uint32 { return keyHash(tagged(key, o.Tag)) }
	}
	return func(key string) uint32 { return uint32(keyspace.Slot(key)) }
}

// tagged returns the part of a key that decides where it is stored, by twemproxy's rule: the text between the first opening byte
// and the next closing one, unless that is empty.
func tagged(key, tag string) string {
	if len(tag) != 2 {
		return key
	}
	if i := strings.IndexByte(key, tag[0]); i >= 0 {
		if n := strings.IndexByte(key[i+1:], tag[1]); n > 0 {
			return key[i+1 : i+1+n]
		}
	}
	return key
}

// keyHash is FNV-1a. Keys that differ are assumed to be on different servers.
func keyHash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// Evidence begins a new piece of evidence, for which later calls are counted.
func (t *Tally) Evidence(kind, subject string) *Evidence {
	e := &Evidence{Kind: kind, Subject: subject}
	t.evidence = append(t.evidence, e)
	return e
}

// Count notes how often a command, as INFO commandstats names it ("config|get"), was called.
func (t *Tally) Count(e *Evidence, name string, calls int64) {
	name = strings.ToUpper(strings.ReplaceAll(name, "|", " "))
	e.add(name, calls)
	if c := t.command(name); c != nil {
		c.counted += calls
		c.evidence.add(e.Kind)
	}
}

// command returns the counters of a command. It returns nil where there are too many names, which only happens with meaningless
// input.
func (t *Tally) command(name string) *commandCalls {
	c := t.commands[name]
	if c == nil {
		if len(t.commands) == maxCommands {
			t.skipped++
			return nil
		}
		c = &commandCalls{}
		t.commands[name] = c
	}
	return c
}

// Note notes a finding that does not come from a call: a database in use, a client, a line of source code. It does nothing where
// the profile has no rule for it.
func (t *Tally) Note(e *Evidence, when profile.Condition, what string, n int64, detail string) {
	o := t.observe(e, when, what, what, time.Time{}, "")
	if o == nil {
		return
	}
	o.affected += n
	if detail != "" && len(o.details) < 5 && !slices.Contains(o.details, detail) {
		o.details = append(o.details, detail)
	}
}

// observe returns the finding for a condition that a command met, and begins it if necessary. It returns nil where the profile has
// no rule for that.
func (t *Tally) observe(e *Evidence, when profile.Condition, command, subject string, at time.Time, client string) *observation {
	rule := t.o.Profile.Rule(when, command, t.o.Version)
	if rule == nil {
		return nil
	}
	return t.observeRule(e, rule, rule.ID+"\x00"+string(when), subject, at, client)
}

// observeRule returns the finding for a rule and a subject, and begins it if necessary. The parameter id identifies the rule.
func (t *Tally) observeRule(e *Evidence, rule *profile.Rule, id, subject string, at time.Time, client string) *observation {
	key := observedKey{id, subject}
	o := t.observed[key]
	if o == nil {
		if len(t.observed) == maxObserved {
			t.skipped++
			return nil
		}
		o = &observation{rule: rule, command: subject, templates: newCounter(templateRoom), clients: newCounter(templateRoom)}
		t.observed[key], t.order = o, append(t.order, key)
	}
	o.evidence.add(e.Kind)
	if client != "" {
		o.clients.add(client)
	}
	if !at.IsZero() {
		if o.first.IsZero() || at.Before(o.first) {
			o.first = at
		}
		if at.After(o.last) {
			o.last = at
		}
	}
	return o
}

// kinds is a small set of kinds of evidence, in the order in which they were added.
type kinds []string

func (k *kinds) add(kind string) {
	for _, have := range *k {
		if have == kind {
			return
		}
	}
	*k = append(*k, kind)
}

func (k kinds) String() string { return strings.Join(k, ", ") }
