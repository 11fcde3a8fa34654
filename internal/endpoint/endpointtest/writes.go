package endpointtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// writes are the commands that write values and move keys, and those by which a client speaks about its connection.
var writes = map[string]command{
	"SET": ask(set),
	"SETEX": ask(func(c *client, a []string) string {
		c.s.put(c.db, a[1], &keyspace.Value{Type: keyspace.String, Str: []byte(a[3]), ExpireAt: inFuture(1000 * number(a[2]))})
		return "+OK\r\n"
	}),
	"APPEND": change(keyspace.String, func(v *keyspace.Value, a []string) string {
		v.Str = slices.Concat(v.Str, []byte(a[2]))
		return Int(len(v.Str))
	}),
	"INCR": change(keyspace.String, func(v *keyspace.Value, _ []string) string {
		n := number(string(v.Str)) + 1
		v.Str = strconv.AppendInt(nil, n, 10)
		return Int(n)
	}),
	"RPUSH": change(keyspace.List, func(v *keyspace.Value, a []string) string {
		v.List = append(slices.Clone(v.List), bytesOf(a[2:])...)
		return Int(len(v.List))
	}),
	"SADD": change(keyspace.Set, func(v *keyspace.Value, a []string) string {
		v.Set = append(slices.Clone(v.Set), bytesOf(a[2:])...)
		return Int(len(a) - 2)
	}),
	"HSET": {of: keyspace.Hash, run: func(c *client, v *keyspace.Value, a []string) string {
		if c.s.Number < 40000 && len(a) > 4 {
			return "-ERR wrong number of arguments for 'hset' command\r\n"
		}
		return change(keyspace.Hash, func(v *keyspace.Value, a []string) string { return Int(setFields(v, a[2:])) }).run(c, v, a)
	}},
	"HMSET": change(keyspace.Hash, func(v *keyspace.Value, a []string) string {
		setFields(v, a[2:])
		return "+OK\r\n"
	}),
	"HDEL": change(keyspace.Hash, func(v *keyspace.Value, a []string) string {
		before := len(v.Hash)
		v.Hash = slices.DeleteFunc(slices.Clone(v.Hash), func(f keyspace.Field) bool { return slices.Contains(a[2:], string(f.Name)) })
		return Int(before - len(v.Hash))
	}),
	"RENAMENX": ask(func(c *client, a []string) string {
		if c.held(a[1]) != nil && c.held(a[2]) != nil {
			return ":0\r\n"
		}
		return c.rename(a, ":1\r\n")
	}),
	"MOVE": ask(func(c *client, a []string) string {
		v, to := c.held(a[1]), int(number(a[2]))
		if v == nil || c.s.keys[to][a[1]] != nil {
			return ":0\r\n"
		}
		c.s.put(c.db, a[1], nil)
		c.s.put(to, a[1], v)
		return ":1\r\n"
	}),
}

func bytesOf(list []string) [][]byte {
	out := make([][]byte, len(list))
	for i := range list {
		out[i] = []byte(list[i])
	}
	return out
}

// change answers a command that changes a value of one type, and makes the key where the server lacks it. A value that is empty then
// is removed.
func change(t keyspace.Type, f func(v *keyspace.Value, args []string) string) command {
	return command{of: t, run: func(c *client, v *keyspace.Value, args []string) string {
		other := *v
		other.Type = t
		reply := f(&other, args)
		if len(other.Str)+len(other.List)+len(other.Set)+len(other.Hash) == 0 {
			c.s.put(c.db, args[1], nil)
		} else {
			c.s.put(c.db, args[1], &other)
		}
		return reply
	}}
}

// setFields sets fields of a hash, given as names and values in turn, and returns how many are new.
func setFields(v *keyspace.Value, pairs []string) (added int) {
	v.Hash = slices.Clone(v.Hash)
	for i := 0; i+1 < len(pairs); i += 2 {
		at := slices.IndexFunc(v.Hash, func(f keyspace.Field) bool { return string(f.Name) == pairs[i] })
		if at < 0 {
			at = len(v.Hash)
			v.Hash = append(v.Hash, keyspace.Field{Name: []byte(pairs[i])})
			added++
		}
		v.Hash[at].Value = []byte(pairs[i+1])
	}
	return added
}

