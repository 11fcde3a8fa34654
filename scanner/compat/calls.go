package compat

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/internal/profile"
)

// stream is the state after the calls of one server so far.
type stream struct {
	clients map[string]*session
	script  *script // the last script that was called, while its own calls may follow
}

// session is the state of a client that is in a transaction or watches keys.
type session struct {
	multi   bool
	watched keySet
	watches int
	refused bool // a WATCH was refused because it names a key of another node
	touched keySet
	begun   time.Time
}

// keySet is a set of keys that are used together: the route of the first key, whether any other has another route or is on another
// node, and the names of the first keys.
type keySet struct {
	n     int
	route uint32
	cross bool // some key is in another slot
	far   bool // some key is in a slot of another node, see nodeOf
	names []string
}

func (s *keySet) add(name string, route uint32) {
	if s.n == 0 {
		s.route = route
	}
	s.n++
	s.cross = s.cross || route != s.route
	s.far = s.far || nodeOf(route) != nodeOf(s.route)
	s.keep(name)
}

// assumedNodes is the assumed number of primaries of a target cluster, which have equally many slots. It is the least number that
// redis-cli --cluster create accepts. Keys in slots of different nodes are refused where they may only be used on one node.
const assumedNodes = 3

// nodeOf returns the node of a slot, given the distribution of redis-cli --cluster create: 0 to 5460, 5461 to 10922, 10923 to
// 16383.
func nodeOf(slot uint32) uint32 { return (2*slot + 1) * assumedNodes / (2 * keyspace.Slots) }

// keep remembers a name, unless it is too long to be shown or enough names are kept.
func (s *keySet) keep(name string) {
	if len(name) <= maxName && len(s.names) < maxKeysKept && !slices.Contains(s.names, name) {
		s.names = append(s.names, name)
	}
}

func (s *keySet) addAll(other keySet) {
	if other.n == 0 {
		return
	}
	if s.n == 0 {
		s.route = other.route
	}
	s.n += other.n
	s.cross = s.cross || other.cross || other.route != s.route
	s.far = s.far || other.far || nodeOf(other.route) != nodeOf(s.route)
	for _, name := range other.names {
		s.keep(name)
	}
}

// Add judges one call. In write streams (according to the evidence's kind) SELECT is the server's own mark, and not a call.
func (t *Tally) Add(e *Evidence, c Call) {
	if len(c.Args) == 0 {
		return
	}
	st := t.streams[c.Stream]
	if st == nil {
		st = &stream{clients: map[string]*session{}}
		t.streams[c.Stream] = st
	}
	if c.Lua {
		t.addLua(st, c)
		return
	}
	t.finish(st)
	spec, known := t.lookup(c.Args)
	name := commandName(spec, known, c.Args)
	if writesOnly(e.Kind) && name == "SELECT" {
		return
	}
	e.add(name, 1)
	e.covers(c.At)
	count := t.command(name)
	if count == nil {
		return
	}
	count.examined++
	count.evidence.add(e.Kind)
	a := call{t: t, e: e, st: st, spec: spec, name: name, from: host(c.Client), Call: c}
	if a.condition(profile.Called) != nil && t.o.Profile.Refuses(name) {
		a.transaction(nil) // a transaction that it begins or ends is refused, too
		return
	}
	if !known || a.unknownThere() {
		return
	}
	a.judge()
}

// covers extends the time that the evidence covers.
func (e *Evidence) covers(at time.Time) {
	if at.IsZero() {
		return
	}
	text := at.UTC().Format(time.RFC3339)
	if e.First == "" {
		e.First = text
	}
	e.Last = text
}

func writesOnly(kind string) bool { return kind == FromAOF || kind == FromStream }

// lookup finds a command in the table, or else by the server's own description.
func (t *Tally) lookup(args [][]byte) (*command.Spec, bool) {
	if spec, ok := command.Lookup(args); ok {
		return spec, true
	}
	if t.o.Module == nil {
		return nil, false
	}
	spec := t.o.Module(strings.ToUpper(string(args[0])))
	return spec, spec != nil
}

