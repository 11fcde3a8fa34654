package command

import (
	"slices"
	"strings"
)

// tools are commands that servers count even though no application may have sent them. Administrators send them, monitoring does
// (redis_exporter, Datadog, RedisInsight, redis-cli --stat and --bigkeys), sentinels do (PUBLISH and SUBSCRIBE for their hello,
// SLAVEOF and CONFIG REWRITE for a failover), and so did surecut itself in earlier runs. A container stands for all of its
// subcommands.
var tools = []string{"ACL", "BGREWRITEAOF", "BGSAVE", "CLIENT ID", "CLIENT INFO", "CLIENT KILL", "CLIENT LIST", "CLIENT NO-TOUCH",
	"CLIENT PAUSE", "CLIENT TRACKING", "CLIENT UNPAUSE", "CLUSTER", "COMMAND", "COMMANDLOG", "CONFIG", "DBSIZE",
	"DEBUG", "DUMP", "FAILOVER", "FUNCTION LIST", "FUNCTION STATS", "HELLO", "HPEXPIRETIME", "INFO", "KEYS", "LASTSAVE", "LATENCY", "MEMORY", "MODULE", "MONITOR", "OBJECT", "PEXPIRETIME", "PING", "PSYNC",
	"PSUBSCRIBE", "PUBLISH", "REPLCONF", "REPLICAOF", "ROLE", "SAVE", "SCAN", "SLAVEOF", "SLOWLOG", "SUBSCRIBE", "SYNC", "TIME", "TYPE"}

// SentByTools says that a count of a command ("CONFIG GET") does not prove that an application sent it, because tools send it as
// well.
func SentByTools(name string) bool {
	container, _, _ := strings.Cut(name, " ")
	return slices.Contains(tools, name) || slices.Contains(tools, container)
}
