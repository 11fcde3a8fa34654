package endpointtest

import (
	"cmp"
	"crypto/sha1"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	table "surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/resp"
)

// Server is a server in memory, on a loopback address, that answers as a test tells it. It holds the keys that the test puts into it,
// and answers commands that read them in the form in which a real server of its version does. By On, the test replaces single
// answers: so it forces what happens at a real server only by chance, such as a key that changes between two commands.
//
// It says nothing about the behaviour of Redis: what a real server does is shown by the tests that run against one. It executes few
// commands that write (writes.go), and nothing expires but by the clock that it is asked by.
type Server struct {
	Addr   string
	Number int // version, as endpoint.Server has it
	Valkey string

	t    testing.TB
	mu   sync.Mutex // guards all fields below
	keys map[int]map[string]*keyspace.Value
	info map[string]string // fields of INFO that differ from the usual ones; "": the field is left out
	told []rule
	runs [][]string // commands that were received
	open map[*client]bool

	clients  int // how many have connected so far
	restarts int
	changes  int            // how often the keys were changed
	place    map[string]int // of each name among those that a key ever had
	backlog  []byte         // the replication stream since firstOffset

	libraries map[string]string // code of function libraries, by name
}

// firstOffset is the offset of the stream when the server begins.
const firstOffset = 1000

// rule replaces the answer to some commands.
type rule struct {
	words []string
	f     func(args []string) string
}

// These are answers of a rule that are no replies. HangUp and Silence may follow the beginning of a reply, which is sent before.
const (
	Usual   = ""          // the server answers as it does without the rule
	HangUp  = "<hang up>" // the connection is closed
	Silence = "<silence>" // nothing more is sent over the connection
	Unheard = "<unheard>" // the command is executed as usual, and then the connection is closed in place of the reply
)

// Serve starts a server of a version such as "7.0.15", or "valkey 8.1.3", which ends with the test.
func Serve(t testing.TB, version string) *Server {
	t.Helper()
	s := &Server{t: t, keys: map[int]map[string]*keyspace.Value{}, info: map[string]string{}, open: map[*client]bool{}, place: map[string]int{}}
	if own, ok := strings.CutPrefix(version, "valkey "); ok {
		s.Valkey, version = own, "7.2.4"
	}
	var err error
	if s.Number, err = endpoint.ParseVersion(version); err != nil {
		t.Fatal(err)
	}
	s.info["redis_version"] = version
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c := &client{s: s, conn: conn}
			s.mu.Lock()
			s.clients++
			c.id = s.clients
			s.open[c] = true
			s.mu.Unlock()
			wg.Go(c.serve)
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.Drop()
		wg.Wait()
	})
	return s
}

// URL names the server as an endpoint.
func (s *Server) URL() string { return "redis://" + s.Addr }

// On has f answer each command that begins with the words, as in "STRLEN k". It is called without locks and may change the server's
// keys. The rule that was told last is asked first; where f returns Usual, the next one is, and in the end the server answers as usual. Between MULTI and EXEC a rule
// answers when the command is queued: a refusal is then the reply to it at once, except WRONGTYPE and ERR, which become known by EXEC
// only.
func (s *Server) On(words string, f func(args []string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, rule{strings.Fields(words), f})
}

// Always has the server answer every command that begins with the words by one reply.
func (s *Server) Always(words, reply string) {
	s.On(words, func([]string) string { return reply })
}

// Once has the server answer the next commands that begin with the words by these replies, and after that as usual.
func (s *Server) Once(words string, replies ...string) {
	var mu sync.Mutex
	s.On(words, func([]string) string {
		mu.Lock()
		defer mu.Unlock()
		if len(replies) == 0 {
			return Usual
		}
		next := replies[0]
		replies = replies[1:]
		return next
	})
}

// Before calls f once, just before a command that begins with the words is answered as usual.
func (s *Server) Before(words string, f func()) {
	s.On(words, func([]string) string {
		once := f
		if f = nil; once != nil {
			once()
		}
		return Usual
	})
}

// Put gives database 0 a key. A nil value removes the key.
func (s *Server) Put(name string, v *keyspace.Value) { s.PutIn(0, name, v) }

// PutIn is Put for any database.
func (s *Server) PutIn(db int, name string, v *keyspace.Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(db, name, v)
}

func (s *Server) put(db int, name string, v *keyspace.Value) {
	s.changes++
	if v == nil {
		delete(s.keys[db], name)
		return
	}
	if s.keys[db] == nil {
		s.keys[db] = map[string]*keyspace.Value{}
	}
	s.keys[db][name] = v
	if _, known := s.place[name]; !known {
		s.place[name] = len(s.place)
	}
}

// Get returns what database 0 holds under a name, or nil.
func (s *Server) Get(name string) *keyspace.Value { return s.GetIn(0, name) }

