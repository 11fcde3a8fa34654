package migrator

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/resp"
)

// texts are the keys of database 0 that a test deals in: strings, by name.
type texts map[string]string

// heldBy returns the keys of a server, without surecut's own.
func heldBy(s *endpointtest.Server) texts {
	held := texts{}
	for _, name := range s.Names() {
		if v := s.Get(name); v != nil && !strings.HasPrefix(name, keyspace.Prefix) {
			held[name] = string(v.Str)
		}
	}
	return held
}

// ownOf returns the names of surecut's own keys on a server that begin with a word.
func ownOf(s *endpointtest.Server, word string) []string {
	return slices.DeleteFunc(s.Names(), func(name string) bool { return !strings.HasPrefix(name, keyspace.Prefix+word) })
}

// serve starts a server of version 7.0 that holds keys.
func serve(t *testing.T, keys texts) *endpointtest.Server {
	t.Helper()
	s := endpointtest.Serve(t, "7.0.15")
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		s.Put(name, text(keys[name]))
	}
	return s
}

func text(s string) *keyspace.Value { return &keyspace.Value{Type: keyspace.String, Str: []byte(s)} }

// rdbOf returns an RDB of strings. The expiry of a key is a time in Unix ms.
func rdbOf(t *testing.T, keys texts, expiries map[string]int64) string {
	t.Helper()
	out := []byte("REDIS0010\xfe\x00")
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		kind, raw, err := rdb.Encode(text(keys[name]))
		if err != nil || len(name) > 63 {
			t.Fatal(name, err)
		}
		if at := expiries[name]; at != 0 {
			out = binary.LittleEndian.AppendUint64(append(out, 0xfc), uint64(at))
		}
		out = append(append(append(out, kind, byte(len(name))), name...), raw...)
	}
	out = append(out, 0xff)
	return string(binary.LittleEndian.AppendUint64(out, rdb.CRC64(0, out)))
}

// streamOf returns commands as they stand in a replication stream.
func streamOf(commands ...string) string {
	var stream []byte
	for _, c := range commands {
		stream = resp.AppendCommand(stream, strings.Fields(c)...)
	}
	return string(stream)
}

// replicates has a server answer PSYNC by a snapshot and by commands behind it, as the history with an ID.
func replicates(s *endpointtest.Server, id, snapshot string, commands ...string) {
	s.Always("PSYNC", fmt.Sprintf("+FULLRESYNC %s %d\r\n$%d\r\n%s%s%s", id, s.Offset(), len(snapshot), snapshot, streamOf(commands...), endpointtest.Silence))
}

// continues has a server answer PSYNC by the commands that follow.
func continues(s *endpointtest.Server, commands ...string) {
	s.Always("PSYNC", "+CONTINUE\r\n"+streamOf(commands...)+endpointtest.Silence)
}

// nodesReply is the reply to CLUSTER NODES. A line has the slots of a node, or "of 0" for a replica of the first one.
func nodesReply(nodes []*endpointtest.Server, lines ...string) string {
	list := ""
	for i, line := range lines {
		role, of := "master -", 0
		if n, _ := fmt.Sscanf(line, "of %d", &of); n == 1 {
			role, line = fmt.Sprintf("slave %040d", of), ""
		}
		list += fmt.Sprintf("%040d %s@1 %s 0 0 1 connected %s\n", i, nodes[i].Addr, role, line)
	}
	return endpointtest.Bulk(list)
}

// cluster tells servers that they are a cluster, with lines as nodesReply has them.
func cluster(nodes []*endpointtest.Server, lines ...string) {
	for _, n := range nodes {
		n.Tell("cluster_enabled", "1", "redis_mode", "cluster")
		n.Always("CLUSTER NODES", nodesReply(nodes, lines...))
	}
}

// writeFile writes a file into a new directory and returns its path.
func writeFile(t *testing.T, name, data string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// between returns the configuration of a migration from one URL to another, with a state directory of its own. Nothing is tried again.
func between(t *testing.T, source, target string) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.StateDir, cfg.RetryFor = t.TempDir(), 0
	cfg.Sides = Sides{Source: endpointtest.Open(t, source), Target: endpointtest.Open(t, target)}
	return cfg
}

// migrate runs a migration until it ends by itself or has caught up. It returns the error of New or of Run.
func migrate(t *testing.T, cfg Config) (*Migration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if m.AwaitCaughtUp(ctx) == nil {
			m.Finish()
		}
	}()
	err = m.Run(ctx)
	<-ended
	return m, err
}

// running starts a migration, and returns once it has caught up. It is finished at the end of the test.
func running(t *testing.T, cfg Config) *Migration {
	t.Helper()
	m, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		defer cancel()
		m.Finish()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if err := m.AwaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	return m
}

// awaitApplied waits until the first link has applied the stream up to an offset.
func awaitApplied(t *testing.T, m *Migration, offset int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); m.Report().Links[0].AppliedOffset < offset; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("offset %d is not applied: %+v", offset, m.Report().Links[0])
		}
	}
}

// mustMigrate is migrate for a migration that ends well.
func mustMigrate(t *testing.T, cfg Config) *Migration {
	t.Helper()
	m, err := migrate(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r := m.Report(); r.State != "done" {
		t.Fatalf("the migration is %s", r.State)
	}
	return m
}

// saysSo reports an error that does not say what is expected; "": no error is.
func saysSo(t *testing.T, err error, want, why string) {
	t.Helper()
	if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q (%s)", err, want, why)
	}
}
