package verifier

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// versionsTold are one version for each way of reading.
var versionsTold = []string{"2.8.24", "3.2.13", "5.0.14", "6.2.14", "7.0.15", "7.4.1", "valkey 8.1.3", "valkey 9.0.1"}

// kindsTold are values of each type, some so small that they are read together with others, some so large that they are read in pages.
func kindsTold(version string) map[string]*keyspace.Value {
	kinds := map[string]*keyspace.Value{
		"empty string": stringOf(""), "string": stringOf("abc"), "long string": valueOf(keyspace.String, 10, 1000), "large string": valueOf(keyspace.String, 9, 8_000),
		"list": valueOf(keyspace.List, 3, 10), "long list": valueOf(keyspace.List, 20, 2000), "large list": valueOf(keyspace.List, 12, 8_000),
		"set": valueOf(keyspace.Set, 3, 10), "long set": valueOf(keyspace.Set, 20, 2000), "large set": valueOf(keyspace.Set, 12, 8_000),
		"zset": valueOf(keyspace.ZSet, 3, 10), "long zset": valueOf(keyspace.ZSet, 20, 2000), "large zset": valueOf(keyspace.ZSet, 12, 8_000),
		"hash": valueOf(keyspace.Hash, 3, 10), "long hash": valueOf(keyspace.Hash, 20, 2000), "large hash": valueOf(keyspace.Hash, 12, 8_000),
		"stream": valueOf(keyspace.Stream, 3, 10), "long stream": valueOf(keyspace.Stream, 20, 2000), "large stream": valueOf(keyspace.Stream, 12, 8_000),
		"module": valueOf(keyspace.Module, 1, 20), "large module": valueOf(keyspace.Module, 1, 70_000),
	}
	if version == "7.4.1" || version == "valkey 9.0.1" {
		at := time.Now().Add(time.Hour).UnixMilli()
		kinds["expiring hash"] = expiringField(valueOf(keyspace.Hash, 3, 10), at)
		kinds["large expiring hash"] = expiringField(valueOf(keyspace.Hash, 12, 8_000), at)
	}
	for name, v := range kinds {
		if v.Type == keyspace.Stream {
			v.Meta.HasCounters = version[0] > '6'
			if !v.Meta.HasCounters {
				v.Meta.EntriesAdded = 0
			}
		}
		switch {
		case v.Type == keyspace.Stream && version[0] < '5', v.Type == keyspace.Module && version[0] < '4':
			delete(kinds, name)
		}
	}
	return kinds
}

// TestReadsEveryKind: whatever a server can do, and however large a value is, its fingerprint is the same. The second reading knows
// more about the server than the first.
func TestReadsEveryKind(t *testing.T) {
	for _, version := range versionsTold {
		for _, sized := range []bool{true, false} {
			s := endpointtest.Serve(t, version)
			if !sized {
				s.Always("MEMORY", "-NOPERM this user has no permissions to run the 'memory|usage' command\r\n")
			}
			kinds := kindsTold(version)
			for name, v := range kinds {
				s.Put(name, v)
			}
			r := toldReader(t, s, toldConfig(t))
			for range 2 {
				for name, v := range kinds {
					got, err := readOne(t, r, name)
					if err != nil || got.Err != nil || got.Type != v.Type || got.FP != fingerprintOf(v) {
						t.Errorf("%s, sizes known %v, %s: %+v, %v, want %v of %+v", version, sized, name, got, err, v.Type, fingerprintOf(v))
					}
				}
			}
		}
	}
}

// TestReadsWhileFaultsHappen goes through every command by which a key is read, and forces one fault at this command. The reading
// then says what the key was, or that it is gone, or has an error after which the key is read again; never anything else.
func TestReadsWhileFaultsHappen(t *testing.T) {
	faults := []struct {
		name string
		tell func(s *endpointtest.Server, words, key string)
		gone bool // the key is removed
	}{
		{"loading", func(s *endpointtest.Server, words, _ string) {
			s.Once(words, "-LOADING Redis is loading the dataset in memory\r\n")
		}, false},
		{"hung up", func(s *endpointtest.Server, words, _ string) { s.Once(words, endpointtest.HangUp) }, false},
		{"cut off", func(s *endpointtest.Server, words, _ string) { s.Once(words, "$10\r\nabc"+endpointtest.HangUp) }, false},
		{"gone", func(s *endpointtest.Server, words, key string) { s.Before(words, func() { s.Put(key, nil) }) }, true},
		{"another type", func(s *endpointtest.Server, words, key string) {
			s.Before(words, func() {
				if v := s.Get(key); v.Type == keyspace.List {
					s.Put(key, valueOf(keyspace.Set, 1, 5))
				} else {
					s.Put(key, valueOf(keyspace.List, 1, 5))
				}
			})
		}, true},
	}
	var g errgroup.Group
	g.SetLimit(32) // most of the time is spent waiting before a command is repeated
	for _, version := range []string{"2.8.24", "5.0.14", "7.4.1"} {
		for name, v := range kindsTold(version) {
			if strings.HasPrefix(name, "long ") != (version < "4") { // only where sizes are not known are they read in another way than small ones
				continue
			}
			s := endpointtest.Serve(t, version)
			s.Put("k", v)
			r := toldReader(t, s, toldConfig(t))
			before := len(s.Calls(""))
			if got, err := readOne(t, r, "k"); err != nil || got.Err != nil {
				t.Fatal(version, name, got.Err, err)
			}
			commands := shortened(s.Calls("")[before:])
			g.Go(func() error {
				for _, command := range commands {
					for _, f := range faults {
						if f.gone && (command == "CLIENT" || command == "INFO") {
							continue
						}
						if !strings.HasSuffix(command, " k") {
							r.close() // such commands open a connection
						}
						s.Put("k", v)
						f.tell(s, command, "k")
						got, err := readOne(t, r, "k")
						at := version + ", " + name + ", " + f.name + " at " + command
						switch {
						case err != nil:
							t.Errorf("%s: the node counts as down: %v", at, err)
						case lasting(got.Err):
							t.Errorf("%s: a fault that passes ends the reading: %v", at, got.Err)
						case got.Err != nil && !f.gone:
							t.Errorf("%s: %v", at, got.Err)
						case got.Err != nil || got.FP == fingerprintOf(v):
						case f.gone && got.present() && got.FP.Length == 0:
							t.Errorf("%s: a key that is not there was read as an empty %v", at, got.Type)
						case !f.gone:
							t.Errorf("%s: read as %+v", at, got)
						}
					}
				}
				return nil
			})
		}
	}
	_ = g.Wait()
}

// shortened cuts commands off behind the key k, or behind their name where they have no key, and removes repetitions.
func shortened(calls []string) (commands []string) {
	for _, call := range calls {
		short, _, _ := strings.Cut(call, " ")
		if before, _, ok := strings.Cut(call+" ", " k "); ok {
			short = before + " k"
		}
		if !slices.Contains(commands, short) {
			commands = append(commands, short)
		}
	}
	return commands
}