// GetIn is Get for any database.
func (s *Server) GetIn(db int, name string) *keyspace.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[db][name]
}

// Names returns the names of the keys of database 0, sorted.
func (s *Server) Names() []string { return s.NamesIn(0) }

// NamesIn is Names for any database.
func (s *Server) NamesIn(db int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.keys[db]))
}

// Do executes a command in a database, without asking the rules, and returns the reply.
func (s *Server) Do(db int, args ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (&client{s: s, db: db}).run(args)
}

// Restart has another process take the place of the server, with its keys: it has another run ID and replication ID, and no
// connections.
func (s *Server) Restart() {
	s.mu.Lock()
	s.restarts++
	s.info["run_id"], s.info["master_replid"] = s.id(fmt.Sprint("run", s.restarts)), s.id(fmt.Sprint("stream", s.restarts))
	s.mu.Unlock()
	s.Drop()
}

// Tell sets fields of INFO, given as names and values in turn. A field whose value is "" is left out.
func (s *Server) Tell(fields ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(fields); i += 2 {
		s.info[fields[i]] = fields[i+1]
	}
}

// Write sends a command to the replicas of the server, and tells those that track it which names were written; if none is given, that
// all keys were. It does not execute the command.
func (s *Server) Write(args []string, names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	command, told := resp.AppendCommand(nil, args...), Strings(names...)
	if len(names) == 0 {
		told = "_\r\n"
	}
	s.backlog = append(s.backlog, command...)
	for c := range s.open {
		if c.replica {
			c.send(string(command), true)
		}
		if c.tracks {
			c.send(">2\r\n"+Bulk("invalidate")+told, true)
		}
	}
}

// Calls returns the commands that were received and begin with the words.
func (s *Server) Calls(words string) (calls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, args := range s.runs {
		if matches(strings.Fields(words), args) {
			calls = append(calls, strings.Join(args, " "))
		}
	}
	return calls
}

// Drop closes all connections.
func (s *Server) Drop() { s.drop(func(*client) bool { return true }) }

// DropFollowers closes the connections of replicas and of clients that track writes.
func (s *Server) DropFollowers() { s.drop(func(c *client) bool { return c.replica || c.tracks }) }

func (s *Server) drop(which func(*client) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		if which(c) {
			c.conn.Close()
		}
	}
}

// ReplID returns the ID of the server's replication stream, which is that of the process before 4.0.
func (s *Server) ReplID() string {
	if s.Number < 40000 {
		return s.id("run")
	}
	return s.id("stream")
}

// Offset returns how far the server's replication stream has come.
func (s *Server) Offset() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.offset())
}

// id makes an ID of 40 digits.
func (s *Server) id(of string) string { return fmt.Sprintf("%x", sha1.Sum([]byte(s.Addr+of))) }

func matches(words, args []string) bool {
	return len(words) == 0 || len(words) <= len(args) && strings.EqualFold(words[0], args[0]) && slices.Equal(words[1:], args[1:len(words)])
}

// answerOf asks the rules.
func (s *Server) answerOf(args []string) string {
	s.mu.Lock()
	s.runs = append(s.runs, args)
	told := s.told
	s.mu.Unlock()
	for _, r := range slices.Backward(told) {
		if matches(r.words, args) {
			if reply := r.f(args); reply != Usual {
				return reply
			}
		}
	}
	return Usual
}

// client is one connection.
type client struct {
	s    *Server
	conn net.Conn

	mu  sync.Mutex
	out []byte // guarded by mu: replies that are not sent yet

	id              int
	name            string // by CLIENT SETNAME
	db              int
	queue           []queued
	multi, refused  bool
	watched         int // changes of the keys when WATCH was called, below 0: nothing is watched
	replica, tracks bool
}

// queued is a command between MULTI and EXEC, with the reply that a rule has for it.
type queued struct {
	args []string
	told string
}

func (c *client) serve() {
	defer func() {
		c.conn.Close()
		c.s.mu.Lock()
		delete(c.s.open, c)
		c.s.mu.Unlock()
	}()
	c.watched = -1
	in := resp.NewReader(c.conn)
	for {
		raw, _, err := in.ReadCommand()
		if err != nil {
			return
		}
		args := make([]string, len(raw))
		for i := range raw {
			args[i] = string(raw[i])
		}
		closes, silent := c.answer(args)
		c.send("", closes || silent || in.Buffered() == 0)
		if closes { // only in one direction, since unread requests would make the system drop what was sent
			err = c.conn.(*net.TCPConn).CloseWrite()
		}
		for (closes || silent) && err == nil { // until the client closes the connection
			_, _, err = in.ReadCommand()
		}
		if err != nil {
			return
		}
	}
}

