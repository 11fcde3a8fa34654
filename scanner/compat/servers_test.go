//go:build servers

package compat

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/profile"
)

var corpusImages = []string{"redis:6.0", "redis:7.0", "redis:8.0", "valkey/valkey:8.1"}

// TestCorpusOnServers runs every workload on a real server under MONITOR, and holds what is found against a real cluster of
// the same version: what is called block is refused there with the text that the finding quotes, and clean workloads run.
func TestCorpusOnServers(t *testing.T) {
	for _, image := range corpusImages {
		t.Run(image, func(t *testing.T) {
			servers.Require(t, image)
			version, number := versionOf(image)
			one := servers.Standalone(t, image)
			nodes := servers.Cluster(t, image, 3, 0)
			for _, w := range corpus(t) {
				if w.Since > number {
					continue
				}
				t.Run(w.name, func(t *testing.T) {
					found := watchWorkload(t, one, "cluster", version, w.Workload)
					if want := judgeCalls(t, "cluster", version, w.Workload); !w.Hidden && !slices.Equal(shortFindings(found), shortFindings(want)) {
						t.Errorf("MONITOR of a real server shows\n%s\nthe written workload\n%s",
							strings.Join(shortFindings(found), "\n"), strings.Join(shortFindings(want), "\n"))
					}
					refusals := replay(t, &clusterSide{t: t, nodes: nodes}, w.Workload)
					if w.Hidden {
						found = judgeCalls(t, "cluster", version, w.Workload)
					}
					for _, f := range found.Findings {
						if f.Level == profile.Block && f.Certainty == Proven && !quoted(f, refusals) {
							t.Errorf("%s is called refused with %q, but the cluster answers %q", f.Command, f.Error, refusals)
						}
					}
					for name, texts := range refusals {
						if i := slices.IndexFunc(texts, ofCluster); i >= 0 && !blamed(found, name, profile.Block, profile.Latent) {
							t.Errorf("the cluster answers %s with %q, and the scan has nothing against it", name, texts[i])
						}
					}
					clean := append(slices.Clone(w.Clean), w.CleanCluster...)
					if r := watchWorkload(t, one, "cluster", version, clean); len(r.Findings) > 0 {
						t.Errorf("clean, and MONITOR shows %v", shortFindings(r))
					}
					if refusals := replay(t, &clusterSide{t: t, nodes: nodes}, clean); len(refusals) > 0 {
						t.Errorf("clean, and the cluster refuses %q", refusals)
					}
				})
			}
		})
	}
}

// TestCorpusOnTwemproxy holds the findings for twemproxy against Debian's nutcracker.
func TestCorpusOnTwemproxy(t *testing.T) {
	image := "redis:7.0"
	servers.Require(t, image)
	one, two := servers.Standalone(t, image), servers.Standalone(t, image)
	proxy := servers.Twemproxy(t, []string{"hash: fnv1a_64", "distribution: ketama", `hash_tag: "{}"`}, one.Addr+":1 a", two.Addr+":1 b")
	for _, w := range corpus(t) {
		t.Run(w.name, func(t *testing.T) {
			found := judgeCalls(t, "twemproxy", "7.0", w.Workload)
			refusals := replay(t, &proxySide{t: t, addr: proxy.Addr}, w.Workload)
			for _, f := range found.Findings {
				if f.Level == profile.Block && f.Certainty == Proven && !quoted(f, refusals) {
					t.Errorf("%s is called refused with %q, but nutcracker answers %q", f.Command, f.Error, refusals)
				}
				if said := repliesTo(f, refusals); f.Level == profile.Silent && f.Certainty == Proven && len(said) > 0 && !blamed(found, f.Command, profile.Block) {
					t.Errorf("%s is called wrong without an error, but nutcracker answers %q", f.Command, said)
				}
			}
			for name, texts := range refusals {
				if slices.Contains(texts, closedConnection) && !blamed(found, name, profile.Block, profile.Info) {
					t.Errorf("nutcracker closes the connection at %s, and the scan has nothing against it", name)
				}
			}
			if refusals := replay(t, &proxySide{t: t, addr: proxy.Addr}, w.Clean); len(refusals) > 0 {
				t.Errorf("clean, and nutcracker refuses %q", refusals)
			}
		})
	}
}

