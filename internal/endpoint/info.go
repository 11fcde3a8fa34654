package endpoint

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// Server holds the facts about one server process.
type Server struct {
	Addr      string
	Flavor    string // redis or valkey
	Version   string // the flavor's own version, such as "8.1.3"
	Number    int    // Redis-compatible: 7*10000+0*100+15 is 70015; a Valkey tells with which Redis it is compatible
	RunID     string
	Cluster   bool
	Databases int // configured number of databases; 16 where CONFIG is forbidden, 1 on a cluster unless it has more
	// DatabasesKnown is false where CONFIG GET databases was refused and Databases is the default.
	DatabasesKnown bool
	RDBVersion     int    // the highest RDB version that it reads, which is also the one it writes
	Role           string // master or slave, as INFO names them
	OneStream      bool   // a replica passes on its primary's stream with the same ID and offsets (since 4.0)
}

// Info runs INFO and returns its fields. Without sections it asks for the server's default set. Before 7.0 INFO accepts only one
// section, so several sections are asked for one by one and merged.
func Info(ctx context.Context, c rueidis.Client, sections ...string) (map[string]string, error) {
	if len(sections) == 0 {
		sections = []string{""}
	}
	merged := map[string]string{}
	for _, section := range sections {
		cmd := c.B().Arbitrary("INFO")
		if section != "" {
			cmd = cmd.Args(section)
		}
		text, err := c.Do(ctx, cmd.Build()).ToString()
		if err != nil {
			return nil, fmt.Errorf("INFO %s: %w", section, err)
		}
		for k, v := range ParseInfo(text) {
			merged[k] = v
		}
	}
	return merged, nil
}

// ParseInfo reads the fields of an INFO reply. It ignores comments and lines without a colon.
func ParseInfo(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if name, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
			fields[name] = value
		}
	}
	return fields
}

// Database is what INFO keyspace says about a database that holds keys.
type Database struct {
	Keys    int64
	Expires int64 // keys that expire
	Hashes  int64 // hashes that have, or once had, fields that expire (since Redis 7.4); -1: the server does not tell
}

// Keyspace reads the fields "db0:keys=3,expires=1,avg_ttl=0,subexpiry=1" of INFO. A database that holds no key is not listed.
func Keyspace(info map[string]string) (map[int]Database, error) {
	dbs := map[int]Database{}
	for name, value := range info {
		number, ok := strings.CutPrefix(name, "db")
		db, err := strconv.ParseUint(number, 10, 31)
		if !ok || err != nil {
			continue
		}
		d := Database{Keys: -1, Hashes: -1}
		for field := range strings.SplitSeq(value, ",") {
			what, count, _ := strings.Cut(field, "=")
			var to *int64
			switch what {
			case "keys":
				to = &d.Keys
			case "expires":
				to = &d.Expires
			case "subexpiry":
				to = &d.Hashes
			default:
				continue
			}
			if *to, err = strconv.ParseInt(count, 10, 64); err != nil || *to < 0 {
				return nil, fmt.Errorf("INFO keyspace says %q of %s", value, name)
			}
		}
		if d.Keys < 0 {
			return nil, fmt.Errorf("INFO keyspace says %q of %s", value, name)
		}
		dbs[int(db)] = d
	}
	return dbs, nil
}

// CommandCalls returns how many calls of each command succeeded: it leaves out failed calls, which servers count since 6.2.
func CommandCalls(info map[string]string) map[string]int64 {
	calls := map[string]int64{}
	for name, c := range CallCounts(info) {
		if c.All > c.Failed {
			calls[name] = c.All - c.Failed
		}
	}
	return calls
}

// CallCount counts the calls of a command, and those of them that failed (counted since 6.2).
type CallCount struct{ All, Failed int64 }

