package servers

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// patience bounds every wait for a server; a loaded machine is slow, not broken.
const patience = time.Minute

// Server is one server process. Its methods fail the test that started it.
type Server struct {
	Addr     string // 127.0.0.1:port
	Port     int
	Image    string
	Flavor   string // redis or valkey
	Version  string // as the server reports it
	Password string // of --requirepass; "" without
	Cluster  bool

	t       testing.TB
	process process
	host    *host

	mu      sync.Mutex
	clients map[int]rueidis.Client // by database; guarded by mu
}

// Standalone starts one server, which ends with the test. args are further options of
// the server ("--maxmemory", "100mb"); they override the defaults: no persistence, diskless sync without delay, DEBUG
// allowed.
func Standalone(t testing.TB, image string, args ...string) *Server {
	t.Helper()
	return start(t, image, [][]string{args})[0]
}

// Replica starts a replica of the server, with the same image, and waits until both say that it has synchronized.
func Replica(t testing.TB, of *Server, args ...string) *Server {
	t.Helper()
	args = append([]string{"--replicaof", "127.0.0.1", strconv.Itoa(of.Port)}, args...)
	if number(of.Image) < 500 {
		args[0] = "--slaveof"
	}
	if of.Password != "" {
		args = append(args, "--masterauth", of.Password)
	}
	r := Standalone(t, of.Image, args...)
	r.waitFor("synchronized replica", func() error { return r.synchronized() })
	of.waitFor("replica that is online", func() error { // which a primary says after the first acknowledgement
		for field, text := range of.Info("replication") {
			if strings.HasPrefix(field, "slave") && strings.Contains(text, fmt.Sprintf("port=%d,state=online", r.Port)) {
				return nil
			}
		}
		return fmt.Errorf("it is not listed as online")
	})
	return r
}

// start runs one process for each list of args, and waits until each answers.
func start(t testing.TB, image string, args [][]string) []*Server {
	t.Helper()
	servers := make([]*Server, len(args))
	processes := make([]process, len(args))
	for i, extra := range args {
		port := freePort(t)
		processes[i] = newProcess(image, port, extra)
		servers[i] = &Server{
			Addr: "127.0.0.1:" + strconv.Itoa(port), Port: port, Image: image,
			Flavor: strings.TrimSuffix(binary(image), "-server"), Password: option(extra, "--requirepass"),
			Cluster: option(extra, "--cluster-enabled") == "yes",
			t:       t, process: processes[i], clients: map[int]rueidis.Client{},
		}
	}
	launch(t, image, servers, processes)
	return servers
}

// launch runs the processes of servers until the test's end, and waits until each answers.
func launch(t testing.TB, image string, servers []*Server, processes []process) {
	t.Helper()
	h := hostOf(t, image)
	starts, ends := make([]string, len(processes)), make([]string, len(processes))
	for i, p := range processes {
		starts[i], ends[i] = p.start(), p.end()
	}
	t.Cleanup(func() {
		if _, err := h.run(strings.Join(ends, "\n")); err != nil {
			t.Error(err)
		}
	})
	if _, err := h.run(strings.Join(starts, " && ")); err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		s.host = h
		t.Cleanup(s.closeClients)
	}
	for _, s := range servers {
		s.ready()
		noteRan(image, s.Version)
	}
}

// option gives the last value of an option among args.
func option(args []string, name string) string {
	value := ""
	for i := 0; i+1 < len(args); i++ {
		if args[i] == name {
			value = args[i+1]
		}
	}
	return value
}

// ready waits until the server answers and has loaded, and reads its version.
func (s *Server) ready() {
	s.t.Helper()
	s.waitFor("answer", func() error {
		client, err := s.dial(0)
		if err != nil {
			return err
		}
		defer client.Close()
		info, err := client.Do(context.Background(), client.B().Info().Build()).ToString()
		if err != nil {
			return err
		}
		facts := parseInfo(info)
		if facts["loading"] == "1" {
			return fmt.Errorf("loading")
		}
		s.Version = facts[s.Flavor+"_version"]
		if s.Version == "" {
			s.Version = facts["redis_version"]
		}
		return nil
	})
}

// URL gives the endpoint as surecut takes it, without a password: redis://host:port, or redis+cluster://host:port for
// a cluster's node.
func (s *Server) URL() string {
	if s.Cluster {
		return "redis+cluster://" + s.Addr
	}
	return "redis://" + s.Addr
}

// Client gives a client of this one server and a database; it closes with the test. It never retries and never
// follows MOVED.
func (s *Server) Client(db int) rueidis.Client {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[db]; c != nil {
		return c
	}
	c, err := s.dial(db)
	if err != nil {
		s.t.Fatalf("connect to %s database %d: %v", s.Addr, db, err)
	}
	s.clients[db] = c
	return c
}

