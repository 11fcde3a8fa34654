package profile

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// Level says how severe the effect of a rule is.
type Level string

// The levels begin with the most severe one.
const (
	Block  Level = "block"  // the target refuses the command
	Silent Level = "silent" // the reply differs, or half of the effect is missing, without an error
	Latent Level = "latent" // works until there are more shards, or until a limit is reached
	Cost   Level = "cost"   // works at a price
	Info   Level = "info"
)

// Levels lists the levels, the most severe first.
func Levels() []Level { return []Level{Block, Silent, Latent, Cost, Info} }

// Condition is what must be true for a call, or for a client, so that a rule applies.
type Condition string

// Conditions of transactions and scripts need evidence that shows the order of calls.
const (
	Called               Condition = "called"                 // the command was called
	CrossSlot            Condition = "cross-slot"             // the keys of the command are in several slots
	OtherDatabase        Condition = "other-database"         // the command names a database other than 0
	SeveralDatabases     Condition = "several-databases"      // calls or keys in databases other than 0
	TransactionCrossSlot Condition = "transaction-cross-slot" // the keys of a MULTI ... EXEC are in several slots
	UnwatchedTransaction Condition = "unwatched-transaction"  // a MULTI ... EXEC without a WATCH before it
	WatchCrossSlot       Condition = "watch-cross-slot"       // the keys that several WATCH and the transaction name are in several slots
	NoKeys               Condition = "no-keys"                // a script that declares no keys
	UndeclaredKey        Condition = "undeclared-key"         // a script touched a key that it did not declare
	UndeclaredElsewhere  Condition = "undeclared-elsewhere"   // as undeclared-key, and by slots the keys of the script are on several nodes
	WatchElsewhere       Condition = "watch-elsewhere"        // the keys that several WATCH and the transaction name are on several nodes
	UndeclaredTogether   Condition = "undeclared-together"    // as undeclared-key, but in one slot with the declared keys
	ScriptCrossSlot      Condition = "script-cross-slot"      // a script limited to one slot (a function, a shebang), or one call of a script, used several
	InScript             Condition = "in-script"              // a script called the command
	Pattern              Condition = "pattern"                // SORT with GET, or with a BY that reads other keys
	PatternElsewhere     Condition = "pattern-elsewhere"      // SORT whose BY or GET reads keys without the sorted key's hash tag
	Misrouted            Condition = "misrouted"              // the first argument of the command is not a key
	Notifications        Condition = "notifications"          // a subscription to keyspace notifications
	PlainClient          Condition = "plain-client"           // source code creates a client for a single server
	Clients              Condition = "clients"                // clients that are connected
	FunctionNoCluster    Condition = "function-no-cluster"    // a function that forbids running on a cluster
)

var conditions = []Condition{Called, CrossSlot, OtherDatabase, SeveralDatabases, TransactionCrossSlot, UnwatchedTransaction, WatchCrossSlot, NoKeys, UndeclaredKey,
	UndeclaredElsewhere, WatchElsewhere, UndeclaredTogether, ScriptCrossSlot, InScript, Pattern, PatternElsewhere, Misrouted, Notifications, PlainClient, Clients, FunctionNoCluster}

// These are the ways in which kinds of targets spread keys.
const (
	RouteCluster = "cluster" // CRC16 modulo 16384, hash tag in braces
	RouteCodis   = "codis"   // CRC32 modulo 1024, hash tag in braces; an empty tag counts
	RouteKey     = "key"     // as the user configures it: keys without a common hash tag may be on different servers
)

// Profile is one kind of target.
type Profile struct {
	Kind    string            `yaml:"kind"`
	Name    string            `yaml:"name"` // the kind, or the kind with the year of its rules
	Title   string            `yaml:"title"`
	Version string            `yaml:"version"` // version of the product that the rules are about
	Dated   string            `yaml:"dated"`   // date when they were true, 2006-01-02
	Default bool              `yaml:"default"` // the profile of its kind that is used where no name is given
	Routing string            `yaml:"routing"`
	Engine  string            `yaml:"engine"` // Redis version of the servers, if the kind fixes it: later commands are unknown
	Gaps    []string          `yaml:"gaps"`   // what the rules do not cover, in full sentences
	Sources map[string]string `yaml:"sources"`
	Rules   []Rule            `yaml:"rules"`
}

// Rule is one fact about a kind of target.
type Rule struct {
	ID       string    `yaml:"id"`
	When     Condition `yaml:"when"`
	Commands []string  `yaml:"commands"` // upper case; a container stands for its subcommands; "*" for all
	Except   []string  `yaml:"except"`
	Since    string    `yaml:"since"` // first version of the target for which the rule applies
	Until    string    `yaml:"until"` // first version for which it no longer applies
	Level    Level     `yaml:"level"`
	Error    string    `yaml:"error"` // a part of the target's own error text that is the same in all of its versions
	Also     []string  `yaml:"also"`  // other error texts that the same call may get
	Reason   string    `yaml:"reason"`
	Remedy   string    `yaml:"remedy"`
	Source   string    `yaml:"source"`
}

