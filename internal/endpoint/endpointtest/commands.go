package endpointtest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// command is how one command is answered. Where it is about a type, the value of its key is passed on, or an empty one where the
// server lacks the key.
type command struct {
	since     int // version, as endpoint.Server has it
	of        keyspace.Type
	redisOnly bool // Valkey has it since 9.0
	run       func(c *client, v *keyspace.Value, args []string) string
}

func say(reply string) command {
	return command{run: func(*client, *keyspace.Value, []string) string { return reply }}
}

func ask(f func(c *client, args []string) string) command {
	return command{run: func(c *client, _ *keyspace.Value, args []string) string { return f(c, args) }}
}

func read(t keyspace.Type, f func(v *keyspace.Value, args []string) string) command {
	return command{of: t, run: func(_ *client, v *keyspace.Value, args []string) string { return f(v, args) }}
}

func (k command) from(since int) command {
	k.since = since
	return k
}

var commands map[string]command

func init() {
	commands = map[string]command{
		"PING": say("+PONG\r\n"), "AUTH": say("+OK\r\n"), "READONLY": say("+OK\r\n").from(30000), "REPLCONF": ask(replconf),
		"MODULE": say("*0\r\n").from(40000), "FUNCTION": ask(function).from(70000),
		"EXEC": say(""), "DISCARD": say(""), // see endTransaction
		"ECHO": ask(func(_ *client, a []string) string { return Bulk(a[1]) }),
		"SUBSCRIBE": ask(func(_ *client, a []string) string { // as a client of RESP3 is told
			return ">3\r\n" + Bulk("subscribe") + Bulk(a[1]) + ":1\r\n"
		}),
		"HELLO":  ask(hello).from(60000),
		"CLIENT": ask(clientCommand),
		"SELECT": ask(func(c *client, a []string) string { c.db = int(number(a[1])); return "+OK\r\n" }),
		"MULTI":  ask(func(c *client, _ []string) string { c.multi = true; return "+OK\r\n" }),
		"WATCH":  ask(func(c *client, _ []string) string { c.watched = c.s.changes; return "+OK\r\n" }),
		"TIME": ask(func(*client, []string) string {
			now := time.Now()
			return Strings(fmt.Sprint(now.Unix()), fmt.Sprint(now.Nanosecond()/1000))
		}),
		"ROLE":    ask(func(c *client, _ []string) string { return Array(Bulk("master"), Int(c.s.offset()), "*0\r\n") }).from(20812),
		"INFO":    ask(func(c *client, a []string) string { return Bulk(c.s.infoText(strings.Join(a[1:], ""))) }),
		"PSYNC":   ask(psync).from(20800),
		"CONFIG":  ask(config),
		"CLUSTER": say("-ERR This instance has cluster support disabled\r\n"),
		"COMMAND": ask(commandInfo).from(20813),
		"SCAN":    ask(scan).from(20800),
		"TYPE": ask(func(c *client, a []string) string {
			v := c.held(a[1])
			switch {
			case v == nil:
				return "+none\r\n"
			case v.Type == keyspace.Module:
				return "+ReJSON-RL\r\n"
			}
			return "+" + v.Type.String() + "\r\n"
		}),
		"EXISTS":      ask(func(c *client, a []string) string { return Int(len(c.those(a[1:]))) }),
		"PTTL":        ask(func(c *client, a []string) string { return c.expiry(a[1], time.Now().UnixMilli()) }),
		"PEXPIRETIME": ask(func(c *client, a []string) string { return c.expiry(a[1], 0) }).from(70000),
		"MEMORY":      ask(memory).from(40000),
		"OBJECT":      ask(func(*client, []string) string { return Bulk("listpack") }),
		"DUMP":        ask(dump),

		"STRLEN":   read(keyspace.String, func(v *keyspace.Value, _ []string) string { return Int(len(v.Str)) }),
		"GET":      ask(func(c *client, a []string) string { return c.get(a[1]) }),
		"GETRANGE": read(keyspace.String, func(v *keyspace.Value, a []string) string { return Bulk(string(ranged(v.Str, a[2], a[3]))) }),

		"LLEN":   read(keyspace.List, func(v *keyspace.Value, _ []string) string { return Int(len(v.List)) }),
		"LRANGE": read(keyspace.List, func(v *keyspace.Value, a []string) string { return Strings(ranged(v.List, a[2], a[3])...) }),

		"SCARD":    read(keyspace.Set, func(v *keyspace.Value, _ []string) string { return Int(len(v.Set)) }),
		"SMEMBERS": read(keyspace.Set, func(v *keyspace.Value, _ []string) string { return Strings(v.Set...) }),
		"SSCAN": read(keyspace.Set, func(v *keyspace.Value, a []string) string {
			return page(len(v.Set), func(i, j int) []string { return texts(v.Set[i:j]) }, a[2:])
		}),
		"SISMEMBER": read(keyspace.Set, func(v *keyspace.Value, a []string) string {
			return Int(len(found(texts(v.Set), 1, a[2])))
		}),

		"ZCARD":  read(keyspace.ZSet, func(v *keyspace.Value, _ []string) string { return Int(len(v.ZSet)) }),
		"ZRANGE": read(keyspace.ZSet, func(v *keyspace.Value, a []string) string { return Strings(scored(ranged(v.ZSet, a[2], a[3]))...) }),
		"ZSCAN": read(keyspace.ZSet, func(v *keyspace.Value, a []string) string {
			return page(len(v.ZSet), func(i, j int) []string { return scored(v.ZSet[i:j]) }, a[2:])
		}),
		"ZSCORE": read(keyspace.ZSet, func(v *keyspace.Value, a []string) string { return orNil(found(scored(v.ZSet), 2, a[2])) }),

		"HLEN":    read(keyspace.Hash, func(v *keyspace.Value, _ []string) string { return Int(len(v.Hash)) }),
		"HKEYS":   read(keyspace.Hash, func(v *keyspace.Value, _ []string) string { return Strings(every(fields(v), 2)...) }),
		"HGETALL": read(keyspace.Hash, func(v *keyspace.Value, _ []string) string { return Strings(fields(v)...) }),
		"HSCAN": read(keyspace.Hash, func(v *keyspace.Value, a []string) string {
			return page(len(v.Hash), func(i, j int) []string { return fields(&keyspace.Value{Hash: v.Hash[i:j]}) }, a[2:])
		}),
		"HGET":         read(keyspace.Hash, func(v *keyspace.Value, a []string) string { return orNil(found(fields(v), 2, a[2])) }),
		"HPEXPIRETIME": fieldTimes(func(at int64) int64 { return at }),
		"HPTTL":        fieldTimes(func(at int64) int64 { return max(at-time.Now().UnixMilli(), 0) }),

		"XLEN":     read(keyspace.Stream, func(v *keyspace.Value, _ []string) string { return Int(len(v.Entries)) }).from(50000),
		"XRANGE":   read(keyspace.Stream, xrange).from(50000),
		"XPENDING": read(keyspace.Stream, xpending).from(50000),
		"XINFO":    ask(xinfo).from(50000),

		"DEL": ask(func(c *client, a []string) string {
			those := c.those(a[1:])
			for _, name := range those {
				c.s.put(c.db, name, nil)
			}
			return Int(len(those))
		}),
		"PERSIST":   ask(func(c *client, a []string) string { return c.expire(a[1], 0) }),
		"PEXPIREAT": ask(func(c *client, a []string) string { return c.expire(a[1], number(a[2])) }),
		"RESTORE":   ask(restore),
		"RENAME":    ask(func(c *client, a []string) string { return c.rename(a, "+OK\r\n") }),
	}
	maps.Copy(commands, writes)
}