// Do runs a command in database 0. The reply is the caller's to judge.
func (s *Server) Do(args ...string) rueidis.RedisResult {
	s.t.Helper()
	client := s.Client(0)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return client.Do(ctx, client.B().Arbitrary(args[0]).Args(args[1:]...).Build())
}

// Must runs a command in database 0 and fails the test on an error reply; a nil reply gives nil.
func (s *Server) Must(args ...string) any {
	s.t.Helper()
	value, err := s.Do(args...).ToAny()
	if err != nil && !rueidis.IsRedisNil(err) {
		s.t.Fatalf("%s: %.200q: %v", s.Addr, args, err)
	}
	return value
}

// Info gives the fields of INFO, all sections or those named.
func (s *Server) Info(sections ...string) map[string]string {
	s.t.Helper()
	text, err := s.Do(append([]string{"INFO"}, sections...)...).ToString()
	if err != nil {
		s.t.Fatalf("%s: INFO: %v", s.Addr, err)
	}
	return parseInfo(text)
}

func parseInfo(text string) map[string]string {
	facts := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			facts[name] = value
		}
	}
	return facts
}

// Number returns the Redis-compatible version of the server as a number, 70015 for 7.0.15.
func (s *Server) Number() int {
	s.t.Helper()
	var major, minor, patch int
	if _, err := fmt.Sscanf(s.Info("server")["redis_version"], "%d.%d.%d", &major, &minor, &patch); err != nil {
		s.t.Fatal(err)
	}
	return major*10000 + minor*100 + patch
}

func (s *Server) dial(db int) (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{s.Addr}, SelectDB: db, Password: s.Password,
		ForceSingleClient: true, DisableCache: true, DisableRetry: true, AlwaysRESP2: true,
		ClientSetInfo:    rueidis.DisableClientSetInfo,
		ConnWriteTimeout: patience, Dialer: net.Dialer{Timeout: 10 * time.Second},
	})
}

func (s *Server) closeClients() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.Close()
	}
	clear(s.clients)
}

// synchronized tells whether a replica's link is up.
func (s *Server) synchronized() error {
	info := s.Info("replication")
	if info["role"] != "slave" || info["master_link_status"] != "up" {
		return fmt.Errorf("role %s, link %s", info["role"], info["master_link_status"])
	}
	return nil
}

// waitFor polls until there is no error any more, and fails the test with the server's log after a minute.
func (s *Server) waitFor(what string, try func() error) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s %s: no %s within %v: %v\n%s", s.Image, s.Addr, what, patience, err, s.Log(15))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// process is one server process in a container.
type process struct {
	binary string
	port   int
	args   []string
	config string // what its configuration file holds at first; "" for none
}

func newProcess(image string, port int, extra []string) process {
	p := process{binary: binary(image), port: port}
	args := []string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--daemonize", "yes",
		"--dir", p.dir(), "--pidfile", p.dir() + "/pid", "--logfile", p.dir() + "/log",
		"--save", "", "--appendonly", "no",
	}
	if number(image) >= 302 {
		args = append(args, "--protected-mode", "no")
	}
	if number(image) >= 600 {
		args = append(args, "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
	}
	if number(image) >= 700 {
		args = append(args, "--enable-debug-command", "yes")
	}
	p.args = slices.Concat(args, extra)
	return p
}

// dir lies inside the container, not in the mounted directory.
func (p process) dir() string { return "/var/tmp/server-" + strconv.Itoa(p.port) }

// start is the shell command that starts the process; it daemonizes.
func (p process) start() string {
	quoted := make([]string, 0, len(p.args))
	for _, a := range p.args {
		quoted = append(quoted, "'"+strings.ReplaceAll(a, "'", `'\''`)+"'")
	}
	config := ""
	if p.config != "" { // a sentinel rewrites it, and finds it again when it is restarted
		file := p.dir() + "/config"
		config = fmt.Sprintf("{ test -f %s || printf '%%s' '%s' > %s; } && ", file, p.config, file)
		quoted = append([]string{file}, quoted...)
	}
	return fmt.Sprintf("mkdir -p %s && %s%s %s", p.dir(), config, p.binary, strings.Join(quoted, " "))
}

// end is the shell command that ends the process, whatever state it is in, and removes its files. Nothing in it is worth a shutdown. A child
// of it that saves may still write some file.
func (p process) end() string { return fmt.Sprintf("%s; rm -rf %s || true", p.signal("KILL"), p.dir()) }

// signal is the shell command that sends a signal to the process, unless it is gone and its number is another's by now.
func (p process) signal(name string) string {
	return fmt.Sprintf("pid=$(cat %s/pid) && grep -aq %d /proc/$pid/cmdline && kill -%s $pid", p.dir(), p.port, name)
}
