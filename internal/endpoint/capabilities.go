package endpoint

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"

	"surecut/internal/command"
	"surecut/internal/keyspace"
)

// Capabilities says what a server, or a proxy, can do. What the server tells takes precedence; its version decides only where it
// tells nothing.
type Capabilities struct {
	Dialect  *command.Dialect // commands and their forms
	Multi    bool             // MULTI ... EXEC
	Select   bool             // SELECT
	Eval     bool             // EVAL
	MultiKey bool             // commands over keys of several slots

	Guessed []string // what the server did not tell, so that its version decided, such as "SET KEEPTTL"
}

// CapabilitiesOf returns the capabilities of a server of which only the facts are known.
func CapabilitiesOf(s Server) Capabilities {
	own, err := ParseVersion(s.Version)
	if s.Flavor != "valkey" || err != nil {
		own = 0
	}
	return Capabilities{Dialect: command.DialectOf(s.Number, own), Multi: true, Select: true, Eval: true, MultiKey: !s.Cluster}
}

// Capabilities asks one node what it can do, once for each server process that is found at the address. It sends probes for forms
// only to a target, because they are forms of writing commands: each probe names a key that does not exist, and would change the
// key if it did. For a source it reads the forms from the arities of the commands, and from the version where those do not tell.
func (d *Deployment) Capabilities(ctx context.Context, addr string, target bool) (Capabilities, error) {
	s, err := d.Server(ctx, addr)
	if err != nil {
		return Capabilities{}, err
	}
	d.mu.Lock()
	known, ok := d.capabilities[probedNode{addr, target}]
	d.mu.Unlock()
	if ok && known.runID == s.RunID {
		return known.Capabilities, nil
	}
	client, err := d.Client(ctx, addr, 0)
	if err != nil {
		return Capabilities{}, err
	}
	dc, release := client.Dedicate() // the connection keeps the state of MULTI and SELECT
	defer release()
	p := prober{ctx: ctx, c: dc, target: target, key: d.probeKey(addr), guess: CapabilitiesOf(s)}
	c, err := p.probe()
	if err != nil {
		return Capabilities{}, fmt.Errorf("ask %s what it can do: %w", addr, err)
	}
	d.mu.Lock()
	d.capabilities[probedNode{addr, target}] = probed{c, s.RunID}
	d.mu.Unlock()
	return c, nil
}

type probedNode struct {
	addr   string
	target bool
}

type probed struct {
	Capabilities
	runID string
}

// probeKey returns a name of surecut's own in a slot that the node serves.
func (d *Deployment) probeKey(addr string) string {
	slot := uint16(0)
	for _, shard := range d.Shards() {
		if shard.Primary.Addr == addr && len(shard.Slots) > 0 {
			slot = shard.Slots[0].First
		}
	}
	return keyspace.Prefix + ":probe:{" + keyspace.SlotTag(slot) + "}"
}

type prober struct {
	ctx    context.Context
	c      rueidis.DedicatedClient
	target bool
	key    string
	guess  Capabilities
	out    Capabilities
	arity  map[string]int64 // arities of the commands; nil where COMMAND did not tell
}

func (p *prober) probe() (Capabilities, error) {
	names, err := p.names()
	if err != nil {
		return p.out, err
	}
	has, err := p.forms(names)
	if err != nil {
		return p.out, err
	}
	p.out.Dialect = command.NewDialect(names, has)
	return p.out, p.brackets()
}

func (p *prober) do(args ...string) rueidis.RedisResult {
	return p.c.Do(p.ctx, p.c.B().Arbitrary(args...).Build())
}

// names lists the commands of the server: as COMMAND returns them (since 2.8.13), else by trying each.
func (p *prober) names() ([]string, error) {
	res := p.do("COMMAND")
	if err := res.NonRedisError(); err != nil {
		return nil, err
	}
	list, err := res.ToArray()
	if err != nil || len(list) == 0 {
		return p.tryNames()
	}
	names := make([]string, 0, len(list))
	p.arity = map[string]int64{}
	for _, m := range list {
		facts, err := m.ToArray()
		if err != nil || len(facts) < 2 {
			return nil, fmt.Errorf("COMMAND returned an element that is not a command: %w", err)
		}
		name, err := facts[0].ToString()
		if err != nil {
			return nil, fmt.Errorf("COMMAND returned a command without a name: %w", err)
		}
		names = append(names, name)
		if p.arity[strings.ToUpper(name)], err = facts[1].AsInt64(); err != nil {
			return nil, fmt.Errorf("COMMAND returned a command without an arity: %w", err)
		}
	}
	return names, nil
}

