package preflight

import (
	"fmt"
	"slices"
	"strings"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// probeKey has the form of surecut's own keys, so that the check notices a user who may access only some key patterns.
const probeKey = keyspace.Prefix + ":probe"

// Command is one command that surecut sends, with harmless arguments.
type Command struct {
	Args  []string
	ACL   string // the command's name in an ACL rule, "config|get"; "": the first of Args in lower case
	Since int    // Redis-compatible version that introduced the command, such as 70000; 0: all versions have it
	Until int    // first version for which surecut no longer needs the command; 0: none
	Only  needed // where the command is sent

	// Optional commands serve checks and refinements; without them something is skipped, which the report says.
	Optional bool
	// Reads says that the command does no harm when it is executed.
	Reads bool
	// Direct commands are sent outside of a transaction, because a transaction refuses them or does not show whether they are allowed.
	Direct bool
	// Proven commands were already sent when the connection was opened.
	Proven bool
	// DryRun says that only ACL DRYRUN (since 7.0) is asked whether the command is allowed, because it changes the state of a connection.
	DryRun bool
}

// needed says to which deployments a command is sent.
type needed uint8

const (
	anywhere needed = iota
	clusterOnly
)

// Name returns the command's name in an ACL rule.
func (c Command) Name() string {
	if c.ACL != "" {
		return c.ACL
	}
	return strings.ToLower(c.Args[0])
}

// writes says whether the rule +@write includes the command. Servers of 6.0 refuse a rule for its subcommand after that one.
func (c Command) writes() bool {
	var args [][]byte
	for _, a := range c.Args {
		args = append(args, []byte(a))
	}
	spec, ok := command.Lookup(args)
	return ok && spec.Write
}

// sentTo says whether the command is sent to a given server.
func (c Command) sentTo(s endpoint.Server) bool {
	if s.Number < c.Since || c.Until > 0 && s.Number >= c.Until {
		return false
	}
	return c.Only == anywhere || s.Cluster
}

// common returns the commands that are sent to both sides: for connecting, discovery, facts, and reading values for the comparison.
func common() []Command {
	k := probeKey
	commands := []Command{
		{Args: []string{"AUTH"}, Proven: true},
		{Args: []string{"HELLO"}, Since: 60000, Proven: true},
		{Args: []string{"PING"}},
		{Args: []string{"SELECT", "0"}},
		{Args: []string{"INFO"}},
		{Args: []string{"TIME"}, Since: 20600},
		{Args: []string{"ROLE"}, Since: 20812, Direct: true}, // tells surecut's WATCH from others' in the server's counters

		{Args: []string{"MODULE", "LIST"}, ACL: "module|list", Since: 40000, Optional: true},
		{Args: []string{"COMMAND"}, Since: 20813},
		{Args: []string{"CONFIG", "GET", "maxmemory"}, ACL: "config|get", Optional: true},
		{Args: []string{"ACL", "WHOAMI"}, ACL: "acl|whoami", Since: 70000, Optional: true},
		{Args: []string{"ACL", "DRYRUN", "default", "PING"}, ACL: "acl|dryrun", Since: 70000, Optional: true},
		{Args: []string{"CLUSTER", "NODES"}, ACL: "cluster|nodes", Only: clusterOnly},
		{Args: []string{"CLUSTER", "SLOTS"}, ACL: "cluster|slots", Only: clusterOnly},
		{Args: []string{"CLUSTER", "INFO"}, ACL: "cluster|info", Only: clusterOnly},
		{Args: []string{"READONLY"}, Only: clusterOnly},
		{Args: []string{"CLIENT", "NO-TOUCH", "ON"}, ACL: "client|no-touch", Since: 70200, Optional: true}, // reading is no use of a key
		{Args: []string{"FUNCTION", "LIST"}, ACL: "function|list", Since: 70000, Optional: true},           // to say what the target has, and what was not compared
		{Args: []string{"MULTI"}, Direct: true},
		{Args: []string{"EXEC"}, Direct: true},
		{Args: []string{"DISCARD"}, Direct: true},
		{Args: []string{"DBSIZE"}},
		{Args: []string{"SCAN", "0"}, Since: 20800},
		{Args: []string{"TYPE", k}},
		{Args: []string{"PTTL", k}, Since: 20600},
		{Args: []string{"PEXPIRETIME", k}, Since: 70000},
		{Args: []string{"MEMORY", "USAGE", k}, ACL: "memory|usage", Since: 40000, Optional: true},
		{Args: []string{"DUMP", k}, Since: 20600},
		{Args: []string{"GET", k}},
		{Args: []string{"STRLEN", k}},
		{Args: []string{"GETRANGE", k, "0", "0"}},
		{Args: []string{"LLEN", k}},
		{Args: []string{"LRANGE", k, "0", "0"}},
		{Args: []string{"SCARD", k}},
		{Args: []string{"SMEMBERS", k}},
		{Args: []string{"SSCAN", k, "0"}, Since: 20800},
		{Args: []string{"ZCARD", k}},
		{Args: []string{"ZRANGE", k, "0", "0"}},
		{Args: []string{"ZSCAN", k, "0"}, Since: 20800},
		{Args: []string{"HLEN", k}},
		{Args: []string{"HGET", k, "f"}},
		{Args: []string{"HGETALL", k}},
		{Args: []string{"HSCAN", k, "0"}, Since: 20800},
		{Args: []string{"HPEXPIRETIME", k, "FIELDS", "1", "f"}, Since: 70400},
		{Args: []string{"XLEN", k}, Since: 50000},
		{Args: []string{"XRANGE", k, "-", "+"}, Since: 50000},
		{Args: []string{"XPENDING", k, "g"}, Since: 50000},
		{Args: []string{"XINFO", "STREAM", k}, ACL: "xinfo|stream", Since: 50000},
		{Args: []string{"XINFO", "GROUPS", k}, ACL: "xinfo|groups", Since: 50000},
		{Args: []string{"XINFO", "CONSUMERS", k, "g"}, ACL: "xinfo|consumers", Since: 50000},
	}
	for i := range commands {
		commands[i].Reads = true
	}
	return commands
}

// SourceCommands returns every command that surecut sends to a source, except for those of a migration with TuneSource and of
// package quiet.
func SourceCommands() []Command {
	return append(common(),
		Command{Args: []string{"PSYNC", "?", "-1"}, Since: 20800},
		Command{Args: []string{"REPLCONF", "capa", "psync2"}, Direct: true},
		// With these a comparison learns what is written meanwhile, reads large values at one offset, and names who still writes.
		Command{Args: []string{"CLIENT", "TRACKING", "OFF"}, ACL: "client|tracking", Since: 60000, Optional: true, Reads: true},
		Command{Args: []string{"SUBSCRIBE", endpoint.NoChannel}, Since: 60000, Optional: true, DryRun: true}, // has the server bound what it keeps for such a connection
		Command{Args: []string{"ECHO", "1"}, Optional: true, Reads: true},
		Command{Args: []string{"WATCH", probeKey}, Direct: true, Optional: true},
		Command{Args: []string{"CLIENT", "LIST"}, ACL: "client|list", Optional: true, Reads: true},
		// With these a slot that has moved is read again.
		Command{Args: []string{"CLUSTER", "COUNTKEYSINSLOT", "0"}, ACL: "cluster|countkeysinslot", Only: clusterOnly, Optional: true, Reads: true},
		Command{Args: []string{"CLUSTER", "GETKEYSINSLOT", "0", "1"}, ACL: "cluster|getkeysinslot", Only: clusterOnly, Optional: true, Reads: true},
	)
}

// TargetCommands returns every command that surecut itself sends to a target. In addition it sends the commands of the source's
// stream, see streamCommands.
func TargetCommands() []Command {
	k := probeKey
	return append(common(),
		// With these a run that takes the target over ends the connections of the run before; without them it has to wait for it.
		Command{Args: []string{"CLIENT", "SETNAME", "surecut"}, ACL: "client|setname"},
		Command{Args: []string{"CLIENT", "ID"}, ACL: "client|id", Since: 50000},
		Command{Args: []string{"CLIENT", "LIST"}, ACL: "client|list"},
		Command{Args: []string{"CLIENT", "KILL", "127.0.0.1:1"}, ACL: "client|kill"},
		Command{Args: []string{"WAIT", "0", "1"}, Since: 30000, Optional: true, Reads: true}, // until replicas hold the claim
		Command{Args: []string{"WATCH", k}, Direct: true},
		Command{Args: []string{"EXISTS", k}},
		Command{Args: []string{"MGET", k}},
		Command{Args: []string{"RESTORE", k, "0", "payload"}},
		Command{Args: []string{"DEL", k}},
		Command{Args: []string{"RENAME", k, k}},
		Command{Args: []string{"PERSIST", k}},
		Command{Args: []string{"PEXPIREAT", k, "1"}},
		Command{Args: []string{"HMSET", k, "f", "v"}},
		Command{Args: []string{"HSET", k, "f", "v"}},
		Command{Args: []string{"HDEL", k, "f"}},
		Command{Args: []string{"SET", k, "v"}},
		Command{Args: []string{"APPEND", k, "v"}},
		Command{Args: []string{"RPUSH", k, "v"}},
		Command{Args: []string{"SADD", k, "v"}},
		Command{Args: []string{"ZADD", k, "1", "v"}},
		Command{Args: []string{"HPEXPIREAT", k, "1", "FIELDS", "1", "f"}, Since: 70400},
		Command{Args: []string{"XADD", k, "*", "f", "v"}, Since: 50000},
		Command{Args: []string{"XGROUP", "CREATE", k, "g", "$"}, ACL: "xgroup|create", Since: 50000},
		Command{Args: []string{"XGROUP", "HELP"}, ACL: "xgroup|help", Since: 70000}, // included in @write before 7.0
		Command{Args: []string{"XCLAIM", k, "g", "c", "0", "1-1"}, Since: 50000},
		Command{Args: []string{"XSETID", k, "1-1"}, Since: 50000},
		Command{Args: []string{"FUNCTION", "LOAD", "code"}, ACL: "function|load", Since: 70000},
		Command{Args: []string{"SCRIPT", "LOAD", "return 1"}, ACL: "script|load"},
		Command{Args: []string{"EVAL", "return 1", "0"}},
		Command{Args: []string{"EVALSHA", strings.Repeat("0", 40), "0"}},
		Command{Args: []string{"PFCOUNT", k}, Since: 20809}, // replicated where it renews the cached count, but not in @write
		Command{Args: []string{"PUBLISH", "c", "m"}},
		Command{Args: []string{"SPUBLISH", "c", "m"}, Since: 70000},
	)
}

// neverStreamed are writing commands that servers propagate as other commands: blocking commands as what they did in the end,
// MIGRATE as DEL. Servers use the last two among themselves.
var neverStreamed = []string{"BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP", "MIGRATE", "RESTORE-ASKING", "PFDEBUG"}

// streamCommands returns the writing commands that the stream of a source may bring to the given target, each with the least number
// of arguments.
func streamCommands(target endpoint.Server) []Command {
	var out []Command
	for _, spec := range command.All() {
		since, number := spec.Since, target.Number
		if target.Flavor == "valkey" && spec.SinceValkey > 0 {
			since = 0 // a command that Valkey does not have yet is unknown there, which says nothing about permissions
		}
		if !spec.Write || since == 0 && spec.SinceValkey == 0 || since > number || slices.Contains(neverStreamed, spec.Name) {
			continue
		}
		words := strings.Fields(spec.Name)
		args := slices.Clone(words)
		for len(args) < max(spec.Arity, -spec.Arity) {
			args = append(args, "1")
		}
		out = append(out, Command{Args: args, ACL: strings.ToLower(strings.Join(words, "|"))})
	}
	return out
}

// aclRule returns the rule that allows a command, quoted for a shell.
func aclRule(name string) string {
	if strings.Contains(name, "|") {
		return "'+" + name + "'"
	}
	return "+" + name
}

// LeastACL returns the ACL rule of a user who may do on the given server what surecut needs, and nothing more. Servers before 6.0
// have no ACL.
func LeastACL(s endpoint.Server, side endpoint.Side) string {
	if s.Number < 60000 {
		return ""
	}
	commands, rules := SourceCommands(), []string{"ACL SETUSER surecut on '>PASSWORD' resetkeys '~*' -@all"}
	if side == endpoint.Target {
		commands = TargetCommands()
		if s.Number >= 60200 { // before 6.2 all channels are open
			rules[0] = strings.Replace(rules[0], "'~*'", "'~*' '&*'", 1)
		}
		rules = append(rules, "+@write")
	}
	if side == endpoint.Source && s.Number >= 60200 { // 6.2 opens all channels to a new user, and then refuses a rule for one
		rules[0] = strings.Replace(rules[0], "'~*'", "'~*' resetchannels '&"+endpoint.NoChannel+"'", 1)
	}
	for _, c := range commands {
		if c.sentTo(s) && (side == endpoint.Source || !c.writes()) {
			rules = append(rules, aclRule(c.Name()))
		}
	}
	return fmt.Sprintf("redis-cli %s %s", cliAddr(s.Addr), strings.Join(rules, " "))
}