// held returns the value of a key that has not expired, or nil.
func (c *client) held(name string) *keyspace.Value {
	v := c.s.keys[c.db][name]
	if v != nil && v.ExpireAt != 0 && v.ExpireAt <= time.Now().UnixMilli() {
		return nil
	}
	return v
}

func (c *client) those(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return c.held(name) == nil })
}

func (c *client) get(name string) string {
	switch v := c.held(name); {
	case v == nil:
		return Nil
	case v.Type != keyspace.String:
		return "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
	default:
		return Bulk(string(v.Str))
	}
}

func (c *client) expiry(name string, now int64) string {
	switch v := c.held(name); {
	case v == nil:
		return ":-2\r\n"
	case v.ExpireAt == 0:
		return ":-1\r\n"
	default:
		return Int(v.ExpireAt - now)
	}
}

func (c *client) expire(name string, at int64) string {
	v := c.held(name)
	if v == nil {
		return ":0\r\n"
	}
	other := *v
	other.ExpireAt = at
	c.s.put(c.db, name, &other)
	return ":1\r\n"
}

func dump(c *client, a []string) string {
	v := c.held(a[1])
	if v == nil {
		return Nil
	}
	if v.Type == keyspace.Module {
		return Bulk(string(rdb.AppendDump(nil, v.Module[0], v.Module[1:], 9)))
	}
	t, raw, err := rdb.Encode(v)
	if err != nil {
		c.s.t.Errorf("dump %s: %v", a[1], err)
	}
	return Bulk(string(rdb.AppendDump(nil, t, raw, 9)))
}

