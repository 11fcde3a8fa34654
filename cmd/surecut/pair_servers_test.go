//go:build servers

package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/migrator"
)

// call runs surecut in this process, and returns what it said.
func call(t *testing.T, want int, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := run(append([]string{"surecut"}, args...), &stdout, &stderr); status != want {
		t.Errorf("%q: exit %d, want %d: %s%s", args, status, want, stderr.String(), stdout.String())
	}
	return stderr.String() + stdout.String()
}

// TestVerifyOfItself: servers are told by their IDs and not by their names.
func TestVerifyOfItself(t *testing.T) {
	alone, cluster := servers.Standalone(t, "redis:7.0"), servers.Cluster(t, "redis:7.0", 2, 0)
	replica := servers.Replica(t, alone)
	alone.Must("SET", "k", "v")
	alone.Must("MOVE", "k", "1")
	alone.Must("SET", "k", "v")
	alone.Must("WAIT", "1", "10000")
	local := strings.Replace(alone.URL(), "127.0.0.1", "localhost", 1)
	for _, tt := range []struct {
		name, source, target string
		want                 int
		more                 []string
	}{
		{name: "localhost", source: alone.URL(), target: local, want: 5},
		{name: "another node of the cluster", source: cluster[0].URL(), target: cluster[1].URL(), want: 5},
		{name: "its replica", source: alone.URL(), target: replica.URL(), want: 5},
		{name: "its primary", source: replica.URL(), target: local, want: 5},
		{name: "one database of it with itself", source: alone.URL() + "/1", target: local + "/1", want: 5},
		{name: "one database of it with another", source: alone.URL() + "/0", target: local + "/1", want: 0},
		{name: "a database that is mapped", source: alone.URL(), target: local, want: 0, more: []string{"--db", "0", "--db-map", "0:1"}},
		{name: "a database that is mapped to itself", source: alone.URL(), target: local, want: 5, more: []string{"--db", "0", "--db-map", "0:0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said := call(t, tt.want, append([]string{"verify", "--source", tt.source, "--target", tt.target, "--rounds", "1", "--interval", "0s", "--progress", "none"}, tt.more...)...)
			if tt.want == 5 && !strings.Contains(said, "source and target hold the same data") {
				t.Errorf("%s", said)
			}
		})
	}
	for _, tt := range []struct{ source, target string }{{alone.URL(), local}, {cluster[0].URL(), cluster[1].URL()}, {alone.URL(), replica.URL()}, {replica.URL(), alone.URL()}} {
		if said := call(t, 3, "check", "--source", tt.source, "--target", tt.target, "--state", t.TempDir()); !strings.Contains(said, "same_instance") && !strings.Contains(said, "different servers") {
			t.Errorf("check of %v: %s", tt, said)
		}
		call(t, 3, "migrate", "--source", tt.source, "--target", tt.target, "--state", t.TempDir(), "--progress", "none", "--accept-alarms")
	}
}

// TestRepairByAnotherReport: the report says which servers it speaks of. With the sides swapped under other names, repair deleted keys of
// the real source.
func TestRepairByAnotherReport(t *testing.T) {
	source, target, third := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	source.Must("SET", "k", "v")
	target.Must("SET", "other", "v")
	out := t.TempDir()
	call(t, 3, "verify", "--source", source.URL(), "--target", target.URL(), "--rounds", "1", "--interval", "0s", "--progress", "none", "--out", out)
	local := func(s *servers.Server) string { return strings.Replace(s.URL(), "127.0.0.1", "localhost", 1) }
	repair := func(want int, from, to string) string {
		t.Helper()
		return call(t, want, "repair", "--source", from, "--target", to, "--report", filepath.Join(out, "verify.json"), "--rounds", "1", "--apply", "--delete-extra")
	}
	if said := repair(5, local(target), local(source)); !strings.Contains(said, "would write to the source") {
		t.Errorf("swapped: %s", said)
	}
	if said := repair(5, third.URL(), target.URL()); !strings.Contains(said, "another source") {
		t.Errorf("another source: %s", said)
	}
	if said := repair(5, source.URL(), third.URL()); !strings.Contains(said, "another target") {
		t.Errorf("another target: %s", said)
	}
	if source.Must("EXISTS", "k") != int64(1) || target.Must("EXISTS", "other") != int64(1) {
		t.Error("a refused repair has written")
	}
	target.Must("SAVE")
	target.Restart()
	if said := repair(0, local(source), target.URL()); target.Must("GET", "k") != "v" {
		t.Errorf("other names of the same source, and a target that was restarted: %s", said)
	}
}

// TestStateOfAnotherMigration: what a migration knows of its streams says nothing of another pair.
func TestStateOfAnotherMigration(t *testing.T) {
	source, target, other := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	for _, s := range []*servers.Server{source, target, other} {
		s.Must("SET", "k", "v")
	}
	target.Must("DEL", "k")
	dir := t.TempDir()
	cfg := migrator.DefaultConfig()
	cfg.StateDir = dir
	for url, to := range map[string]**endpoint.Deployment{source.URL(): &cfg.Sides.Source, target.URL(): &cfg.Sides.Target} {
		spec, err := endpoint.Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		if *to, err = endpoint.Open(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*to).Close)
	}
	m, err := migrator.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	control, err := m.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(t.Context()) }()
	for deadline := time.Now().Add(time.Minute); m.Report().State != "caught_up"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the migration has not caught up: %+v", m.Report())
		}
	}
	verify := func(want int, from, to string) string {
		t.Helper()
		return call(t, want, "verify", "--source", from, "--target", to, "--state", dir, "--rounds", "2", "--interval", "10ms", "--progress", "none")
	}
	if said := verify(5, source.URL(), other.URL()); !strings.Contains(said, "another target") || !strings.Contains(said, target.Addr) || !strings.Contains(said, other.Addr) {
		t.Errorf("another target: %s", said)
	}
	if said := verify(5, other.URL(), target.URL()); !strings.Contains(said, "another source") {
		t.Errorf("another source: %s", said)
	}
	verify(0, strings.Replace(source.URL(), "127.0.0.1", "localhost", 1), target.URL())
	m.Finish()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