func inFuture(ms int64) int64 { return time.Now().UnixMilli() + ms }

const syntaxError = "-ERR syntax error\r\n"

func set(c *client, a []string) string {
	held := c.held(a[1])
	v := &keyspace.Value{Type: keyspace.String, Str: []byte(a[2])}
	for i := 3; i < len(a); i++ {
		switch option := strings.ToUpper(a[i]); {
		case option == "XX" && held == nil, option == "NX" && held != nil:
			return Nil
		case option == "XX", option == "NX":
		case option == "KEEPTTL" && c.s.Number >= 60000:
			if held != nil {
				v.ExpireAt = held.ExpireAt
			}
		case i+1 == len(a):
			return syntaxError
		case option == "EX":
			i++
			v.ExpireAt = inFuture(1000 * number(a[i]))
		case option == "PX":
			i++
			v.ExpireAt = inFuture(number(a[i]))
		case option == "PXAT" && c.s.Number >= 60200:
			i++
			v.ExpireAt = number(a[i])
		default:
			return syntaxError
		}
	}
	c.s.put(c.db, a[1], v)
	return "+OK\r\n"
}

func restore(c *client, a []string) string {
	options := map[string]bool{}
	for i := 4; i < len(a); i++ {
		option := strings.ToUpper(a[i])
		switch {
		case option == "REPLACE" && c.s.Number >= 30000, option == "ABSTTL" && c.s.Number >= 50000:
			options[option] = true
		case (option == "FREQ" || option == "IDLETIME") && c.s.Number >= 50000:
			i++
		default:
			return syntaxError
		}
	}
	v, err := rdb.DecodeDump([]byte(a[3]))
	if err != nil {
		return "-ERR DUMP payload version or checksum are wrong\r\n"
	}
	if c.held(a[1]) != nil && !options["REPLACE"] {
		return "-BUSYKEY Target key name already exists.\r\n"
	}
	if v.ExpireAt = number(a[2]); v.ExpireAt > 0 && !options["ABSTTL"] {
		v.ExpireAt = inFuture(v.ExpireAt)
	}
	c.s.put(c.db, a[1], &v)
	return "+OK\r\n"
}

// rename gives a key another name, and returns done.
func (c *client) rename(a []string, done string) string {
	v := c.held(a[1])
	if v == nil {
		return "-ERR no such key\r\n"
	}
	c.s.put(c.db, a[1], nil)
	c.s.put(c.db, a[2], v)
	return done
}

func clientCommand(c *client, a []string) string {
	switch strings.ToUpper(a[1]) {
	case "TRACKING":
		c.tracks = true
		return "+OK\r\n"
	case "NO-TOUCH":
		if c.s.Number >= 70200 {
			return "+OK\r\n"
		}
	case "SETNAME":
		c.name = a[2]
		return "+OK\r\n"
	case "ID":
		if c.s.Number >= 50000 {
			return Int(c.id)
		}
	case "LIST":
		text := ""
		for other := range c.s.open {
			if len(a) == 2 {
				text += fmt.Sprintf("id=%d addr=%s name=%s age=0\n", other.id, other.conn.RemoteAddr(), other.name)
			}
		}
		return Bulk(text)
	case "KILL":
		return c.kill(a[2:])
	}
	return "-ERR unknown subcommand '" + a[1] + "'. Try CLIENT HELP.\r\n"
}

// kill ends a connection that is named by its address, or by its ID.
func (c *client) kill(a []string) string {
	for other := range c.s.open {
		if len(a) == 1 && other.conn.RemoteAddr().String() == a[0] || len(a) == 2 && int64(other.id) == number(a[1]) {
			other.conn.Close()
			delete(c.s.open, other) // a server does not list it any more once it has answered
			if len(a) == 1 {
				return "+OK\r\n"
			}
			return ":1\r\n"
		}
	}
	if len(a) == 1 {
		return "-ERR No such client\r\n"
	}
	return ":0\r\n"
}
