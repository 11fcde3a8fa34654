//go:build servers

package migrator

import (
	"slices"
	"strings"
	"testing"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

// TestPrefixToOne: one server takes every command as it is, so that nothing but the names keeps databases apart.
func TestPrefixToOne(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), func(c *Config) { c.Filter.DBPrefix = map[int]string{3: "app3:"} })
	r.caughtUp()
	in := func(db int, args ...string) {
		t.Helper()
		client := source.Client(db)
		if err := client.Do(t.Context(), endpoint.Arbitrary(client, args...)).Error(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	in(0, "MSET", "w:a", "1", "w:b", "2", "l", "of 0")
	in(3, "RPUSH", "l", "a", "b")
	in(3, "MSET", "w:a", "2", "w:b", "1")
	in(3, "SORT", "l", "BY", "w:*", "STORE", "sorted")
	in(3, "SORT", "l", "BY", "nosort", "GET", "#", "STORE", "unsorted")
	in(3, "EVAL", "redis.call('SET', 'l2', 'undeclared'); return redis.call('APPEND', KEYS[1], ARGV[1])", "1", "script", "s")
	in(3, "MOVE", "w:a", "0") // which 0 has
	in(3, "MOVE", "w:b", "1")
	in(3, "SET", "m", "moved")
	in(3, "MOVE", "m", "0")
	in(1, "SET", "k", "of 1")
	in(1, "COPY", "k", "k", "DB", "3")
	r.caughtUp()
	names := func(db int) string {
		client := target.Client(db)
		list, err := client.Do(t.Context(), endpoint.Arbitrary(client, "KEYS", "*")).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		list = slices.DeleteFunc(list, func(n string) bool { return strings.HasPrefix(n, "__surecut") })
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	// Since 5.0 a script arrives as what it wrote, so that the undeclared key has its prefix, too.
	if got, want := names(0), "app3:k app3:l app3:l2 app3:script app3:sorted app3:unsorted app3:w:a l m w:a w:b"; got != want {
		t.Errorf("database 0 holds %q, want %q", got, want)
	}
	if got := names(1); got != "k w:b" {
		t.Errorf("database 1 holds %q", got)
	}
	for key, want := range map[string]string{"app3:sorted": "b a", "app3:unsorted": "a b"} {
		list, err := target.Do("LRANGE", key, "0", "-1").AsStrSlice()
		if got := strings.Join(list, " "); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", key, got, err, want)
		}
	}
	for key, want := range map[string]string{"l": "of 0", "w:a": "1", "app3:w:a": "2", "app3:k": "of 1", "m": "moved"} {
		if got := target.Must("GET", key); got != want {
			t.Errorf("%s: %v, want %q", key, got, want)
		}
	}
	in(0, "FLUSHDB")
	r.caughtUp()
	if got, want := names(0), "app3:k app3:l app3:l2 app3:script app3:sorted app3:unsorted app3:w:a"; got != want {
		t.Errorf("after FLUSHDB of 0, database 0 holds %q, want %q", got, want)
	}
	in(3, "FLUSHALL")
	r.caughtUp()
	if got := names(0) + names(1); got != "" {
		t.Errorf("after FLUSHALL there is %q", got)
	}
	addsUp(t, r.stop())
}
