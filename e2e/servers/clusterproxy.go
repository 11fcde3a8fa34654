package servers

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// ClusterProxy is a stand-in for the proxies of a managed cluster, in this process: one address for all primaries of a real
// cluster, which its clients cannot reach. It splits DEL, EXISTS, MGET, MSET and UNLINK by slot, refuses other commands across
// slots, gives a transaction to the server of the key that WATCH names before it, scans all servers in turn, and tells nothing
// of the cluster.
type ClusterProxy struct {
	Addr    string // 127.0.0.1:port
	Servers []*Server

	mu      sync.Mutex
	clients map[*clusterSession]bool // guarded by mu
}

// ClusterProxyStandIn stands before the primaries of a cluster, in the order in which Cluster gives them, until the test's end.
func ClusterProxyStandIn(t testing.TB, primaries ...*Server) *ClusterProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &ClusterProxy{Addr: l.Addr().String(), Servers: primaries, clients: map[*clusterSession]bool{}}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	Note("ran: a stand-in for the proxy of a managed cluster; no real one is run here")
	return p
}

// Drop closes the connection of every client behind whatever command it stands at. Nothing that it was sent runs any more.
func (p *ClusterProxy) Drop() {
	p.mu.Lock()
	sessions := slices.Collect(maps.Keys(p.clients))
	p.mu.Unlock()
	for _, s := range sessions {
		s.mu.Lock()
		s.dropped = true
		s.conn.Close()
		s.mu.Unlock()
	}
}

// clusterSession is one client's connection.
type clusterSession struct {
	p       *ClusterProxy
	conn    net.Conn
	back    map[*Server]*backend
	watched *Server // whom the next transaction goes to
	inMulti bool

	mu      sync.Mutex // held while a command runs
	dropped bool       // guarded by mu
}

func (p *ClusterProxy) serve(conn net.Conn) {
	s := &clusterSession{p: p, conn: conn, back: map[*Server]*backend{}}
	p.mu.Lock()
	p.clients[s] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.clients, s)
		p.mu.Unlock()
		conn.Close()
		for _, b := range s.back {
			b.conn.Close()
		}
	}()
	in := bufio.NewReaderSize(conn, 64<<10)
	for {
		commands := [][][]byte(nil)
		for len(commands) == 0 || in.Buffered() > 0 && len(commands) < 1000 {
			args, err := readCommand(in)
			if err != nil {
				return
			}
			commands = append(commands, args)
		}
		if err := s.run(commands); err != nil {
			return
		}
	}
}