// versionOf returns the version of an image, as --to-version takes it, and its number.
func versionOf(image string) (version, number string) {
	flavor, number, _ := strings.Cut(image, ":")
	if flavor == "redis" {
		return number, number
	}
	return "valkey-" + number, number
}

// quoted: one of the refusals holds a text that the rule of the finding quotes.
func quoted(f Finding, replies map[string][]string) bool {
	refusals := repliesTo(f, replies)
	texts := []string{f.Error}
	for _, p := range profile.All() {
		for _, r := range p.Rules {
			if r.ID == f.Rule && r.Error == f.Error {
				texts = append(texts, r.Also...)
			}
		}
	}
	return slices.ContainsFunc(refusals, func(reply string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return text != "" && strings.Contains(reply, text) })
	})
}

// repliesTo returns the errors that a finding is about.
func repliesTo(f Finding, replies map[string][]string) []string {
	switch {
	case strings.HasPrefix(f.Command, "db"): // one gets there by SELECT
		return replies["SELECT"]
	case f.Rule == "in-script", f.Command == "SORT" && len(replies["EVAL"]) > 0: // called within a script
		return replies["EVAL"]
	case len(replies[f.Command]) > 0 && strings.HasPrefix(replies[f.Command][0], "NOSCRIPT"): // nobody could load it
		return nil
	}
	return replies[f.Command]
}

// blamed: the scan has found something of one of the levels against a command, against the transaction that it may be part of, or
// against what a script did.
func blamed(r *Result, command string, levels ...profile.Level) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return slices.Contains(levels, f.Level) && (f.Command == command || f.Command == "EXEC" || f.Rule == "in-script" && command == "EVAL" ||
			strings.HasPrefix(f.Command, "db") && command == "SELECT")
	})
}

// watchWorkload runs calls on a server while MONITOR looks on.
func watchWorkload(t *testing.T, server *servers.Server, kind, version string, calls [][]string) *Result {
	t.Helper()
	server.Must("FLUSHALL")
	p, err := profile.Get(kind)
	if err != nil {
		t.Fatal(err)
	}
	number, valkey, err := ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	d := endpointtest.Open(t, server.URL())
	ta := NewTally(Config{Profile: p, Version: number, Valkey: valkey})
	err = ta.Monitor(t.Context(), d, MonitorConfig{Total: 50 * time.Millisecond, Window: 50 * time.Millisecond, Began: func(string) {
		replay(t, &oneSide{t: t, addr: server.Addr}, calls)
		server.Must("PING") // when it is answered, what came before it has been sent to MONITOR
	}})
	if err != nil {
		t.Fatal(err)
	}
	return ta.Result()
}

// side sends a call where a client of its kind would send it.
type side interface {
	// route gives the address for a call, given its first key ("" without) of a client.
	route(client, key string) string
	// after is told the reply.
	after(client, command string)
}

type oneSide struct {
	t    *testing.T
	addr string
}

func (s *oneSide) route(string, string) string { return s.addr }
func (s *oneSide) after(string, string)        {}

type proxySide struct {
	t    *testing.T
	addr string
}

func (s *proxySide) route(string, string) string { return s.addr }
func (s *proxySide) after(string, string)        {}

// clusterSide sends to the node of the first key, a transaction as a whole to that of its first key.
type clusterSide struct {
	t     *testing.T
	nodes []*servers.Server
	pin   map[string]string // client to node
}

func (s *clusterSide) route(client, key string) string {
	if at := s.pin[client]; at != "" {
		return at
	}
	if key == "" {
		return s.nodes[0].Addr
	}
	return s.nodes[int(keyspace.Slot(key))*len(s.nodes)/keyspace.Slots].Addr
}

func (s *clusterSide) after(client, command string) {
	if command == "EXEC" || command == "UNWATCH" {
		delete(s.pin, client)
	}
}

