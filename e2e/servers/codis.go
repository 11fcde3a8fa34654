package servers

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// codisSlots is the number of slots of a Codis.
const codisSlots = 1024

// codisRefuses are the commands that codis-proxy 3.2 does not allow, as far as somebody might send them.
var codisRefuses = strings.Fields("MULTI EXEC DISCARD WATCH RESTORE RENAME RENAMENX MOVE SCAN KEYS DBSIZE CONFIG CLIENT TIME SCRIPT " +
	"PUBLISH MSETNX BITOP OBJECT FLUSHALL FLUSHDB WAIT RANDOMKEY")

// codisReads are the commands that codis-proxy gives to replicas where there are some, as far as somebody might send them.
var codisReads = strings.Fields("EXISTS TYPE TTL PTTL DUMP GET STRLEN HGET HGETALL HMGET HLEN LLEN LRANGE SCARD SMEMBERS ZCARD ZRANGE")

// Codis is a stand-in for a codis-proxy 3.2 in front of servers, in this process: it has the real one's slots and limits, and none
// of its slot migration. SLOTSRESTORE becomes RESTORE. A server that is down is an error reply, as there, also to a PING.
type Codis struct {
	Addr    string // 127.0.0.1:port
	Servers []*Server

	replica *Server // answers what only reads; nil: there is none
	t       testing.TB
}

// CodisStandIn spreads the slots over the servers, in equal ranges, and serves until the test's end.
func CodisStandIn(t testing.TB, servers ...*Server) *Codis {
	t.Helper()
	return CodisWithReplica(t, nil, servers...)
}

// CodisWithReplica is CodisStandIn that gives reads to a server which need not hold what the others do: a replica may lag.
func CodisWithReplica(t testing.TB, replica *Server, servers ...*Server) *Codis {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Codis{Addr: l.Addr().String(), Servers: servers, replica: replica, t: t}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.serve(conn)
		}
	}()
	Note("ran: a stand-in for codis-proxy; the real one is not run here")
	return c
}

// server gives the server of a key: CRC32 of its tag, an empty one included, else of the key.
func (c *Codis) server(key []byte) *Server {
	if i := bytes.IndexByte(key, '{'); i >= 0 {
		if n := bytes.IndexByte(key[i+1:], '}'); n >= 0 {
			key = key[i+1:][:n]
		}
	}
	return c.owner(int(crc32.ChecksumIEEE(key) % codisSlots))
}

func (c *Codis) owner(slot int) *Server { return c.Servers[slot*len(c.Servers)/codisSlots] }

// session is one client's connection, with one to each server that it has needed.
type session struct {
	c    *Codis
	db   string
	back map[*Server]*backend
}

type backend struct {
	conn net.Conn
	in   *bufio.Reader
	db   string
}

func (c *Codis) serve(conn net.Conn) {
	defer conn.Close()
	s := &session{c: c, db: "0", back: map[*Server]*backend{}}
	defer func() {
		for _, b := range s.back {
			b.conn.Close()
		}
	}()
	in := bufio.NewReader(conn)
	for {
		args, err := readCommand(in)
		if err != nil {
			return
		}
		if _, err := conn.Write(s.answer(args)); err != nil {
			return
		}
	}
}

func (s *session) answer(args [][]byte) []byte {
	name := strings.ToUpper(string(args[0]))
	switch {
	case name == "PING":
		return s.reply(s.c.Servers[rand.IntN(len(s.c.Servers))], args)
	case name == "HELLO":
		return []byte("-ERR unknown command 'hello'\r\n")
	case name == "SELECT" && len(args) == 2:
		s.db = string(args[1])
		return []byte("+OK\r\n")
	case name == "SLOTSMAPPING":
		return s.c.mapping()
	case slices.Contains(codisRefuses, name):
		return fmt.Appendf(nil, "-ERR handle request, command '%s' is not allowed\r\n", name)
	case name == "SLOTSRESTORE" && len(args) == 4:
		args = append(append([][]byte{[]byte("RESTORE")}, args[1:]...), []byte("REPLACE"))
	}
	if step := map[string]int{"DEL": 1, "MSET": 2}[name]; step > 0 && len(args) > step+1 {
		return s.split(args, step)
	}
	at := 1
	if name == "EVAL" || name == "EVALSHA" || name == "ZUNIONSTORE" || name == "ZINTERSTORE" {
		at = 3
	}
	if len(args) <= at {
		return []byte("-ERR wrong number of arguments\r\n")
	}
	if s.c.replica != nil && slices.Contains(codisReads, name) {
		return s.reply(s.c.replica, args)
	}
	return s.reply(s.c.server(args[at]), args)
}