// commandName returns the table's name of a command, or the first 40 bytes of the call's name.
func commandName(spec *command.Spec, known bool, args [][]byte) string {
	if known {
		return spec.Name
	}
	return strings.ToUpper(string(args[0][:min(len(args[0]), 40)]))
}

// host returns an address without its port, so that all connections of a pool count as one client.
func host(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i > 0 && !strings.HasPrefix(addr, "unix:") {
		return addr[:i]
	}
	return addr
}

// call is one call together with its command.
type call struct {
	t    *Tally
	e    *Evidence
	st   *stream
	spec *command.Spec
	name string
	from string // the client without its port
	Call
}

// condition notes that the call meets a condition. It returns nil where the profile has no rule for it.
func (a *call) condition(when profile.Condition, keys ...string) *observation {
	o := a.t.observe(a.e, when, a.name, a.name, a.At, a.from)
	if o == nil {
		return nil
	}
	o.affected++
	o.show(keys)
	return o
}

// show keeps templates of the keys, and the keys of the first few calls as examples.
func (o *observation) show(keys []string) {
	for _, k := range keys {
		o.templates.add(template(k))
	}
	if len(keys) > 0 && len(o.examples) < 5 {
		if shown := shownKeys(keys); !slices.Contains(o.examples, shown) {
			o.examples = append(o.examples, shown)
		}
	}
}

// unknownThere says whether the target's servers lack the command because they are older.
func (a *call) unknownThere() bool {
	since := tooNew(a.spec, a.t.o)
	if since == 0 {
		return false
	}
	o := a.t.unknown(a.e, a.name, since, a.At, a.from)
	if o != nil {
		o.affected++
	}
	return true
}

// judge determines the conditions that the call meets.
func (a *call) judge() {
	at, err := a.spec.Keys(a.Args, a.t.keys[:0])
	a.t.keys = at[:0]
	if err != nil {
		a.t.malformed++
		return
	}
	if a.t.trial != nil {
		a.t.trial.add(a, at)
	}
	var keys keySet
	for _, i := range at {
		a.use(&keys, i)
	}
	if a.spec.Name == "SSUBSCRIBE" || a.spec.Name == "SUNSUBSCRIBE" { // a channel has a slot as a key does
		for i := 1; i < len(a.Args); i++ {
			a.use(&keys, i)
		}
	}
	if a.DB != 0 && (keys.n > 0 || a.spec.Class == command.Script) {
		if o := a.t.observe(a.e, profile.SeveralDatabases, databaseName(a.DB), databaseName(a.DB), a.At, a.from); o != nil {
			o.affected++
			o.show(keys.names)
		}
	}
	if keys.cross {
		a.condition(profile.CrossSlot, keys.names...)
	}
	if len(at) > 0 && at[0] != 1 {
		a.condition(profile.Misrouted, keys.names...)
	}
	a.arguments()
	if len(keys.names) > 1 {
		a.t.pairs.use(a.name, keys.names)
	}
	a.transaction(&keys)
	if a.spec.Class == command.Script {
		a.beginScript(keys, at)
	}
}

func (a *call) use(keys *keySet, i int) {
	name := string(a.Args[i])
	keys.add(name, a.t.routes(name))
}

// arguments judges the arguments that are not keys.
func (a *call) arguments() {
	switch a.spec.Name {
	case "SELECT":
		if len(a.Args) == 2 && string(a.Args[1]) != "0" {
			a.condition(profile.OtherDatabase)
		}
	case "COPY":
		for i := 3; i+1 < len(a.Args); i++ {
			if bytes.EqualFold(a.Args[i], []byte("DB")) && string(a.Args[i+1]) != "0" {
				a.condition(profile.OtherDatabase, string(a.Args[1]))
			}
		}
	case "SORT", "SORT_RO":
		a.sort()
	case "SUBSCRIBE", "PSUBSCRIBE":
		if slices.ContainsFunc(a.Args[1:], func(channel []byte) bool { return bytes.HasPrefix(channel, []byte("__key")) }) {
			a.condition(profile.Notifications)
		}
	}
}