// replay runs calls in order and gives the errors by command. A transaction is sent to the node of its first key.
func replay(t *testing.T, s side, calls [][]string) map[string][]string {
	t.Helper()
	refusals := map[string][]string{}
	conns := map[string]*rawConn{}
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i, words := range calls {
		client := "1"
		if words[0] == "lua" {
			continue
		}
		if words[0][0] == '@' {
			client, words = words[0], words[1:]
		}
		key := firstKey(words)
		if c, ok := s.(*clusterSide); ok && (words[0] == "MULTI" || words[0] == "WATCH") && c.pin[client] == "" {
			if c.pin == nil {
				c.pin = map[string]string{}
			}
			for _, later := range calls[i:] { // a cluster client holds MULTI back until it knows a key
				if key == "" {
					key = firstKey(later)
				}
			}
			c.pin[client] = c.route(client, key)
		}
		at := s.route(client, key)
		id := client + at
		if conns[id] == nil {
			conns[id] = dialRaw(t, at)
		}
		reply := conns[id].do(words)
		if reply == closedConnection {
			conns[id].Close()
			delete(conns, id)
		}
		if reply != "" {
			name := commandOf(words)
			refusals[name] = append(refusals[name], reply)
		}
		s.after(client, words[0])
	}
	return refusals
}

func commandOf(words []string) string {
	var args [][]byte
	for _, w := range words {
		args = append(args, []byte(w))
	}
	spec, known := NewTally(Config{Profile: profile.All()[0]}).lookup(args)
	return commandName(spec, known, args)
}

func firstKey(words []string) string {
	if words[0][0] == '@' {
		words = words[1:]
	}
	var args [][]byte
	for _, w := range words {
		args = append(args, []byte(w))
	}
	spec, known := NewTally(Config{Profile: profile.All()[0]}).lookup(args)
	if !known {
		return ""
	}
	at, err := spec.Keys(args, nil)
	if err != nil || len(at) == 0 {
		return ""
	}
	return words[at[0]]
}

// closedConnection stands for a connection that was closed in place of a reply, in the words of the profiles.
const closedConnection = "(the connection is closed)"

type rawConn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dialRaw(t *testing.T, addr string) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return &rawConn{conn, t, bufio.NewReader(conn)}
}

// do sends a command and gives its error reply, the first one within a reply of EXEC; "" where there is none.
func (c *rawConn) do(words []string) string {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(time.Minute))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := c.Write([]byte(b.String())); err != nil {
		return closedConnection
	}
	reply, err := c.reply()
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			c.t.Fatalf("%q: no reply within a minute", words)
		}
		return closedConnection
	}
	return reply
}

func (c *rawConn) reply() (string, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	n := 0
	switch line[0] {
	case '-':
		return line[1:], nil
	case '$':
		if _, err := fmt.Sscan(line[1:], &n); err != nil || n < 0 {
			return "", err
		}
		_, err := io.CopyN(io.Discard, c.r, int64(n)+2)
		return "", err
	case '*':
		if _, err := fmt.Sscan(line[1:], &n); err != nil {
			return "", err
		}
		first := ""
		for range n {
			e, err := c.reply()
			if err != nil {
				return "", err
			}
			if first == "" {
				first = e
			}
		}
		return first, nil
	}
	return "", nil
}

// TestUndeclaredKeys: MONITOR of a real server tells a script that touches what it has not declared from one that declares it.
func TestUndeclaredKeys(t *testing.T) {
	for _, image := range corpusImages {
		servers.Require(t, image)
		one := servers.Standalone(t, image)
		r := watchWorkload(t, one, "cluster", "7.0", [][]string{
			{"EVAL", "redis.call('SET', KEYS[1], '1') return redis.call('INCR', 'hits:' .. ARGV[1])", "1", "page:7", "7"},
		})
		f := findingOf(t, r, "EVAL", "script-nodes")
		if f.Certainty != Proven || f.Affected != 1 || strings.Join(f.ExampleKeys, " ") != "hits:7" || strings.Join(f.KeyTemplates, " ") != "hits:#" {
			t.Errorf("%s: %+v", image, f)
		}
		r = watchWorkload(t, one, "cluster", "7.0", [][]string{
			{"EVAL", "redis.call('SET', KEYS[1], '1') return redis.call('INCR', KEYS[2])", "2", "{7}:page", "{7}:hits"},
		})
		if len(r.Findings) != 0 {
			t.Errorf("%s: a script that declares its keys: %v", image, shortFindings(r))
		}
	}
}

