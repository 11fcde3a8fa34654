package command

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:generate go run ./gen -extra extra.tsv -out table.tsv -servers 127.0.0.1:6379

// Class says how a command of a replication stream may be treated.
type Class uint8

const (
	// Ordinary commands touch the keys that Keys returns, and must run as a whole.
	Ordinary Class = iota
	// Split commands may be divided into units of SplitStep arguments, one for each key, without changing the outcome: DEL, UNLINK,
	// TOUCH, EXISTS by key, MSET by pair. MSETNX is not one of them.
	Split
	// Keyless commands have no key: they act on the server, a database or the connection, or send a message. SPUBLISH is one, although
	// a cluster routes it by the slot of its channel (argument 1).
	Keyless
	// Script commands (EVAL, EVALSHA, FCALL) may touch more keys than they declare.
	Script
)

// String returns the class in lower case.
func (c Class) String() string {
	return [...]string{"ordinary", "split", "keyless", "script"}[c&3]
}

// Spec is one command, or one subcommand of a container command.
type Spec struct {
	Name        string // upper case; "XGROUP CREATE" for a subcommand
	Write       bool   // the server flags it as a write; scripts are not flagged, because their code decides
	Movable     bool   // the positions of its keys depend on the arguments
	Class       Class
	SplitStep   int  // arguments in one unit of a Split command: 1, or 2 for MSET; else 0
	Expires     bool // AbsoluteExpiry may change it
	Arity       int  // as COMMAND returns it, including the name; negative: the minimum
	Since       int  // first Redis version, 7*10000+4*100+1 = 70401; 0: not in Redis
	SinceValkey int  // the same in Valkey's own version numbers; older commands keep Redis's number; 0: not in Valkey

	container bool
	subs      map[string]*Spec
	rules     []keyRule
	absolute  func(args [][]byte) bool // nil: no call is absolute
	expiry    rewriter                 // nil: no call sets an expiry
}

// Lookup finds the command that args call, or the subcommand where there is one, in any case of letters. If the subcommand of a
// container is unknown, Lookup returns the container itself, whose Keys returns an error. It allocates nothing.
func Lookup(args [][]byte) (*Spec, bool) {
	if len(args) == 0 {
		return nil, false
	}
	var buf [nameMax]byte
	s, ok := table()[string(upper(&buf, args[0]))]
	if !ok || !s.container || len(args) == 1 {
		return s, ok
	}
	if sub, ok := s.subs[string(upper(&buf, args[1]))]; ok {
		return sub, true
	}
	return s, true
}

// Container says that this is a command whose first argument names a subcommand. Lookup returns it only if it does not know the subcommand.
func (s *Spec) Container() bool { return s.container }

// LookupName finds a command by the name that servers show in INFO commandstats and CLIENT LIST. NameArgs describes that name.
func LookupName(name string) (*Spec, bool) { return Lookup(NameArgs(name)) }

// NameArgs splits a name of INFO commandstats or CLIENT LIST into the arguments that call the command: since 7.0, a bar separates a
// subcommand from its container, as in "config|get".
func NameArgs(name string) [][]byte {
	var args [][]byte
	for word := range strings.SplitSeq(name, "|") {
		args = append(args, []byte(word))
	}
	return args
}