// run answers commands that came at once.
func (s *clusterSession) run(commands [][][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped {
		return net.ErrClosed
	}
	var out []byte
	for len(commands) > 0 {
		var reply []byte
		var err error
		n := wholeTransaction(commands)
		single := 0
		for !s.inMulti && n == 0 && single < len(commands) && s.single(commands[single]) != nil {
			single++
		}
		switch {
		case n > 0:
			reply, err = s.forward(s.p.server(slotOf(commands[0][1])), commands[:n]...)
		case single > 1:
			n = single
			reply, err = s.spread(commands[:n])
		default:
			n = 1
			reply, err = s.answer(commands[0])
		}
		if err != nil {
			reply = bytes.Repeat(fmt.Appendf(nil, "-ERR proxy: %v\r\n", err), n)
		}
		out, commands = append(out, reply...), commands[n:]
	}
	_, err := s.conn.Write(out)
	return err
}

// single gives the server of a command of one key; nil for every other one.
func (s *clusterSession) single(args [][]byte) *Server {
	if len(args) < 2 || !slices.Contains(clusterSingle, strings.ToUpper(string(args[0]))) {
		return nil
	}
	return s.p.server(slotOf(args[1]))
}

// spread runs commands of one key each on their servers at once.
func (s *clusterSession) spread(commands [][][]byte) ([]byte, error) {
	of := map[*Server][][][]byte{}
	for _, args := range commands {
		of[s.single(args)] = append(of[s.single(args)], args)
	}
	rest := map[*Server]*bufio.Reader{}
	for to, own := range of {
		replies, err := s.forward(to, own...)
		if err != nil {
			return nil, err
		}
		rest[to] = bufio.NewReader(bytes.NewReader(replies))
	}
	var out []byte
	for _, args := range commands {
		reply, err := readReply(rest[s.single(args)])
		if err != nil {
			return nil, err
		}
		out = append(out, reply...)
	}
	return out, nil
}

// wholeTransaction gives the number of commands from WATCH to EXEC that stand at the beginning; 0 where there are none.
func wholeTransaction(commands [][][]byte) int {
	if !strings.EqualFold(string(commands[0][0]), "WATCH") || len(commands[0]) != 2 || len(commands) < 2 || !strings.EqualFold(string(commands[1][0]), "MULTI") {
		return 0
	}
	return 1 + slices.IndexFunc(commands, func(args [][]byte) bool { return strings.EqualFold(string(args[0]), "EXEC") })
}

// slotOf is CRC16 (XModem) of the key, or of its hash tag, modulo the slots.
func slotOf(key []byte) int {
	if i := bytes.IndexByte(key, '{'); i >= 0 {
		if n := bytes.IndexByte(key[i+1:], '}'); n > 0 {
			key = key[i+1:][:n]
		}
	}
	crc := 0
	for _, c := range key {
		crc ^= int(c) << 8
		for range 8 {
			if crc <<= 1; crc&0x10000 != 0 {
				crc ^= 0x11021
			}
		}
	}
	return crc % slots
}

// server gives the server of a slot: Cluster deals them out in equal ranges.
func (p *ClusterProxy) server(slot int) *Server {
	for i := range p.Servers {
		if slot < slots*(i+1)/len(p.Servers) {
			return p.Servers[i]
		}
	}
	return nil
}

var (
	clusterSplit   = map[string]int{"DEL": 1, "EXISTS": 1, "MGET": 1, "UNLINK": 1, "MSET": 2}
	clusterSingle  = strings.Fields("GET SET HGET HGETALL HMSET TYPE PTTL PEXPIRETIME RESTORE DUMP GETRANGE HSCAN SSCAN LRANGE ZRANGE HPEXPIRETIME PEXPIREAT PERSIST INCR")
	clusterKeyless = strings.Fields("PING ECHO TIME COMMAND INFO ACL") // the first server answers
	clusterRefuses = strings.Fields("HELLO CLIENT CLUSTER CONFIG READONLY PSYNC REPLCONF ROLE MODULE MONITOR DEBUG FLUSHALL FLUSHDB SWAPDB MOVE DISCARD")
)

func (s *clusterSession) answer(args [][]byte) ([]byte, error) {
	name := strings.ToUpper(string(args[0]))
	switch {
	case name == "WATCH" && len(args) == 2:
		s.watched = s.p.server(slotOf(args[1]))
		return s.forward(s.watched, args)
	case name == "MULTI" && s.watched == nil:
		return []byte("-ERR WATCH a key first\r\n"), nil
	case name == "MULTI":
		s.inMulti = true
		return s.forward(s.watched, args)
	case s.inMulti:
		to := s.watched
		if name == "EXEC" || name == "DISCARD" {
			s.watched, s.inMulti = nil, false
		}
		return s.forward(to, args)
	case name == "SELECT" && len(args) == 2 && string(args[1]) == "0":
		return []byte("+OK\r\n"), nil
	case name == "SELECT", slices.Contains(clusterRefuses, name):
		return fmt.Appendf(nil, "-ERR unknown command '%s'\r\n", name), nil
	case name == "INFO":
		return s.info(args)
	case name == "DBSIZE":
		return s.sum(args)
	case name == "SCAN" && len(args) > 1:
		return s.scan(args)
	case name == "SCRIPT" || name == "FUNCTION":
		return s.everywhere(args)
	case slices.Contains(clusterKeyless, name):
		return s.forward(s.p.Servers[0], args)
	}
	return s.keyed(name, args)
}

// keyed runs a command on the server of its key, or piece by piece.
func (s *clusterSession) keyed(name string, args [][]byte) ([]byte, error) {
	step := clusterSplit[name]
	if step == 0 || len(args) <= 1+step {
		at := 1
		switch name {
		case "EVAL", "EVALSHA":
			at = 3
		case "XGROUP", "XINFO", "OBJECT", "MEMORY":
			at = 2
		}
		if len(args) <= at {
			return fmt.Appendf(nil, "-ERR wrong number of arguments for '%s' command\r\n", strings.ToLower(name)), nil
		}
		return s.forward(s.p.server(slotOf(args[at])), args) // which refuses keys of other slots
	}
	sum, out := 0, fmt.Appendf(nil, "*%d\r\n", len(args)-1)
	for i := 1; i+step <= len(args); i += step {
		reply, err := s.forward(s.p.server(slotOf(args[i])), append([][]byte{args[0]}, args[i:i+step]...))
		if err != nil || reply[0] == '-' {
			return reply, err
		}
		if name == "MGET" { // an array of one
			out = append(out, reply[bytes.IndexByte(reply, '\n')+1:]...)
		}
		if n, err := strconv.Atoi(strings.TrimSpace(string(reply[1:]))); err == nil {
			sum += n
		}
	}
	switch name {
	case "MGET":
		return out, nil
	case "MSET":
		return []byte("+OK\r\n"), nil
	}
	return fmt.Appendf(nil, ":%d\r\n", sum), nil
}

// scan goes through the servers: the cursor's remainder by their number says which.
func (s *clusterSession) scan(args [][]byte) ([]byte, error) {
	cursor, err := strconv.ParseUint(string(args[1]), 10, 64)
	if err != nil {
		return nil, err
	}
	n := uint64(len(s.p.Servers))
	at := cursor % n
	args = slices.Clone(args)
	args[1] = strconv.AppendUint(nil, cursor/n, 10)
	reply, err := s.forward(s.p.Servers[at], args)
	if err != nil || reply[0] != '*' {
		return reply, err
	}
	parts := bytes.SplitN(reply, []byte("\r\n"), 4) // *2, $length, cursor, the rest
	next, err := strconv.ParseUint(string(parts[2]), 10, 64)
	if err != nil {
		return nil, err
	}
	switch {
	case next != 0:
		next = next*n + at
	case at+1 < n: // a cursor of 0 of the next server
		next = at + 1
	}
	text := strconv.FormatUint(next, 10)
	return fmt.Appendf(nil, "*2\r\n$%d\r\n%s\r\n%s", len(text), text, parts[3]), nil
}

func (s *clusterSession) sum(args [][]byte) ([]byte, error) {
	total := 0
	for _, to := range s.p.Servers {
		reply, err := s.forward(to, args)
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(reply[1:])))
		if err != nil {
			return nil, err
		}
		total += n
	}
	return fmt.Appendf(nil, ":%d\r\n", total), nil
}