func (c *client) send(reply string, flush bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out = append(c.out, reply...); flush && len(c.out) > 0 {
		_, _ = c.conn.Write(c.out) // a failure shows in the next read
		c.out = c.out[:0]
	}
}

// answer puts the reply to one command behind those that are not sent yet. closes says that the connection is closed after it, silent that
// nothing follows it.
func (c *client) answer(args []string) (closes, silent bool) {
	told := c.s.answerOf(args)
	c.s.mu.Lock() // also while the reply is added, so that what Write sends because of this command comes after it
	defer c.s.mu.Unlock()
	if !c.s.open[c] { // it was ended while its command waited, which is not run then
		return true, false
	}
	reply := HangUp
	if told == Unheard {
		c.answerAs(args, Usual)
	} else {
		reply = c.answerAs(args, told)
	}
	reply, closes = strings.CutSuffix(reply, HangUp)
	reply, silent = strings.CutSuffix(reply, Silence)
	c.send(reply, false)
	return closes, silent
}

// answerAs returns the reply to one command, for which the rules have told a reply.
func (c *client) answerAs(args []string, told string) string {
	name := strings.ToUpper(args[0])
	if c.multi && !slices.Contains([]string{"EXEC", "DISCARD", "MULTI"}, name) {
		if known := c.unknown(args); told == Usual && known != "" {
			told = known
		}
		word, _, _ := strings.Cut(told, " ")
		atOnce := strings.HasPrefix(told, "-") && word != "-WRONGTYPE" && (word != "-ERR" || strings.Contains(told, "unknown"))
		if atOnce || strings.HasSuffix(told, HangUp) || strings.HasSuffix(told, Silence) {
			c.refused = true
			return told
		}
		c.queue = append(c.queue, queued{args, told})
		return "+QUEUED\r\n"
	}
	if name == "EXEC" || name == "DISCARD" {
		return c.endTransaction(name, told)
	}
	if told != Usual {
		return told
	}
	return c.run(args)
}

func (c *client) endTransaction(name, told string) string {
	multi, refused, queue := c.multi, c.refused, c.queue
	changed := c.watched >= 0 && c.watched != c.s.changes
	c.multi, c.refused, c.queue, c.watched = false, false, nil, -1
	switch {
	case told != Usual:
		return told
	case !multi:
		return "-ERR " + name + " without MULTI\r\n"
	case name == "DISCARD":
		return "+OK\r\n"
	case refused:
		return "-EXECABORT Transaction discarded because of previous errors.\r\n"
	case changed:
		return "*-1\r\n"
	}
	replies := make([]string, len(queue))
	for i, q := range queue {
		if replies[i] = q.told; q.told == Usual {
			replies[i] = c.run(q.args)
		}
	}
	return Array(replies...)
}

// run executes a command without asking the rules.
func (c *client) run(args []string) string {
	if text := c.unknown(args); text != "" {
		return text
	}
	if spec, known := table.Lookup([][]byte{[]byte(args[0])}); known && len(args) < max(spec.Arity, -spec.Arity) {
		return "-ERR wrong number of arguments for '" + strings.ToLower(args[0]) + "' command\r\n"
	}
	k := commands[strings.ToUpper(args[0])]
	if k.of == keyspace.None {
		return k.run(c, nil, args)
	}
	v := c.held(args[1])
	if v != nil && v.Type != k.of {
		return "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
	}
	return k.run(c, cmp.Or(v, &keyspace.Value{}), args)
}

// unknown returns the error reply to a command that the server's version lacks, and "" for one that it has.
func (c *client) unknown(args []string) string {
	k, ok := commands[strings.ToUpper(args[0])]
	has := c.s.Number >= k.since
	if k.redisOnly && c.s.Valkey != "" {
		has = c.s.Valkey >= "9"
	}
	if ok && has {
		return ""
	}
	text := "-ERR unknown command '" + args[0] + "', with args beginning with: "
	for _, arg := range args[1:] {
		text += "'" + arg + "' "
	}
	return text + "\r\n"
}

// The following make replies.

// Bulk returns a string.
func Bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

// Int returns a number.
func Int[N ~int | ~int64 | ~uint64](n N) string { return fmt.Sprintf(":%d\r\n", n) }

// Nil is the reply for a value that is not there.
const Nil = "$-1\r\n"

// Array returns an array of replies.
func Array(replies ...string) string {
	return fmt.Sprintf("*%d\r\n%s", len(replies), strings.Join(replies, ""))
}

// Strings returns an array of strings.
func Strings[T ~string | ~[]byte](list ...T) string {
	replies := make([]string, len(list))
	for i := range list {
		replies[i] = Bulk(string(list[i]))
	}
	return Array(replies...)
}

// Page returns a page of SCAN, SSCAN, HSCAN or ZSCAN.
func Page(cursor string, elements ...string) string { return Array(Bulk(cursor), Strings(elements...)) }
