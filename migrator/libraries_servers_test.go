//go:build servers

package migrator

import (
	"slices"
	"strings"
	"testing"

	"surecut/e2e/servers"
)

// librariesOf returns the names of a server's function libraries, each with what its function answers.
func librariesOf(t *testing.T, s *servers.Server, functions ...string) string {
	t.Helper()
	list, err := s.Do("FUNCTION", "LIST").ToArray()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range list {
		m, err := l.AsMap()
		if err != nil {
			t.Fatal(err)
		}
		name := m["library_name"]
		text, _ := name.ToString()
		names = append(names, text)
	}
	slices.Sort(names)
	out := strings.Join(names, " ")
	for _, f := range functions {
		answer, err := s.Do("FCALL", f, "0").ToString()
		if err != nil {
			answer = "none"
		}
		out += " " + f + "=" + answer
	}
	return out
}

// TestLibrariesBetweenServers: what real servers send by FUNCTION arrives at each node of the target, which keeps what is its own.
func TestLibrariesBetweenServers(t *testing.T) {
	t.Parallel()
	lib := func(name, function, answer string) string {
		return "#!lua name=" + name + "\nredis.register_function{function_name='" + function + "', callback=function() return '" + answer + "' end, flags={'no-writes'}}"
	}
	source, target := servers.Cluster(t, "redis:7.0", 2, 0), servers.Cluster(t, "redis:8.0", 2, 0)
	for _, s := range source {
		s.Must("FUNCTION", "LOAD", lib("shared", "f", "one"))
	}
	target[1].Must("FUNCTION", "LOAD", lib("own", "o", "own"))
	u, dir := urls{source[0].URL(), target[0].URL()}, t.TempDir()
	primary := func(c *Config) { c.ReadFrom = "primary" }
	want := func(why, first, second string) {
		t.Helper()
		poll(t, why, func() bool {
			return librariesOf(t, target[0], "f") == first && librariesOf(t, target[1], "f", "o") == second
		})
	}
	r := begin(t, u, dir, primary)
	r.caughtUp()
	want("snapshot", "shared f=one", "own shared f=one o=own")
	source[0].Must("FUNCTION", "FLUSH")
	r.caughtUp()
	want("library of the shard that was not flushed", "shared f=one", "own shared f=one o=own")
	source[0].Must("FUNCTION", "LOAD", lib("other", "g", "g"))
	dump, err := source[0].Do("FUNCTION", "DUMP").ToString()
	if err != nil {
		t.Fatal(err)
	}
	source[0].Must("FUNCTION", "FLUSH")
	r.abort()
	r = begin(t, u, dir, primary)
	source[1].Must("FUNCTION", "RESTORE", dump, "FLUSH")
	r.caughtUp()
	want("libraries that were restored", "other f=none", "other own f=none o=own")
	source[1].Must("FUNCTION", "DELETE", "other")
	r.caughtUp()
	want("last deletion", " f=none", "own f=none o=own")
	if report := r.stop(); len(report.Problems) > 0 || report.State != "done" {
		t.Errorf("%s, problems %v", report.State, report.Problems)
	}
}