func memory(c *client, a []string) string {
	v := c.held(a[2])
	if v == nil {
		return Nil
	}
	bytes := 64 + len(v.Str) + len(v.Module)
	for _, list := range [][]string{texts(v.List), texts(v.Set), scored(v.ZSet), fields(v)} {
		for _, text := range list {
			bytes += 16 + len(text)
		}
	}
	for _, e := range v.Entries {
		bytes += 32 + len(strings.Join(texts(e.Fields), ""))
	}
	for _, g := range v.Groups {
		bytes += 150 * len(g.Pending)
	}
	return Int(bytes)
}

// scan lists the names in the order in which they came. A cursor is the place of the first name of a page, so that a scan lists every
// key that is there from its beginning to its end, whatever is removed meanwhile.
func scan(c *client, a []string) string {
	names := c.those(slices.Collect(maps.Keys(c.s.keys[c.db])))
	slices.SortFunc(names, func(x, y string) int { return c.s.place[x] - c.s.place[y] })
	from := slices.IndexFunc(names, func(name string) bool { return c.s.place[name] >= int(number(a[1])) })
	count := 10
	if i := slices.Index(a, "COUNT"); i >= 0 {
		count = int(number(a[i+1]))
	}
	switch {
	case from < 0:
		return Page("0")
	case from+count >= len(names):
		return Page("0", names[from:]...)
	}
	return Page(strconv.Itoa(c.s.place[names[from+count]]), names[from:from+count]...)
}

// page returns a page of n elements, for a cursor and COUNT. The function parts returns those from one index up to another.
func page(n int, parts func(from, to int) []string, args []string) string {
	count := 10
	if i := slices.Index(args, "COUNT"); i >= 0 {
		count = int(number(args[i+1]))
	}
	from := min(int(number(args[0])), n)
	to := min(from+count, n)
	next := to
	if to == n {
		next = 0
	}
	return Page(strconv.Itoa(next), parts(from, to)...)
}

func hello(c *client, a []string) string {
	parts := []string{Bulk("server"), Bulk("redis"), Bulk("version"), Bulk(c.s.info["redis_version"]), Bulk("proto"), ":" + a[1] + "\r\n", Bulk("role"), Bulk("master")}
	if a[1] == "3" {
		return fmt.Sprintf("%%%d\r\n%s", len(parts)/2, strings.Join(parts, ""))
	}
	return Array(parts...)
}

func config(_ *client, a []string) string {
	values := map[string]string{"databases": "16", "client-output-buffer-limit": "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"}
	if value, ok := values[strings.ToLower(a[2])]; ok {
		return Strings(a[2], value)
	}
	return "*0\r\n"
}

// commandInfo says of each command whether the server knows it, and its arity.
func commandInfo(c *client, a []string) string {
	var replies []string
	for _, name := range a[min(2, len(a)):] {
		if c.unknown([]string{name}) != "" {
			replies = append(replies, "*-1\r\n")
			continue
		}
		replies = append(replies, Array(Bulk(strings.ToLower(name)), Int(-2)))
	}
	return Array(replies...)
}

// replconf gives no reply to ACK, which would be a part of the stream.
func replconf(_ *client, a []string) string {
	if strings.EqualFold(a[1], "ACK") {
		return ""
	}
	return "+OK\r\n"
}

func psync(c *client, a []string) string {
	if from := int(number(a[2])) - 1 - firstOffset; a[1] == c.s.ReplID() && from >= 0 && from <= len(c.s.backlog) {
		c.replica = true
		return "+CONTINUE " + a[1] + "\r\n" + string(c.s.backlog[from:])
	}
	return fmt.Sprintf("+FULLRESYNC %s %d\r\n", c.s.ReplID(), c.s.offset())
}

func (s *Server) offset() int { return firstOffset + len(s.backlog) }