func (s *clusterSession) everywhere(args [][]byte) (reply []byte, err error) {
	for _, to := range s.p.Servers {
		if reply, err = s.forward(to, args); err != nil {
			return nil, err
		}
	}
	return reply, nil
}

// info is that of one server, with the keys of all, and another process each time.
func (s *clusterSession) info(args [][]byte) ([]byte, error) {
	counted, err := s.sum([][]byte{[]byte("DBSIZE")})
	if err != nil {
		return nil, err
	}
	keys := strings.Trim(string(counted), ":\r\n")
	reply, err := s.forward(s.p.Servers[0], args)
	if err != nil || reply[0] != '$' {
		return reply, err
	}
	_, text, _ := strings.Cut(string(reply), "\r\n")
	var out strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "db0:"):
			line = fmt.Sprintf("db0:keys=%s,expires=0,avg_ttl=0\r\n", keys)
		case strings.HasPrefix(line, "run_id:"): // whichever server has answered
			line = fmt.Sprintf("run_id:%040x\r\n", rand.Uint64())
		}
		out.WriteString(line)
	}
	body := strings.TrimSuffix(out.String(), "\r\n")
	return fmt.Appendf(nil, "$%d\r\n%s\r\n", len(body), body), nil
}

// forward runs commands on a server, and gives their replies one behind the other.
func (s *clusterSession) forward(to *Server, commands ...[][]byte) ([]byte, error) {
	b := s.back[to]
	if b == nil {
		conn, err := net.Dial("tcp", to.Addr)
		if err != nil {
			return nil, err
		}
		b = &backend{conn: conn, in: bufio.NewReader(conn), db: "0"}
		s.back[to] = b
	}
	var out, replies []byte
	for _, args := range commands {
		out = fmt.Appendf(out, "*%d\r\n", len(args))
		for _, a := range args {
			out = fmt.Appendf(out, "$%d\r\n%s\r\n", len(a), a)
		}
	}
	_, err := b.conn.Write(out)
	for range commands {
		var reply []byte
		if err == nil {
			reply, err = readReply(b.in)
		}
		replies = append(replies, reply...)
	}
	if err != nil {
		b.conn.Close()
		delete(s.back, to)
	}
	return replies, err
}