func (s *session) reply(of *Server, args [][]byte) []byte {
	reply, err := s.forward(of, args)
	if err != nil {
		return fmt.Appendf(nil, "-ERR handle response, backend conn failure, %v\r\n", err)
	}
	return reply
}

// split runs a command of several keys one by one, and gives the sum of the numbers that came, else the last reply.
func (s *session) split(args [][]byte, step int) []byte {
	sum, reply := 0, []byte(nil)
	for i := 1; i+step <= len(args); i += step {
		reply = s.answer(append([][]byte{args[0]}, args[i:i+step]...))
		n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(reply), ":")))
		if err != nil {
			continue
		}
		sum += n
		reply = fmt.Appendf(nil, ":%d\r\n", sum)
	}
	return reply
}

func (c *Codis) mapping() []byte {
	out := fmt.Appendf(nil, "*%d\r\n", codisSlots)
	replicas := "*0\r\n"
	if c.replica != nil {
		replicas = "*1\r\n*1\r\n+" + c.replica.Addr + "\r\n"
	}
	for slot := range codisSlots {
		out = fmt.Appendf(out, "*4\r\n+%d\r\n+%s\r\n+\r\n%s", slot, c.owner(slot).Addr, replicas)
	}
	return out
}

// forward runs a command on a server.
func (s *session) forward(to *Server, args [][]byte) ([]byte, error) {
	b := s.back[to]
	if b == nil {
		conn, err := net.Dial("tcp", to.Addr)
		if err != nil {
			return nil, err
		}
		b = &backend{conn: conn, in: bufio.NewReader(conn), db: "0"}
		s.back[to] = b
	}
	reply, err := b.run(s.db, args)
	if err != nil {
		b.conn.Close()
		delete(s.back, to)
	}
	return reply, err
}

func (b *backend) run(db string, args [][]byte) ([]byte, error) {
	if b.db != db {
		if _, err := b.run(b.db, [][]byte{[]byte("SELECT"), []byte(db)}); err != nil {
			return nil, err
		}
		b.db = db
	}
	out := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		out = fmt.Appendf(out, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := b.conn.Write(out); err != nil {
		return nil, err
	}
	return readReply(b.in)
}

// readCommand reads an array of bulk strings.
func readCommand(in *bufio.Reader) ([][]byte, error) {
	line, n, err := readHead(in)
	if err == nil && (line[0] != '*' || n < 1) {
		err = fmt.Errorf("%q begins no command", line)
	}
	if err != nil {
		return nil, err
	}
	args := make([][]byte, n)
	for i := range args {
		if _, n, err = readHead(in); err != nil {
			return nil, err
		}
		args[i] = make([]byte, n+2)
		if _, err := io.ReadFull(in, args[i]); err != nil {
			return nil, err
		}
		args[i] = args[i][:n]
	}
	return args, nil
}

// readReply gives the bytes of one reply.
func readReply(in *bufio.Reader) ([]byte, error) {
	line, n, err := readHead(in)
	if err != nil {
		return nil, err
	}
	out := []byte(line)
	switch {
	case line[0] == '$' && n >= 0:
		data := make([]byte, n+2)
		_, err = io.ReadFull(in, data)
		return append(out, data...), err
	case line[0] == '*':
		for range max(n, 0) {
			part, err := readReply(in)
			if err != nil {
				return nil, err
			}
			out = append(out, part...)
		}
	}
	return out, nil
}

// readHead reads the first line of a reply or of its part, with the number in it, if there is one.
func readHead(in *bufio.Reader) (line string, n int, err error) {
	if line, err = in.ReadString('\n'); err != nil {
		return line, 0, err
	}
	if len(line) < 3 {
		return line, 0, fmt.Errorf("%q is no line of the protocol", line)
	}
	if line[0] == '*' || line[0] == '$' {
		n, err = strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	return line, n, err
}