// infoText returns INFO, or one section of it.
func (s *Server) infoText(section string) string {
	sections := []struct{ name, fields string }{
		{"server", "redis_version redis_mode:standalone run_id:" + s.id("run") + " valkey_version:" + s.Valkey},
		{"memory", "used_memory:1000000 maxmemory:0 number_of_cached_scripts used_memory_scripts_eval"},
		{"persistence", "loading:0 rdb_changes_since_last_save:0 rdb_last_save_time:1700000000"},
		{"stats", "expired_keys:0 evicted_keys:0"},
		{"replication", "role:master connected_slaves:0 repl_backlog_active:1 repl_backlog_size:1048576 master_host master_port master_link_status master_sync_in_progress master_last_io_seconds_ago slave_repl_offset slave_read_only slave0 master_replid2 " +
			fmt.Sprintf("master_replid:%s master_repl_offset:%d", s.ReplID(), s.offset())},
		{"commandstats", ""},
		{"cluster", "cluster_enabled:0"},
		{"keyspace", ""},
	}
	text := ""
	for _, part := range sections {
		if section != part.name && section != "all" && (section != "" || part.name == "commandstats") {
			continue
		}
		text += "# " + part.name + "\r\n"
		for word := range strings.FieldsSeq(part.fields) {
			name, value, _ := strings.Cut(word, ":")
			if told, ok := s.info[name]; ok {
				value = told
			}
			if value != "" && (name != "master_replid" || s.Number >= 40000) {
				text += name + ":" + value + "\r\n"
			}
		}
		for _, name := range slices.Sorted(maps.Keys(s.info)) {
			stats := part.name == "commandstats" && strings.HasPrefix(name, "cmdstat_") || part.name == "stats" && strings.HasPrefix(name, "expired_sub")
			if stats && s.info[name] != "" {
				text += name + ":" + s.info[name] + "\r\n"
			}
		}
		if part.name == "keyspace" {
			text += s.infoKeyspace()
		}
	}
	return text
}

func (s *Server) infoKeyspace() (text string) {
	for _, db := range slices.Sorted(maps.Keys(s.keys)) {
		expires, hashes := 0, 0
		for _, v := range s.keys[db] {
			if v.ExpireAt != 0 {
				expires++
			}
			if slices.ContainsFunc(v.Hash, func(f keyspace.Field) bool { return f.ExpireAt != 0 }) {
				hashes++
			}
		}
		line := fmt.Sprintf("keys=%d,expires=%d,avg_ttl=0", len(s.keys[db]), expires)
		if s.Number >= 70400 {
			line += fmt.Sprintf(",subexpiry=%d", hashes)
		}
		if told, ok := s.info[fmt.Sprintf("db%d", db)]; ok {
			line = told
		}
		if len(s.keys[db]) > 0 {
			text += fmt.Sprintf("db%d:%s\r\n", db, line)
		}
	}
	return text
}

// fieldTimes answers HPEXPIRETIME and its like.
func fieldTimes(of func(at int64) int64) command {
	k := read(keyspace.Hash, func(v *keyspace.Value, a []string) string {
		var replies []string
		for _, name := range a[4:] {
			i := slices.IndexFunc(v.Hash, func(f keyspace.Field) bool { return string(f.Name) == name })
			switch {
			case i < 0:
				replies = append(replies, ":-2\r\n")
			case v.Hash[i].ExpireAt == 0:
				replies = append(replies, ":-1\r\n")
			default:
				replies = append(replies, Int(of(v.Hash[i].ExpireAt)))
			}
		}
		return Array(replies...)
	}).from(70400)
	k.redisOnly = true
	return k
}

func xrange(v *keyspace.Value, a []string) string {
	from, count := keyspace.StreamID{}, len(v.Entries)
	if a[2] != "-" {
		from, _ = keyspace.ParseStreamID(a[2])
	}
	if len(a) > 5 {
		count = int(number(a[5]))
	}
	return entriesOf(v.Entries, from, count)
}

func entriesOf(entries []keyspace.Entry, from keyspace.StreamID, count int) string {
	var replies []string
	for _, e := range entries {
		if !e.ID.Less(from) && len(replies) < count {
			replies = append(replies, Array(Bulk(e.ID.String()), Strings(e.Fields...)))
		}
	}
	return Array(replies...)
}

func groupOf(v *keyspace.Value, name string) (g keyspace.Group, ok bool) {
	i := slices.IndexFunc(v.Groups, func(g keyspace.Group) bool { return string(g.Name) == name })
	if i < 0 {
		return g, false
	}
	return v.Groups[i], true
}

const noGroup = "-NOGROUP No such key or consumer group\r\n"

func xpending(v *keyspace.Value, a []string) string {
	g, ok := groupOf(v, a[2])
	if !ok {
		return noGroup
	}
	from := keyspace.StreamID{}
	if a[3] != "-" {
		from, _ = keyspace.ParseStreamID(a[3])
	}
	return pendingOf(g, from, int(number(a[5])))
}

func pendingOf(g keyspace.Group, from keyspace.StreamID, count int) string {
	var replies []string
	for _, p := range g.Pending {
		if !p.ID.Less(from) && len(replies) < count {
			replies = append(replies, Array(Bulk(p.ID.String()), Bulk(string(p.Consumer)), Int(p.DeliveryMs), Int(p.DeliveryCount)))
		}
	}
	return Array(replies...)
}