// CallCounts reads the fields "cmdstat_get:calls=3,usec=..." of INFO commandstats, by the name of the command. Since 7.0 the name
// of a subcommand is like "config|get".
func CallCounts(info map[string]string) map[string]CallCount {
	counts := map[string]CallCount{}
	for name, value := range info {
		command, ok := strings.CutPrefix(name, "cmdstat_")
		if !ok {
			continue
		}
		var c CallCount
		for field := range strings.SplitSeq(value, ",") {
			_, _ = fmt.Sscanf(field, "calls=%d", &c.All)
			_, _ = fmt.Sscanf(field, "failed_calls=%d", &c.Failed)
		}
		counts[command] = c
	}
	return counts
}

// AppCalls returns CommandCalls without what surecut may have run itself. To read keys at an offset it runs transactions, each of which
// contains ROLE (see OffsetCommand; before 4.0 it contains INFO and cannot be told apart). Its connections with CLIENT TRACKING or MONITOR
// subscribe to NoChannel once each (servers before 7.0 do not count CLIENT TRACKING by itself, but each of these connections also sends
// HELLO). The result left is how many transactions were left out.
func AppCalls(info map[string]string) (calls map[string]int64, left int64) {
	calls = CommandCalls(info)
	left = min(calls["exec"], calls["role"])
	own := map[string]int64{"multi": left, "exec": left, "watch": calls["role"]} // large values are read under WATCH, which also asks ROLE
	own["subscribe"] = calls["client|tracking"] + calls["monitor"]
	if number, err := ParseVersion(info["redis_version"]); err == nil && number < 70000 {
		own["subscribe"] = calls["hello"]
	}
	for name, n := range own {
		if calls[name] -= n; calls[name] <= 0 {
			delete(calls, name)
		}
	}
	return calls, left
}

// serverOf reads the facts in the fields of INFO.
func serverOf(addr string, info map[string]string) (Server, error) {
	s := Server{Addr: addr, Flavor: "redis", Version: info["redis_version"], RunID: info["run_id"],
		Cluster: info["cluster_enabled"] == "1" || info["redis_mode"] == "cluster", Role: info["role"],
		OneStream: info["master_replid"] != ""}
	number, err := ParseVersion(info["redis_version"])
	if err != nil {
		return s, fmt.Errorf("%s: INFO contains no valid redis_version: %w", addr, err)
	}
	s.Number = number
	own := number
	if v := info["valkey_version"]; v != "" {
		s.Flavor, s.Version = "valkey", v
		if own, err = ParseVersion(v); err != nil {
			return s, fmt.Errorf("%s: valkey_version: %w", addr, err)
		}
	}
	s.RDBVersion = rdbVersion(s.Flavor, own)
	return s, nil
}

// ParseVersion returns "7.0.15" as 70015. It ignores what follows the third number ("-rc1").
func ParseVersion(text string) (int, error) {
	var parts [3]int
	rest := text
	for i := range parts {
		end := 0
		for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
			end++
		}
		n, err := strconv.Atoi(rest[:end])
		if err != nil || n > 999 {
			if i == 0 {
				return 0, fmt.Errorf("version %q is not like 7.0.15", text)
			}
			break
		}
		parts[i] = min(n, 99)
		if rest = rest[end:]; !strings.HasPrefix(rest, ".") {
			break
		}
		rest = rest[1:]
	}
	return parts[0]*10000 + parts[1]*100 + parts[2], nil
}

// rdbVersions holds the RDB version of each release, the newest first. A release that is newer than the table gets the first line
// of its flavor: its snapshots tell which version it writes, and it reads older ones.
var rdbVersions = []struct {
	flavor string
	from   int
	rdb    int
}{
	{"redis", 80400, 13},
	{"redis", 70400, 12},
	{"redis", 70200, 11},
	{"redis", 70000, 10},
	{"redis", 50000, 9},
	{"redis", 40000, 8},
	{"redis", 30200, 7},
	{"redis", 20600, 6},
	{"redis", 0, 5},
	{"valkey", 90000, 80},
	{"valkey", 0, 11},
}

func rdbVersion(flavor string, number int) int {
	for _, v := range rdbVersions {
		if v.flavor == flavor && number >= v.from {
			return v.rdb
		}
	}
	return 0
}