//go:embed data
var data embed.FS

var all = sync.OnceValue(func() []*Profile {
	files, err := fs.Glob(data, "data/*.yaml")
	if err != nil {
		panic("profile: " + err.Error()) // the pattern is a constant of ours
	}
	var list []*Profile
	for _, file := range files {
		text, err := data.ReadFile(file)
		if err == nil {
			var p *Profile
			if p, err = Parse(text); err == nil {
				list = append(list, p)
			}
		}
		if err != nil {
			panic("profile: " + file + ": " + err.Error()) // profiles are embedded and tested: an error is a bug of ours
		}
	}
	return list
})

// All returns every profile, by name.
func All() []*Profile { return all() }

// Names lists what Get accepts: kinds, and names where a kind has several generations.
func Names() []string {
	var names []string
	for _, p := range all() {
		names = append(names, p.Kind, p.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Get finds a profile by its name, or by its kind if it is the kind's default.
func Get(name string) (*Profile, error) {
	for _, p := range all() {
		if p.Name == name || p.Kind == name && p.Default {
			return p, nil
		}
	}
	return nil, fmt.Errorf("unknown kind of target %q; want %s", name, strings.Join(Names(), ", "))
}

// Parse reads a profile. Its error names everything in the profile that makes no sense.
func Parse(text []byte) (*Profile, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	p := &Profile{}
	if err := d.Decode(p); err != nil {
		return nil, errors.New(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one document")
	}
	return p, p.validate()
}

func (p *Profile) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for field, value := range map[string]string{"kind": p.Kind, "name": p.Name, "title": p.Title, "version": p.Version} {
		if value == "" {
			bad("%s is missing", field)
		}
	}
	if _, err := time.Parse(time.DateOnly, p.Dated); err != nil {
		bad("dated is %q, want a day as 2006-01-02", p.Dated)
	}
	if !slices.Contains([]string{RouteCluster, RouteCodis, RouteKey}, p.Routing) {
		bad("routing is %q", p.Routing)
	}
	if len(p.Rules) == 0 {
		bad("there are no rules")
	}
	for i, r := range p.Rules {
		at := fmt.Sprintf("rule %d (%s)", i+1, r.ID)
		switch {
		case r.ID == "" || r.Reason == "" || r.Remedy == "":
			bad("%s lacks its id, reason or remedy", at)
		case !slices.Contains(conditions, r.When):
			bad("%s: when is %q", at, r.When)
		case !slices.Contains(Levels(), r.Level):
			bad("%s: level is %q", at, r.Level)
		case len(r.Commands) == 0:
			bad("%s names no commands", at)
		case p.Sources[r.Source] == "":
			bad("%s: source %q is not among the sources", at, r.Source)
		}
		for _, v := range []string{r.Since, r.Until} {
			if _, err := ParseVersion(v); v != "" && err != nil {
				bad("%s: %w", at, err)
			}
		}
	}
	if p.Engine != "" {
		if _, err := ParseVersion(p.Engine); err != nil {
			bad("engine: %w", err)
		}
	}
	if p.Name == p.Kind {
		p.Default = true
	}
	return errors.Join(errs...)
}

// ParseVersion returns "8.0" as 80000 and "7.0.15" as 70015.
func ParseVersion(text string) (int, error) {
	parts := strings.Split(text, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return 0, fmt.Errorf("version %q is not like 7.0", text)
	}
	n := 0
	for i, scale := range []int{10000, 100, 1} {
		if i == len(parts) {
			break
		}
		v, err := strconv.Atoi(parts[i])
		if err != nil || v < 0 || v > 99 {
			return 0, fmt.Errorf("version %q is not like 7.0", text)
		}
		n += v * scale
	}
	return n, nil
}

// Rule returns the rule that applies to a command ("XGROUP CREATE") under a condition on a target of the given version (80000 for
// 8.0; with 0 the rules of all versions count). It returns nil where no rule applies.
func (p *Profile) Rule(when Condition, command string, version int) *Rule {
	for i := range p.Rules {
		if r := &p.Rules[i]; r.When == when && r.names(command) && r.holds(version) {
			return r
		}
	}
	return nil
}

func (r *Rule) names(command string) bool {
	return lists(r.Commands, command) && !lists(r.Except, command)
}

func lists(names []string, command string) bool {
	container, _, _ := strings.Cut(command, " ")
	return slices.ContainsFunc(names, func(n string) bool { return n == "*" || n == command || n == container })
}

func (r *Rule) holds(version int) bool {
	if version == 0 {
		return true
	}
	since, _ := ParseVersion(r.Since) // validated before; "" is 0
	until, err := ParseVersion(r.Until)
	return version >= since && (err != nil || version < until)
}

// Refuses says whether the target refuses the command itself, whatever its arguments.
func (p *Profile) Refuses(command string) bool {
	r := p.Rule(Called, command, 0)
	return r != nil && (r.Error != "" || r.Level == Block) && r.Level != Latent
}