// tryNames sends each command that surecut knows without its arguments, if that cannot have an effect. A server that has the
// command replies that the number of arguments is wrong.
func (p *prober) tryNames() ([]string, error) {
	var names, asked []string
	var cmds []rueidis.Completed
	for _, s := range command.All() {
		switch {
		case strings.Contains(s.Name, " "):
		case s.Class != command.Keyless && (s.Arity > 1 || s.Arity < -1):
			asked = append(asked, s.Name)
			cmds = append(cmds, p.c.B().Arbitrary(s.Name).Build())
		case p.guess.Dialect.Knows(s.Name): // the command would run without arguments
			names = append(names, s.Name)
		}
	}
	for i, r := range p.c.DoMulti(p.ctx, cmds...) {
		if err := r.NonRedisError(); err != nil {
			return nil, err
		}
		known, told := knows(r.Error())
		if !told {
			known = p.guess.Dialect.Knows(asked[i])
			p.out.Guessed = append(p.out.Guessed, asked[i])
		}
		if known {
			names = append(names, asked[i])
		}
	}
	return names, nil
}

// knows interprets the reply to a command that was sent without its arguments. The result told is false where the reply proves
// nothing.
func knows(reply error) (known, told bool) {
	text := ""
	if reply != nil {
		text = strings.ToLower(reply.Error())
	}
	switch {
	case strings.Contains(text, "unknown command"):
		return false, true
	case strings.Contains(text, "wrong number of arguments"), reply == nil:
		return true, true
	}
	return false, false
}

// formProbes holds the probes of forms. Each names a key that does not exist, so that a server that accepts the form changes
// nothing, and one that does not replies with a syntax error. KEY stands for the key. A refusal that begins with one of took shows
// that the form was accepted.
var formProbes = []struct {
	form command.Form
	name string // for Guessed
	args string
	took []string
}{
	{command.Replace, "RESTORE REPLACE", "RESTORE KEY 0 x REPLACE", []string{"dump payload"}},
	{command.AbsTTL, "RESTORE ABSTTL", "RESTORE KEY 1 x ABSTTL", []string{"dump payload"}},
	{command.KeepTTL, "SET KEEPTTL", "SET KEY x XX KEEPTTL", nil},
	{command.SetAbsolute, "SET PXAT", "SET KEY x XX PXAT 4102444800000", nil},
	{command.PushMany, "LPUSHX", "LPUSHX KEY a b", nil},
	{command.PopCount, "LPOP count", "LPOP KEY 1", nil},
	{command.ZAddFlags, "ZADD XX", "ZADD KEY XX 1 a", nil},
	{command.ZAddCompare, "ZADD GT", "ZADD KEY XX GT 1 a", nil},
	{command.StreamTrim, "XADD NOMKSTREAM", "XADD KEY NOMKSTREAM * f v", nil},
	{command.StreamCounters, "XSETID ENTRIESADDED", "XSETID KEY 1-1 ENTRIESADDED 1 MAXDELETEDID 0-0", []string{"no such key"}},
}

// forms finds the forms that the server accepts for the commands that it has.
func (p *prober) forms(names []string) ([]command.Form, error) {
	if !p.target {
		return p.formsOfSource(), nil
	}
	var has []command.Form
	known := command.NewDialect(names, nil)
	cmds := make([]rueidis.Completed, len(formProbes))
	for i, f := range formProbes {
		args := strings.Fields(f.args)
		for i := range args {
			if args[i] == "KEY" {
				args[i] = p.key
			}
		}
		if !known.Knows(args[0]) {
			args = []string{"ECHO", "-"}
		}
		cmds[i] = p.c.B().Arbitrary(args...).Build()
	}
	for i, r := range p.c.DoMulti(p.ctx, cmds...) {
		f := formProbes[i]
		if err := r.NonRedisError(); err != nil {
			return nil, err
		}
		if name, _, _ := strings.Cut(f.args, " "); !known.Knows(name) {
			continue
		}
		takes, told := takesForm(r.Error(), f.took)
		if !told {
			takes = p.guess.Dialect.Has(f.form)
			p.out.Guessed = append(p.out.Guessed, f.name)
		}
		if takes {
			has = append(has, f.form)
		}
	}
	if p.hashSetMany() {
		has = append(has, command.HashSetMany)
	}
	if known.Knows("XGROUP") && p.createConsumer() {
		has = append(has, command.CreateConsumer)
	}
	if known.Knows("GEORADIUS") && p.geoStoreEmpty() {
		has = append(has, command.GeoStoreEmpty)
	}
	return has, nil
}