// consumersOf lists the consumers of the pending entries.
func consumersOf(g keyspace.Group) string {
	var names, replies []string
	for _, p := range g.Pending {
		if name := string(p.Consumer); !slices.Contains(names, name) {
			names = append(names, name)
			replies = append(replies, Array(Bulk("name"), Bulk(name), Bulk("pending"), Int(1), Bulk("idle"), Int(0)))
		}
	}
	return Array(replies...)
}

func xinfo(c *client, a []string) string {
	v := c.held(a[2])
	switch {
	case v == nil:
		return "-ERR no such key\r\n"
	case v.Type != keyspace.Stream:
		return "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
	}
	switch strings.ToUpper(a[1]) {
	case "STREAM":
		return c.s.xinfoStream(v, a[3:])
	case "CONSUMERS":
		if g, ok := groupOf(v, a[3]); ok {
			return consumersOf(g)
		}
		return noGroup
	}
	var groups []string
	for _, g := range v.Groups {
		groups = append(groups, Array(Bulk("name"), Bulk(string(g.Name)), Bulk("consumers"), Int(1), Bulk("pending"), Int(len(g.Pending)),
			Bulk("last-delivered-id"), Bulk(g.LastID.String())))
	}
	return Array(groups...)
}

// xinfoStream answers XINFO STREAM, with all entries and pending entries where FULL (since 6.0) is asked for.
func (s *Server) xinfoStream(v *keyspace.Value, options []string) string {
	parts := []string{Bulk("length"), Int(len(v.Entries)), Bulk("radix-tree-keys"), Int(1), Bulk("radix-tree-nodes"), Int(2),
		Bulk("last-generated-id"), Bulk(v.Meta.LastID.String())}
	if s.Number >= 70000 {
		parts = append(parts, Bulk("max-deleted-entry-id"), Bulk(v.Meta.MaxDeletedID.String()), Bulk("entries-added"), Int(v.Meta.EntriesAdded))
	}
	if len(options) == 0 {
		return Array(append(parts, Bulk("groups"), Int(len(v.Groups)))...)
	}
	if s.Number < 60000 {
		return "-ERR Unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.\r\n"
	}
	most := len(v.Entries)
	if n := int(number(options[2])); n > 0 {
		most = n
	}
	var groups []string
	for _, g := range v.Groups {
		count := len(g.Pending)
		if options[2] != "0" {
			count = min(count, most)
		}
		full := []string{Bulk("name"), Bulk(string(g.Name)), Bulk("last-delivered-id"), Bulk(g.LastID.String())}
		if s.Number >= 70000 {
			full = append(full, Bulk("entries-read"), Nil, Bulk("lag"), Nil)
		}
		groups = append(groups, Array(append(full, Bulk("pel-count"), Int(len(g.Pending)), Bulk("pending"), pendingOf(g, keyspace.StreamID{}, count),
			Bulk("consumers"), "*0\r\n")...))
	}
	return Array(append(parts, Bulk("entries"), entriesOf(v.Entries, keyspace.StreamID{}, most), Bulk("groups"), Array(groups...))...)
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// ranged returns the elements from one index to another, which is included. Indexes below 0 count from the end.
func ranged[E any](list []E, from, to string) []E {
	f, t := int(number(from)), int(number(to))
	if f < 0 {
		f = max(f+len(list), 0)
	}
	if t < 0 {
		t += len(list)
	}
	if t = min(t, len(list)-1); f > t {
		return nil
	}
	return list[f : t+1]
}

func texts(list [][]byte) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = string(list[i])
	}
	return out
}

// fields returns the fields of a hash and their values in turn.
func fields(v *keyspace.Value) (out []string) {
	for _, f := range v.Hash {
		out = append(out, string(f.Name), string(f.Value))
	}
	return out
}

// scored returns members and their scores in turn.
func scored(list []keyspace.Member) (out []string) {
	for _, m := range list {
		out = append(out, string(m.Name), strconv.FormatFloat(m.Score, 'g', 17, 64))
	}
	return out
}

func every(parts []string, step int) (out []string) {
	for i := 0; i < len(parts); i += step {
		out = append(out, parts[i])
	}
	return out
}

// found returns what follows a name among parts that come in steps, and the name itself where a step is one.
func found(parts []string, step int, name string) []string {
	for i := 0; i < len(parts); i += step {
		if parts[i] == name {
			return parts[i+step-1 : i+step]
		}
	}
	return nil
}

func orNil(text []string) string {
	if len(text) == 0 {
		return Nil
	}
	return Bulk(text[0])
}
