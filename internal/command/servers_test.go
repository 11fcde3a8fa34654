//go:build servers

package command

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
)

// TestServersAgree holds the table against what real servers say of themselves.
func TestServersAgree(t *testing.T) {
	for _, image := range servers.Images() {
		t.Run(image, func(t *testing.T) {
			s := servers.Standalone(t, image)
			t.Run("names", func(t *testing.T) { namesAgree(t, s) })
			t.Run("keys", func(t *testing.T) { keysAgree(t, s) })
		})
	}
}

// namesAgree: every command of the server is in the table, no newer than the server, and with the same write flag.
func namesAgree(t *testing.T, s *servers.Server) {
	list, err := s.Do("COMMAND").ToArray()
	if err != nil {
		t.Fatalf("COMMAND: %v", err)
	}
	if len(list) < 150 {
		t.Fatalf("COMMAND lists %d commands only", len(list))
	}
	for _, m := range list {
		c, err := m.ToArray()
		if err != nil {
			t.Fatal(err)
		}
		name, _ := c[0].ToString()
		flags, _ := c[2].AsStrSlice()
		spec, ok := Lookup(words(name))
		if !ok {
			t.Errorf("%s is not in the table", name)
			continue
		}
		since := spec.Since
		if s.Flavor == "valkey" {
			since = spec.SinceValkey
		}
		if name == "replconf" {
			continue // documented since 3.0, known since 2.6
		}
		if since == 0 || since > versionNumber(s.Version) {
			t.Errorf("%s is in %s %s, the table says since %d", name, s.Flavor, s.Version, since)
		}
		if !spec.container && spec.Write != slices.Contains(flags, "write") {
			t.Errorf("%s: write is %v in the table, the server's flags are %v", name, spec.Write, flags)
		}
	}
}

func versionNumber(version string) int {
	n := 0
	for _, part := range strings.SplitN(version, ".", 3) {
		v, _ := strconv.Atoi(part)
		n = n*100 + v
	}
	return n
}

// keysAgree: COMMAND GETKEYS gives the keys of every sample that the server knows.
func keysAgree(t *testing.T, s *servers.Server) {
	version := versionNumber(s.Version)
	if s.Flavor == "valkey" {
		version = 70299 // the Redis that it forked
	}
	if version < 30000 {
		t.Skip("2.8 has no COMMAND GETKEYS")
	}
	held := 0
	for _, sample := range keySamples {
		if sample.since > version || version < 60000 && (strings.HasPrefix(sample.line, "TOUCH") || strings.HasPrefix(sample.line, "MEMORY")) {
			continue // of these two, servers before 6.0 do not tell the keys right
		}
		if sample.line == "PFMERGE d" && version >= 70000 {
			continue // since 7.0 servers run this, and do not tell its key
		}
		args := []string{"COMMAND", "GETKEYS"}
		for _, w := range words(sample.line) {
			args = append(args, string(w))
		}
		got, err := s.Do(args...).AsStrSlice()
		var refusal *rueidis.RedisError
		if sample.want == "" && errors.As(err, &refusal) {
			continue // "The command has no key arguments"
		}
		if err != nil {
			t.Errorf("COMMAND GETKEYS %s: %v", sample.line, err)
			continue
		}
		want := strings.Fields(sample.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(slices.Compact(got), slices.Compact(want)) {
			t.Errorf("%s: the server says %q, the table %q", sample.line, got, want)
		}
		held++
	}
	t.Logf("%s %s agrees on %d samples", s.Flavor, s.Version, held)
}

// TestServersTakeAbsoluteExpiries: what AbsoluteExpiry writes for a version is what that version takes, with the expiry meant.
func TestServersTakeAbsoluteExpiries(t *testing.T) {
	const seconds = 5000
	lines := []string{
		"EXPIRE k 5000", "PEXPIRE k 5000000", "EXPIRE k 5000 NX", "SET k v EX 5000", "SET k v PX 5000000 XX GET", "SETEX k 5000 v", "PSETEX k 5000000 v",
		"GETEX k EX 5000", "MSETEX 1 k v EX 5000", "RESTORE k 5000000 PAYLOAD REPLACE", "RESTORE k 5000000 PAYLOAD REPLACE FREQ 3",
	}
	for _, image := range servers.Images() {
		t.Run(image, func(t *testing.T) {
			s := servers.Standalone(t, image)
			number := versionNumber(s.Info("server")["redis_version"])
			s.Must("SET", "k", "v")
			payload, err := s.Do("DUMP", "k").ToString()
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range lines {
				args := words(line)
				for i := range args {
					if string(args[i]) == "PAYLOAD" {
						args[i] = []byte(payload)
					}
				}
				s.Must("SET", "k", "v")
				now := time.Now().UnixMilli()
				cmds, changed := absoluteExpiry(nil, args, now, DialectOf(number, 0))
				if !changed {
					t.Errorf("%s: not rewritten", line)
				}
				for _, c := range cmds {
					if err := s.Do(texts(c)...).Error(); err != nil {
						t.Errorf("%s became %.60q: %v", line, c, err)
					}
				}
				ttl, err := s.Do("PTTL", "k").AsInt64()
				if err != nil || ttl > seconds*1000 || ttl < (seconds-60)*1000 {
					t.Errorf("%s: PTTL is %d, %v; want nearly %d s", line, ttl, err, seconds)
				}
			}
			if number >= 70400 {
				fieldExpiries(t, s, number)
			}
		})
	}
}

func fieldExpiries(t *testing.T, s *servers.Server, number int) {
	for _, line := range []string{"HEXPIRE h 5000 FIELDS 1 f", "HGETEX h EX 5000 FIELDS 1 f", "HSETEX h FXX EX 5000 FIELDS 1 f w"} {
		for _, target := range []int{70400, number} {
			s.Must("DEL", "h")
			s.Must("HSET", "h", "f", "v")
			cmds, _ := absoluteExpiry(nil, words(line), time.Now().UnixMilli(), DialectOf(target, 0))
			for _, c := range cmds {
				if err := s.Do(texts(c)...).Error(); err != nil {
					t.Errorf("%s became %q: %v", line, c, err)
				}
			}
			ttl, err := s.Do("HTTL", "h", "FIELDS", "1", "f").AsIntSlice()
			if err != nil || len(ttl) != 1 || ttl[0] > 5000 || ttl[0] < 4940 {
				t.Errorf("%s for %d: HTTL is %v, %v", line, target, ttl, err)
			}
		}
	}
}

func texts(args [][]byte) (out []string) {
	for _, a := range args {
		out = append(out, string(a))
	}
	return out
}