// byArity names the commands whose arity shows a form: with the form, a command with a fixed number of arguments accepts more.
var byArity = map[command.Form]string{command.HashSetMany: "HSET", command.PushMany: "LPUSHX", command.PopCount: "LPOP",
	command.Replace: "RESTORE", command.StreamCounters: "XSETID"}

// formsOfSource reads the forms from the arities, and from the version where the arities do not tell.
func (p *prober) formsOfSource() (has []command.Form) {
	p.out.Guessed = append(p.out.Guessed, "forms")
	for _, f := range command.Forms() {
		arity, told := p.arity[byArity[f]]
		if told && arity < 0 || !told && p.guess.Dialect.Has(f) {
			has = append(has, f)
		}
	}
	return has
}

// hashSetMany reads the arity of HSET: probes do not help, because every version refuses a field without a value by the same words.
func (p *prober) hashSetMany() bool {
	if arity, told := p.arity["HSET"]; told {
		return arity < 0
	}
	p.out.Guessed = append(p.out.Guessed, "HSET of several fields")
	return p.guess.Dialect.Has(command.HashSetMany)
}

// createConsumer reads XGROUP HELP: probes do not help, because without the key every subcommand is refused by the same words.
func (p *prober) createConsumer() bool {
	lines, err := p.do("XGROUP", "HELP").AsStrSlice()
	if err != nil {
		p.out.Guessed = append(p.out.Guessed, "XGROUP CREATECONSUMER")
		return p.guess.Dialect.Has(command.CreateConsumer)
	}
	return strings.Contains(strings.ToUpper(strings.Join(lines, "\n")), "CREATECONSUMER")
}

// geoStoreEmpty interprets the reply for a source key that does not exist: the number of stored elements, or an empty list where
// the server did nothing.
func (p *prober) geoStoreEmpty() bool {
	m, err := p.do("GEORADIUS", p.key, "0", "0", "1", "m", "STORE", p.key).ToMessage()
	if err != nil {
		p.out.Guessed = append(p.out.Guessed, "GEORADIUS STORE")
		return p.guess.Dialect.Has(command.GeoStoreEmpty)
	}
	return m.IsInt64()
}

// takesForm interprets the reply to a probe of a form.
func takesForm(reply error, took []string) (takes, told bool) {
	if reply == nil || IsNil(reply) {
		return true, true
	}
	text := strings.ToLower(strings.TrimPrefix(reply.Error(), "ERR "))
	for _, begin := range took {
		if strings.HasPrefix(text, begin) {
			return true, true
		}
	}
	if Code(reply) != "ERR" { // such as no permission, no memory, a replica, another node's slot
		return false, false
	}
	return false, true
}

// brackets finds out whether MULTI, SELECT, EVAL and commands with keys of several slots work.
func (p *prober) brackets() (err error) {
	works := func(what string, guess bool, cmds ...[]string) bool {
		built := make([]rueidis.Completed, len(cmds))
		for i, args := range cmds {
			built[i] = p.c.B().Arbitrary(args...).Build()
		}
		for _, r := range p.c.DoMulti(p.ctx, built...) {
			if lost := r.NonRedisError(); lost != nil {
				err = errors.Join(err, lost)
				return false
			}
			switch reply := r.Error(); Code(reply) {
			case "": // the command worked, or its reply is nil
			case "ERR", "CROSSSLOT":
				return false
			case "NOPERM":
				if what != "keys" {
					return false
				}
				return guess
			default:
				p.out.Guessed = append(p.out.Guessed, what)
				return guess
			}
		}
		return true
	}
	p.out.Multi = works("MULTI", p.guess.Multi, []string{"MULTI"}, []string{"DISCARD"})
	p.out.Select = works("SELECT", p.guess.Select, []string{"SELECT", "0"})
	p.out.MultiKey = p.guess.MultiKey
	if p.target { // a source would count the call, and it would look like one of the application
		p.out.MultiKey = works("keys", p.guess.MultiKey, []string{"MGET", p.key, p.key + "2", keyspace.Prefix + ":probe"})
	}
	p.out.Eval = p.out.Dialect.Knows("EVAL")
	if p.target && p.out.Eval {
		p.out.Eval = works("EVAL", p.guess.Eval, []string{"EVAL", "return 1", "0"})
	}
	return err
}