// TestFunctionFlags: a function that says it may touch keys of several slots is believed.
func TestFunctionFlags(t *testing.T) {
	image := "redis:7.0"
	servers.Require(t, image)
	one := servers.Standalone(t, image)
	one.Must("FUNCTION", "LOAD", "#!lua name=shop\n"+
		"local function both(keys, args) return redis.call('MGET', keys[1]) and redis.call('GET', args[1]) end\n"+
		"redis.register_function('held', both)\n"+
		"redis.register_function{function_name='free', callback=both, flags={'allow-cross-slot-keys'}}\n")
	d := endpointtest.Open(t, one.URL())
	for function, want := range map[string]profile.Level{"held": profile.Block, "free": profile.Latent} {
		ta := newClusterTally(t)
		if err := ta.Static(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		err := ta.Monitor(t.Context(), d, MonitorConfig{Total: 50 * time.Millisecond, Window: 50 * time.Millisecond, Began: func(string) {
			one.Must("FCALL", function, "1", "f:3", "f:7")
			one.Must("PING")
		}})
		if err != nil {
			t.Fatal(err)
		}
		rule := map[profile.Level]string{profile.Block: "script-slots", profile.Latent: "script-keys"}[want]
		if f := findingOf(t, ta.Result(), "FCALL", rule); f.Level != want || strings.Join(f.ExampleKeys, " ") != "f:7" {
			t.Errorf("%s: %+v", function, f)
		}
	}
}

// TestProposalsMakeItRun: a workload that a cluster refuses runs there once its keys have the proposed tags.
func TestProposalsMakeItRun(t *testing.T) {
	var calls [][]string
	for i := range 20 {
		user := fmt.Sprint(i)
		calls = append(calls,
			[]string{"MSET", "user:" + user + ":name", "x", "user:" + user + ":mail", "y"},
			[]string{"SADD", "tags:" + user, "a", "b"},
			[]string{"SINTERSTORE", "common:" + user, "tags:" + user, "likes:" + user},
			[]string{"MULTI"}, []string{"SET", "from:" + user, "1"}, []string{"SET", "to:" + user, "1"}, []string{"EXEC"},
			[]string{"EVAL", "redis.call('SET', KEYS[1], '1') return redis.call('SET', KEYS[2], '1')", "2", "page:" + user, "hits:" + user},
			[]string{"RPUSH", "queue:" + user, "job"},
			[]string{"BLPOP", "queue:" + user, "later:" + user, "1"},
			[]string{"RENAME", "user:" + user + ":name", "user:" + user + ":old"},
			[]string{"PFMERGE", "visits:day", "visits:hour"},
		)
	}
	for _, image := range corpusImages {
		t.Run(image, func(t *testing.T) {
			servers.Require(t, image)
			one := servers.Standalone(t, image)
			nodes := servers.Cluster(t, image, 3, 0)
			found := watchWorkload(t, one, "cluster", "7.0", calls)
			if refused := replay(t, &clusterSide{t: t, nodes: nodes}, calls); len(refused) == 0 || found.Verdict != Incompatible {
				t.Fatalf("the workload should be refused before: %v, verdict %s", refused, found.Verdict)
			}
			var tagged [][]string
			for _, words := range calls {
				tagged = append(tagged, retagCall(found, words))
			}
			if refused := replay(t, &clusterSide{t: t, nodes: nodes}, tagged); len(refused) != 0 {
				t.Errorf("still refused with the proposed tags: %v", refused)
			}
			if r := watchWorkload(t, one, "cluster", "7.0", tagged); r.Verdict != Compatible {
				t.Errorf("with the proposed tags: %s, %v", r.Verdict, shortFindings(r))
			}
		})
	}
}

// retagCall gives every key of a call its proposed name.
func retagCall(r *Result, words []string) []string {
	var args [][]byte
	for _, w := range words {
		args = append(args, []byte(w))
	}
	out := slices.Clone(words)
	spec, _ := NewTally(Config{Profile: profile.All()[0]}).lookup(args)
	at, err := spec.Keys(args, nil)
	if err != nil {
		return out
	}
	for _, i := range at {
		out[i] = r.Retag(words[i])
	}
	return out
}

// TestStatic: what a server has counted, its databases and clients, without a call seen.
func TestStatic(t *testing.T) {
	for _, image := range corpusImages {
		servers.Require(t, image)
		one := servers.Standalone(t, image)
		one.Must("CONFIG", "RESETSTAT")
		one.Must("MSET", "a", "1", "b", "2")
		one.Must("SWAPDB", "1", "2")
		if err := one.Client(3).Do(t.Context(), one.Client(3).B().Set().Key("k").Value("v").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		if err := one.Client(7).Do(t.Context(), one.Client(7).B().Get().Key("k").Build()).Error(); !rueidis.IsRedisNil(err) { // and stays connected
			t.Fatal(err)
		}
		d := endpointtest.Open(t, one.URL())
		ta := newClusterTally(t)
		if err := ta.Static(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		r := ta.Result()
		if f := findingOf(t, r, "MSET", "cross-slot"); f.Certainty != Possible || f.Count != 1 || f.CrossSlotShare != nil {
			t.Errorf("%s: %+v", image, f)
		}
		if f := findingOf(t, r, "SWAPDB", "database"); f.Certainty != Proven {
			t.Errorf("%s: %+v", image, f)
		}
		if f := findingOf(t, r, "db3", "databases"); f.Count != 1 {
			t.Errorf("%s: %+v", image, f)
		}
		if f := findingOf(t, r, "db7", "databases"); f.Count < 1 || strings.Count(f.Detail, "A client uses it") != 1 {
			t.Errorf("%s: %+v", image, f)
		}
		if f := findingOf(t, r, "(clients)", "clients"); f.Count < 1 || len(f.Clients) == 0 {
			t.Errorf("%s: %+v", image, f)
		}
	}
}

// TestMonitorMeasures: the report says what MONITOR cost, and ends it when the server closes the connection.
func TestMonitorMeasures(t *testing.T) {
	image := "redis:7.0"
	servers.Require(t, image)
	one := servers.Standalone(t, image)
	open := func() *endpoint.Deployment {
		d := endpointtest.Open(t, one.URL())
		return d
	}
	ta := newClusterTally(t)
	err := ta.Monitor(t.Context(), open(), MonitorConfig{Total: 200 * time.Millisecond, Window: 100 * time.Millisecond, Began: func(string) {
		for range 50 {
			one.Must("GET", "a")
		}
		one.Must("PING")
	}})
	if err != nil {
		t.Fatal(err)
	}
	e := ta.Result().Coverage.Evidence[0]
	if c := e.Cost; ta.commands["GET"].examined != 100 || c == nil || c.Windows != 2 || c.Bytes < 100*40 || c.LatencyOffUs <= 0 || c.Stopped != "" || c.OpsOff < 0 { // between the windows nobody but the measuring itself sends anything
		t.Errorf("%d calls, cost %+v", e.Calls, e.Cost)
	}
	ta = newClusterTally(t)
	err = ta.Monitor(t.Context(), open(), MonitorConfig{Total: time.Minute, Window: 100 * time.Millisecond, Began: func(string) {
		one.Must("CLIENT", "KILL", "TYPE", "pubsub") // since its buffer is bounded like theirs, our MONITOR is one of these
	}})
	if err != nil {
		t.Fatal(err)
	}
	if e := ta.Result().Coverage.Evidence[0]; e.Cost == nil || !strings.Contains(e.Cost.Stopped, "closed the connection") || !strings.Contains(e.Note, "stopped") {
		t.Errorf("cost %+v, note %q", e.Cost, e.Note)
	}
}

// TestTrial: a real cluster says itself what it refuses of a workload; one that holds keys is not touched.
func TestTrial(t *testing.T) {
	image := "redis:7.0"
	servers.Require(t, image)
	nodes := servers.Cluster(t, image, 3, 0)
	d := endpointtest.Open(t, nodes[0].URL())
	ta := newClusterTally(t)
	if err := ta.Trial(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	feed(ta, [][]string{
		{"SET", "a", "1"}, {"GET", "a"}, {"RPUSH", "a", "x"}, // of another type, which is no matter of clusters
		{"MGET", "a", "b"},
		{"@1", "MULTI"}, {"@2", "SET", "c", "1"}, {"@1", "SET", "a", "2"}, {"@1", "SET", "d", "2"}, {"@1", "EXEC"},
		{"@1", "MULTI"}, {"@1", "SET", "{t}1", "1"}, {"@1", "SET", "{t}2", "1"}, {"@1", "EXEC"},
		{"SELECT", "3"}, {"FLUSHALL"}, {"BLPOP", "a", "b", "0"}, {"KEYS", "*"},
		{"EVAL", "return redis.call('SET', KEYS[1], 'x')", "1", "e"},
	})
	if err := ta.End(); err != nil {
		t.Fatal(err)
	}
	r := ta.Result()
	got := map[string]string{}
	for _, f := range r.Findings {
		if f.Rule == RuleTrial {
			got[f.Command], _, _ = strings.Cut(f.Error, " ")
		}
	}
	if fmt.Sprint(got) != "map[EXEC:CROSSSLOT MGET:CROSSSLOT SELECT:SELECT]" {
		t.Errorf("refused: %v", got)
	}
	note := r.Coverage.Evidence[len(r.Coverage.Evidence)-1].Note
	if !strings.Contains(note, "11 calls were sent") || !strings.Contains(note, "1 failed for other reasons, such as WRONGTYPE") {
		t.Errorf("note: %s", note)
	}
	if n := len(nodes[0].Must("KEYS", "*").([]any)) + len(nodes[1].Must("KEYS", "*").([]any)) + len(nodes[2].Must("KEYS", "*").([]any)); n != 5 {
		t.Errorf("%d keys are there, want a, c, e and two of {t}", n)
	}
	if err := newClusterTally(t).Trial(t.Context(), d); err == nil || !strings.Contains(err.Error(), "use an empty cluster") {
		t.Errorf("a cluster with keys: %v", err)
	}
}

// TestTwemproxyKnows: every command of the table is refused by nutcracker, whatever its arguments, if the profile says so.
func TestTwemproxyKnows(t *testing.T) {
	image := "redis:7.0"
	servers.Require(t, image)
	proxy := servers.Twemproxy(t, []string{"hash: fnv1a_64", "distribution: ketama"}, servers.Standalone(t, image).Addr+":1 a")
	p, err := profile.Get("twemproxy")
	if err != nil {
		t.Fatal(err)
	}
	forms := [][]string{{"return 1", "1", "k"}}
	for n := range 6 {
		forms = append(forms, []string{"k", "1", "2", "3", "4"}[:n])
	}
	for _, spec := range command.All() {
		if strings.ContainsAny(spec.Name, " .") || slices.Contains([]string{"MONITOR", "QUIT", "SHUTDOWN"}, spec.Name) {
			continue
		}
		accepted := slices.ContainsFunc(forms, func(form []string) bool {
			conn := dialRaw(t, proxy.Addr)
			defer conn.Close()
			return conn.do(append([]string{spec.Name}, form...)) != closedConnection
		})
		if accepted == p.Refuses(spec.Name) {
			t.Errorf("%s: nutcracker takes it: %v, the profile has it refused: %v", spec.Name, accepted, p.Refuses(spec.Name))
		}
	}
}

// TestTwemproxyAnswersWrongly: what is called silent is answered by nutcracker without an error, and otherwise than by one
// server that holds the same data; what is called split is answered alike.
func TestTwemproxyAnswersWrongly(t *testing.T) {
	image := "redis:7.0"
	servers.Require(t, image)
	one, two, whole := servers.Standalone(t, image), servers.Standalone(t, image), servers.Standalone(t, image)
	proxy := servers.Twemproxy(t, []string{"hash: fnv1a_64", "distribution: ketama", `hash_tag: "{}"`}, one.Addr+":1 a", two.Addr+":1 b")
	front, back := dialRaw(t, proxy.Addr), dialRaw(t, whole.Addr)
	defer front.Close()
	defer back.Close()
	placed := func(server *servers.Server, prefix string) string { // a key that lies on that server
		for i := range 100 {
			key := fmt.Sprint(prefix, i)
			if front.say("SET", key, "x"); fmt.Sprint(server.Must("EXISTS", key)) == "1" {
				front.say("DEL", key)
				return key
			}
		}
		t.Fatal("no key of a hundred lies on the server")
		return ""
	}
	a, b := placed(one, "a:"), placed(two, "b:")
	set, list, number, hll := []string{"SADD"}, []string{"RPUSH"}, []string{"SET"}, []string{"PFADD"}
	for _, tt := range []struct {
		fill []string   // of both keys
		call []string   // what is called silent or split
		read [][]string // what it left behind
	}{
		{number, []string{"EXISTS", a, b}, nil},
		{number, []string{"COPY", a, b, "REPLACE"}, [][]string{{"GET", b}}},
		{set, []string{"SUNION", a, b}, nil},
		{set, []string{"SUNIONSTORE", a, b, a}, [][]string{{"SCARD", a}}},
		{set, []string{"SMOVE", a, b, a}, [][]string{{"SCARD", b}}},
		{set, []string{"SORT", a, "ALPHA", "STORE", b}, [][]string{{"TYPE", b}}},
		{set, []string{"EVAL", "return redis.call('SCARD', KEYS[2])", "2", a, b}, nil},
		{set, []string{"ZUNIONSTORE", a, "2", a, b}, [][]string{{"ZCARD", a}}},
		{set, []string{"ZUNION", "2", a, b}, nil},
		{list, []string{"RPOPLPUSH", a, b}, [][]string{{"LLEN", b}}},
		{list, []string{"LMOVE", a, b, "LEFT", "LEFT"}, [][]string{{"LLEN", b}}},
		{hll, []string{"PFCOUNT", a, b}, nil},
		{hll, []string{"PFMERGE", a, b}, [][]string{{"PFCOUNT", a}}},
		{number, []string{"MGET", a, b}, nil},
		{number, []string{"TOUCH", a, b}, nil},
		{number, []string{"DEL", a, b}, [][]string{{"GET", a}, {"GET", b}}},
		{number, []string{"UNLINK", a, b}, [][]string{{"GET", a}, {"GET", b}}},
	} {
		var answers [2]string
		for i, conn := range []*rawConn{front, back} {
			for _, key := range []string{a, b} {
				conn.say("DEL", key)
				conn.say(append(slices.Clone(tt.fill), key, key)...) // its name is its content
			}
			answers[i] = conn.say(tt.call...)
			for _, read := range tt.read {
				answers[i] += "; " + conn.say(read...)
			}
		}
		found := judgeCalls(t, "twemproxy", "7.0", [][]string{tt.call})
		if len(found.Findings) != 1 {
			t.Errorf("%q: %v, want one finding", tt.call, shortFindings(found))
			continue
		}
		switch f := found.Findings[0]; {
		case strings.Contains(answers[0], "ERR"):
			t.Errorf("%q: nutcracker answers %s", tt.call, answers[0])
		case (f.Level == profile.Silent) != (answers[0] != answers[1]):
			t.Errorf("%q is called %s: nutcracker answers %s, one server %s", tt.call, f.Level, answers[0], answers[1])
		}
	}
}

// say sends a command and gives its reply as text.
func (c *rawConn) say(words ...string) string {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(time.Minute))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := c.Write([]byte(b.String())); err != nil {
		c.t.Fatal(err)
	}
	text, err := c.text()
	if err != nil {
		c.t.Fatalf("%q: %v", words, err)
	}
	return text
}

// text reads a reply; elements of arrays are sorted.
func (c *rawConn) text() (string, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	n := 0
	switch line[0] {
	case '$':
		if _, err := fmt.Sscan(line[1:], &n); err != nil || n < 0 {
			return "nil", err
		}
		value := make([]byte, n+2)
		_, err := io.ReadFull(c.r, value)
		return string(value[:n]), err
	case '*':
		if _, err := fmt.Sscan(line[1:], &n); err != nil {
			return "", err
		}
		var all []string
		for range n {
			one, err := c.text()
			if err != nil {
				return "", err
			}
			all = append(all, one)
		}
		slices.Sort(all)
		return fmt.Sprint(all), nil
	}
	return line, nil
}

// TestMonitorCostIsTrue: what the report says that MONITOR costs is what a client under load loses.
func TestMonitorCostIsTrue(t *testing.T) {
	image := "redis:7.0"
	servers.Require(t, image)
	one := servers.Standalone(t, image)
	d := endpointtest.Open(t, one.URL())
	var done atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go load(t, one.Addr, &done, stop, stopped)
	defer func() { close(stop); <-stopped }()

	const window = 500 * time.Millisecond
	type mark struct {
		at time.Time
		n  int64
	}
	var began, ended []mark
	var waiting sync.WaitGroup
	start := mark{time.Now(), done.Load()}
	ta := newClusterTally(t)
	err := ta.Monitor(t.Context(), d, MonitorConfig{Total: 4 * window, Window: window, Began: func(string) {
		began = append(began, mark{time.Now(), done.Load()})
		waiting.Go(func() {
			time.Sleep(window)
			ended = append(ended, mark{time.Now(), done.Load()})
		})
	}})
	waiting.Wait()
	if err != nil {
		t.Fatal(err)
	}
	var on, off mark // sums: at is not used
	var onTime, offTime time.Duration
	for i := range began {
		before := start
		if i > 0 {
			before = ended[i-1]
		}
		off.n, offTime = off.n+began[i].n-before.n, offTime+began[i].at.Sub(before.at)
		on.n, onTime = on.n+ended[i].n-began[i].n, onTime+ended[i].at.Sub(began[i].at)
	}
	lossReal := 1 - float64(on.n)/onTime.Seconds()/(float64(off.n)/offTime.Seconds())
	c := ta.Result().Coverage.Evidence[0].Cost
	lossSaid := 1 - c.OpsOn/c.OpsOff
	t.Logf("with MONITOR a client gets %.0f %% less done, the report says %.0f %%: %+v", 100*lossReal, 100*lossSaid, c)
	if lossReal > lossSaid+0.15 {
		t.Errorf("a client lost %.2f of its speed, the report says %.2f", lossReal, lossSaid)
	}
	if c.CPUOn <= 0 || c.CPUOff <= 0 || c.LatencyOnUs <= 0 || c.Bytes == 0 {
		t.Errorf("something was not measured: %+v", c)
	}
}

// load sends SET in pipelines of 16 until it is told to stop, and counts what is answered.
func load(t *testing.T, addr string, done *atomic.Int64, stop <-chan struct{}, stopped chan<- struct{}) {
	defer close(stopped)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	pipeline := []byte(strings.Repeat("*3\r\n$3\r\nSET\r\n$6\r\nuser:1\r\n$5\r\nhello\r\n", 16))
	replies := make([]byte, 16*len("+OK\r\n"))
	for {
		select {
		case <-stop:
			return
		default:
		}
		if _, err := conn.Write(pipeline); err != nil {
			t.Error(err)
			return
		}
		if _, err := io.ReadFull(conn, replies); err != nil {
			t.Error(err)
			return
		}
		done.Add(16)
	}
}

// TestMonitorStopsWhenTheServerSuffers: a server that answers slowly while MONITOR is on is left alone.
func TestMonitorStopsWhenTheServerSuffers(t *testing.T) {
	image := "redis:7.0"
	servers.Require(t, image)
	one := servers.Standalone(t, image)
	d := endpointtest.Open(t, one.URL())
	ctx, cancel := context.WithCancel(t.Context())
	var slow sync.WaitGroup
	defer slow.Wait()
	defer cancel()
	ta := newClusterTally(t)
	begun := time.Now()
	err := ta.Monitor(ctx, d, MonitorConfig{Total: time.Minute, Window: 3 * time.Second, Began: func(string) {
		slow.Go(func() {
			for ctx.Err() == nil {
				one.Do("DEBUG", "SLEEP", "0.2")
			}
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	if e := ta.Result().Coverage.Evidence[0]; !strings.Contains(e.Cost.Stopped, "PING took more than") || e.Cost.Windows != 1 || time.Since(begun) > 20*time.Second {
		t.Errorf("after %v: cost %+v, note %q", time.Since(begun), e.Cost, e.Note)
	}
}
