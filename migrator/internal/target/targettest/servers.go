package targettest

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/sharding"
	"surecut/migrator/internal/target"
)

// Open opens a target on servers in memory, as a migration from an empty server does. Functions may change how.
func Open(t testing.TB, url string, change ...func(*target.Config)) *target.Target {
	t.Helper()
	cfg := target.Config{Target: endpointtest.Open(t, url), Source: endpointtest.Open(t, endpointtest.Serve(t, "7.0.15").URL()),
		StateDir: t.TempDir(), ID: "id", Lanes: 3, RetryFor: 10 * time.Second, Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	to, err := target.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// Held returns the text and the expiry of a string in memory.
func Held(s *endpointtest.Server, k keyspace.Key) (text string, expireAt int64, there bool) {
	v := s.GetIn(k.DB, k.Name)
	if v == nil {
		return "", 0, false
	}
	return string(v.Str), v.ExpireAt, true
}

// Field returns a field of a hash in memory; "" where there is none.
func Field(s *endpointtest.Server, db int, key, field string) string {
	if v := s.GetIn(db, key); v != nil {
		for _, f := range v.Hash {
			if string(f.Name) == field {
				return string(f.Value)
			}
		}
	}
	return ""
}

// ServeCodis starts a server in memory that stands for a Codis proxy with all its servers: it says which server has which slots, has
// SLOTSRESTORE, runs surecut's scripts in database 0, and refuses what the proxy refuses.
func ServeCodis(t testing.TB) *endpointtest.Server {
	t.Helper()
	s := endpointtest.Serve(t, "3.2.11")
	mapping := make([]string, sharding.CodisSlots)
	for i := range mapping {
		mapping[i] = endpointtest.Array(endpointtest.Int(i), endpointtest.Bulk(s.Addr), endpointtest.Bulk(""), "*0\r\n")
	}
	s.Always("SLOTSMAPPING", endpointtest.Array(mapping...))
	s.On("SLOTSRESTORE", func(args []string) string {
		return s.Do(0, "RESTORE", args[1], args[2], args[3], "REPLACE")
	})
	s.On("EVAL", func(args []string) string { return runScript(s, args) })
	for _, name := range []string{"MULTI", "EXEC", "WATCH", "SCAN", "RENAME", "RENAMENX", "RESTORE", "CLIENT"} {
		s.Always(name, "-ERR handle request, command '"+name+"' is not allowed\r\n")
	}
	return s
}

// ServeTwemproxy starts a server in memory that stands for nutcracker in front of one server, and its URL. It closes the connection at a
// command that it does not know, and at a name longer than most bytes.
func ServeTwemproxy(t testing.TB, most int) (s *endpointtest.Server, url string) {
	t.Helper()
	s = endpointtest.Serve(t, "6.0.20")
	s.On("EVAL", func(args []string) string { return runScript(s, args) })
	s.On("", func(args []string) string {
		name := 1
		if strings.EqualFold(args[0], "EVAL") {
			name = 3
		}
		if len(args) > name && len(args[name]) > most {
			return endpointtest.HangUp
		}
		return endpointtest.Usual
	})
	for _, name := range []string{"MULTI", "EXEC", "WATCH", "SCAN", "RENAME", "RENAMENX", "SELECT", "INFO", "CLIENT", "ECHO"} {
		s.Always(name, endpointtest.HangUp)
	}
	behind := endpointtest.Serve(t, "6.0.20")
	return s, "redis+twemproxy://" + s.Addr + "?via=proxy&shards=" + behind.Addr
}

// runScript does what the scripts of package target do, which it tells apart by the commands in them.
func runScript(s *endpointtest.Server, args []string) string {
	var keys, argv []string
	var n int
	if _, err := fmt.Sscan(args[2], &n); err != nil || len(args) < 3+n {
		return "-ERR Number of keys can't be greater than number of args\r\n"
	}
	keys, argv = args[3:3+n], args[3+n:]
	switch script := args[1]; {
	case strings.Contains(script, "run_id"):
		return runWithInstance(s, script, keys[0], argv)
	case strings.Contains(script, "HMGET"): // changes a record if it is as it was read
		for i, field := range []string{"run", "state", "heartbeat_ms"} {
			if Field(s, 0, keys[0], field) != argv[i] {
				return ":0\r\n"
			}
		}
		s.Do(0, append([]string{argv[3], keys[0]}, argv[4:]...)...)
		return ":1\r\n"
	case strings.Contains(script, "EXISTS"): // runs a command if its keys exist
		for _, k := range keys {
			if s.Do(0, "EXISTS", k) == ":0\r\n" {
				return "+" + keyspace.Prefix + ":gone\r\n"
			}
		}
		if len(argv) == 0 {
			return ":1\r\n"
		}
	}
	return s.Do(0, argv...)
}

// runWithInstance does what the scripts do that ask the server who it is.
func runWithInstance(s *endpointtest.Server, script, key string, argv []string) string {
	process, history := infoField(s, "server", "run_id"), infoField(s, "replication", "master_replid")
	who := []string{endpointtest.Bulk(process), endpointtest.Bulk(history)}
	offset := func(text string) int64 {
		n, _ := strconv.ParseInt(text, 10, 64)
		return n
	}
	switch is := Field(s, 0, key, "offset"); {
	case strings.Contains(script, "HGETALL"):
		if v := s.GetIn(0, key); v != nil {
			for _, f := range v.Hash {
				who = append(who, endpointtest.Bulk(string(f.Name)), endpointtest.Bulk(string(f.Value)))
			}
		}
	case !strings.Contains(script, "HMSET"):
	case argv[0] != "" && !strings.Contains(argv[0], process+"/"+history+" "):
		who = append(who, endpointtest.Bulk("unknown"))
	case is != "" && offset(is) < offset(argv[1]), is == "" && argv[2] == "1":
		who = append(who, endpointtest.Bulk("behind"))
	default:
		if is == "" || offset(is) < offset(argv[4]) {
			s.Do(0, append([]string{"HMSET", key}, argv[3:]...)...)
		}
		who = append(who, endpointtest.Bulk("saved"))
	}
	return endpointtest.Array(who...)
}

// infoField returns a field of a section of INFO.
func infoField(s *endpointtest.Server, section, name string) string {
	_, value, _ := strings.Cut(s.Do(0, "INFO", section), name+":")
	value, _, _ = strings.Cut(value, "\r\n")
	return value
}