// sort judges a SORT. BY reads other keys if its pattern has a "*" that is not in the field after "->"; otherwise it only says not
// to sort. Servers treat every GET as a pattern, although GET # is the element itself.
func (a *call) sort() {
	key := string(a.Args[1])
	reaches, elsewhere := false, false
	for i := 2; i+1 < len(a.Args); i++ {
		get := bytes.EqualFold(a.Args[i], []byte("GET"))
		if !get && !bytes.EqualFold(a.Args[i], []byte("BY")) {
			continue
		}
		i++
		pattern, _, _ := strings.Cut(string(a.Args[i]), "->")
		other := strings.Contains(pattern, "*")
		reaches = reaches || get || other
		elsewhere = elsewhere || other && !a.tiedTo(pattern, key)
	}
	if reaches && a.condition(profile.Pattern, key) != nil {
		return
	}
	if elsewhere {
		a.condition(profile.PatternElsewhere, key)
	}
}

// tiedTo says whether the pattern has a hash tag without a "*" in it, and so is in the same slot as the key.
func (a *call) tiedTo(pattern, key string) bool {
	other := strings.ReplaceAll(pattern, "*", "0")
	return a.t.routes(pattern) == a.t.routes(other) && a.t.routes(pattern) == a.t.routes(key)
}

// transaction follows MULTI, EXEC and WATCH of the call's client. The keys are nil where the call was refused.
func (a *call) transaction(keys *keySet) {
	if a.Client == "" && !writesOnly(a.e.Kind) {
		return // the client of the call is not known
	}
	id := a.Client
	s := a.st.clients[id]
	switch a.name {
	case "MULTI", "WATCH":
		if s == nil {
			if len(a.st.clients) == maxClients {
				a.t.skipped++
				return
			}
			s = &session{}
			a.st.clients[id] = s
		}
		if a.name == "MULTI" {
			s.multi, s.begun = true, a.At
		} else if keys != nil {
			s.watches++
			s.watched.addAll(*keys)
			if s.watches > 1 && s.watched.far && !keys.cross {
				s.refused = a.condition(profile.WatchElsewhere, s.watched.names...) != nil || s.refused
			}
		}
		return
	case "EXEC", "DISCARD", "UNWATCH":
		delete(a.st.clients, id)
		if s != nil && a.name == "EXEC" {
			a.exec(s)
		}
		return
	}
	if s != nil && s.multi && keys != nil {
		s.touched.addAll(*keys)
	}
}

// exec judges a complete transaction.
func (a *call) exec(s *session) {
	if s.touched.cross {
		o := a.condition(profile.TransactionCrossSlot, s.touched.names...)
		if o != nil && writesOnly(a.e.Kind) && len(o.details) == 0 {
			o.details = append(o.details, "In a write stream, a script that wrote several keys also appears as a transaction.")
		}
	}
	if s.multi && s.watches == 0 && !writesOnly(a.e.Kind) { // a write stream does not show WATCH
		a.condition(profile.UnwatchedTransaction, s.touched.names...)
	}
	together := s.touched
	together.names = slices.Clone(together.names)
	together.addAll(s.watched)
	if s.watches > 0 && together.far && !s.touched.cross && !s.refused {
		s.refused = a.condition(profile.WatchElsewhere, together.names...) != nil
	}
	if s.watches > 0 && together.cross && !s.touched.cross && !s.refused {
		if o := a.t.observe(a.e, profile.WatchCrossSlot, "WATCH", "WATCH", a.At, a.from); o != nil {
			o.affected++
			o.show(together.names)
		}
	}
	if len(together.names) > 1 {
		a.t.pairs.use("MULTI", together.names)
	}
}