// All returns every command and subcommand, sorted by name.
func All() []*Spec {
	var all []*Spec
	for _, s := range table() {
		all = append(all, s)
		all = slices.AppendSeq(all, maps.Values(s.subs))
	}
	slices.SortFunc(all, func(a, b *Spec) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// nameMax is longer than any name of a command or subcommand; a longer argument is no name.
const nameMax = 40

// upper returns p in upper case, stored in buf, or nil where p is too long to be a name.
func upper(buf *[nameMax]byte, p []byte) []byte {
	if len(p) > nameMax {
		return nil
	}
	for i, c := range p {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		buf[i] = c
	}
	return buf[:len(p)]
}

//go:embed table.tsv
var tableText string

var table = sync.OnceValue(func() map[string]*Spec {
	t, err := parseTable(tableText)
	if err != nil {
		panic("command: the embedded table: " + err.Error()) // the table is generated and embedded: an error is a bug of ours
	}
	return t
})

// parseTable reads lines of name, flags (w writes, m movable, c container), arity, first version of Redis, first version of Valkey
// and key rules, separated by tabs. A subcommand comes after its container.
func parseTable(text string) (map[string]*Spec, error) {
	t := map[string]*Spec{}
	for n, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		container, sub, isSub := strings.Cut(s.Name, " ")
		switch {
		case !isSub:
			t[s.Name] = s
		case t[container] == nil:
			return nil, fmt.Errorf("line %d: %s comes before its container", n+1, s.Name)
		default:
			if t[container].subs == nil {
				t[container].subs = map[string]*Spec{}
			}
			t[container].subs[sub] = s
		}
	}
	return t, nil
}

func parseLine(line string) (*Spec, error) {
	cols := strings.Split(line, "\t")
	if len(cols) != 6 {
		return nil, fmt.Errorf("%d columns, want 6", len(cols))
	}
	if len(cols[0]) > 2*nameMax {
		return nil, errors.New("name is too long")
	}
	s := &Spec{
		Name:      cols[0],
		Write:     strings.Contains(cols[1], "w"),
		Movable:   strings.Contains(cols[1], "m"),
		container: strings.Contains(cols[1], "c"),
	}
	for i, dst := range []*int{&s.Arity, &s.Since, &s.SinceValkey} {
		n, err := strconv.Atoi(cols[2+i])
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", 3+i, err)
		}
		*dst = n
	}
	if cols[5] != "-" {
		for _, field := range strings.Fields(cols[5]) {
			rule, err := parseRule(field)
			if err != nil {
				return nil, fmt.Errorf("key rule %q: %w", field, err)
			}
			s.rules = append(s.rules, rule)
		}
	}
	s.classify()
	return s, nil
}

// classify sets what no server tells: the class, whether expiries are set, and which calls are absolute.
func (s *Spec) classify() {
	switch s.Name {
	case "DEL", "UNLINK", "TOUCH", "EXISTS":
		s.Class, s.SplitStep = Split, 1
	case "MSET":
		s.Class, s.SplitStep = Split, 2
	case "EVAL", "EVALSHA", "FCALL", "EVAL_RO", "EVALSHA_RO", "FCALL_RO":
		s.Class = Script
	default:
		if len(s.rules) == 0 {
			s.Class = Keyless
		}
	}
	s.expiry = expiryRules[s.Name]
	s.Expires = s.expiry != nil
	s.absolute = absoluteRules[s.Name]
}

// Multi says whether the command may name more than one key.
func (s *Spec) Multi() bool {
	if len(s.rules) > 1 || s.Class == Script {
		return true
	}
	return len(s.rules) == 1 && (s.rules[0].special != nil || s.rules[0].count || s.rules[0].last != 0 || s.rules[0].keyword != "")
}

// KeyFirst says whether the first argument is a key in every form of the command. A proxy assumes so for commands that it does not
// know. For a command without keys, KeyFirst returns false.
func (s *Spec) KeyFirst() bool {
	if len(s.rules) == 0 {
		return false
	}
	r := s.rules[0]
	return r.special != nil && s.Name != "MIGRATE" || r.special == nil && !r.count && r.keyword == "" && r.index == 1
}

// Described returns a command as every version of COMMAND describes it: its arity, its first key, its last key (negative: counted
// from the end) and the step between keys. A first key of 0 means that the command has no keys.
func Described(name string, arity int, write bool, first, last, step int) *Spec {
	s := &Spec{Name: name, Write: write, Arity: arity}
	if first > 0 {
		r := keyRule{index: first, last: last, step: max(step, 1)}
		if last >= 0 {
			r.last = last - first
		}
		s.rules = []keyRule{r}
	}
	s.classify()
	return s
}
