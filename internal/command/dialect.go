package command

import (
	"maps"
	"slices"
	"strings"
)

// Form is an option or a form of a command that was added later than the command itself.
type Form uint8

const (
	Replace        Form = iota // RESTORE REPLACE, since 3.0
	AbsTTL                     // RESTORE ABSTTL, IDLETIME and FREQ, since 5.0
	KeepTTL                    // SET KEEPTTL, since 6.0
	SetAbsolute                // SET PXAT, since 6.2
	HashSetMany                // HSET of several fields, since 4.0
	PushMany                   // LPUSHX and RPUSHX of several elements, since 4.0
	PopCount                   // LPOP and RPOP with a count, since 6.2
	ZAddFlags                  // ZADD NX, XX, CH and INCR, since 3.0.2
	ZAddCompare                // ZADD GT and LT, since 6.2
	StreamTrim                 // XADD NOMKSTREAM and MINID, XTRIM MINID, since 6.2
	CreateConsumer             // XGROUP CREATECONSUMER, since 6.2
	StreamCounters             // XGROUP ENTRIESREAD and XSETID ENTRIESADDED, since 7.0
	GeoStoreEmpty              // GEORADIUS STORE deletes its destination where the source key does not exist, since 6.2.6
	forms
)

// formSince is the first Redis version of each form. Valkey has all of them.
var formSince = [forms]int{
	Replace: 30000, AbsTTL: 50000, KeepTTL: 60000, SetAbsolute: 60200, HashSetMany: 40000, PushMany: 40000, PopCount: 60200,
	ZAddFlags: 30002, ZAddCompare: 60200, StreamTrim: 60200, CreateConsumer: 60200, StreamCounters: 70000,
	GeoStoreEmpty: 60206,
}

// Forms lists every form.
func Forms() []Form {
	all := make([]Form, forms)
	for i := range all {
		all[i] = Form(i)
	}
	return all
}

// Dialect says what a server understands: commands by name, and forms. A Dialect does not change once it is made.
type Dialect struct {
	names map[string]bool // in upper case; of a container only its own name
	forms [forms]bool
	rules map[*Spec]rule // rules for the commands that Rewrite may have to change

	claims bool // the stream's XCLAIM drops a pending entry whose stream entry is gone, but XCLAIM of this server does not
}

// NewDialect returns the dialect of a server that knows these commands, in any case of letters, and these forms.
func NewDialect(names []string, has []Form) *Dialect {
	d := &Dialect{names: make(map[string]bool, len(names))}
	for _, n := range names {
		d.names[strings.ToUpper(n)] = true
	}
	for _, f := range has {
		d.forms[f] = true
	}
	d.rules = d.chooseRules()
	return d
}

// DialectOf returns the dialect of a server whose version alone is known. The first version is the Redis-compatible one (70015 for
// 7.0.15), the second is Valkey's own, or 0 for Redis.
func DialectOf(redis, valkey int) *Dialect {
	var names []string
	for _, s := range All() {
		since, number := s.Since, redis
		if valkey > 0 {
			since, number = s.SinceValkey, valkey
		}
		if since > 0 && since <= number {
			names = append(names, s.Name)
		}
	}
	var has []Form
	for f, since := range formSince {
		if valkey > 0 || since <= redis {
			has = append(has, Form(f))
		}
	}
	return NewDialect(names, has)
}

// Common returns what both dialects understand.
func (d *Dialect) Common(other *Dialect) *Dialect {
	var names []string
	for n := range d.names {
		if other.names[n] {
			names = append(names, n)
		}
	}
	var has []Form
	for f := range forms {
		if d.forms[f] && other.forms[f] {
			has = append(has, f)
		}
	}
	return NewDialect(names, has)
}

// Without returns the dialect without one form.
func (d *Dialect) Without(f Form) *Dialect {
	other := *d
	other.forms[f] = false
	other.rules = other.chooseRules()
	return &other
}

// From returns the dialect for applying a stream that comes from a source of the given dialect.
func (d *Dialect) From(source *Dialect) *Dialect {
	other := *d
	other.claims = source.Has(StreamCounters) && !d.Has(StreamCounters) // both came with 7.0
	return &other
}

// WithoutCommand returns the dialect without one command.
func (d *Dialect) WithoutCommand(name string) *Dialect {
	other := *d
	other.names = maps.Clone(d.names)
	delete(other.names, name)
	other.rules = other.chooseRules()
	return &other
}

// Knows says whether the server has a command. For "XGROUP CREATE" it says whether the server has XGROUP.
func (d *Dialect) Knows(name string) bool {
	name, _, _ = strings.Cut(name, " ")
	return d.names[name]
}

// Has says whether the server accepts a form.
func (d *Dialect) Has(f Form) bool { return d.forms[f] }

// Names lists the commands, sorted.
func (d *Dialect) Names() []string { return slices.Sorted(maps.Keys(d.names)) }
