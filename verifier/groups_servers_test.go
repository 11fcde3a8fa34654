//go:build servers

package verifier

import (
	"testing"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// besidesEntries are commands that change a stream and none of its entries.
var besidesEntries = [][]string{
	{"XREADGROUP", "GROUP", "g", "c1", "COUNT", "1", "STREAMS", "s", ">"},
	{"XCLAIM", "s", "g", "c2", "0", "1-1"},
	{"XACK", "s", "g", "1-1"},
	{"XGROUP", "SETID", "s", "g", "2-2"},
	{"XGROUP", "DESTROY", "s", "g"},
	{"XGROUP", "CREATE", "s", "g", "0"},
	{"XSETID", "s", "9-9"},
}

// TestRestOfStreamUnderWatch: what WATCH does not notice of such commands, the digests before and after show.
func TestRestOfStreamUnderWatch(t *testing.T) {
	t.Parallel()
	for _, image := range servers.Must() {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			source := servers.Standalone(t, image)
			source.Must("XADD", "s", "1-1", "f", "v")
			source.Must("XADD", "s", "2-2", "f", "v")
			source.Must("XGROUP", "CREATE", "s", "g", "0")
			side := newFeedOf(t, source).source
			r := side.borrow(side.nodes[0], 0)
			defer side.giveBack(r)
			keys := []record{{keyID: keyID{name: "s"}, t: keyspace.Stream}}
			for _, c := range append(besidesEntries, []string{"XADD", "s", "10-1", "f", "v"}) {
				if _, err := r.one(t.Context(), "WATCH", "s"); err != nil {
					t.Fatal(err)
				}
				before, err := (&instantReader{reader: r}).restsOf(t.Context(), keys)
				if err != nil {
					t.Fatal(err)
				}
				source.Must(c...)
				results, err := r.do(t.Context(), func(b rueidis.Builder) rueidis.Commands {
					return rueidis.Commands{command(b, "MULTI"), command(b, "EXEC")}
				})
				if err != nil {
					t.Fatal(err)
				}
				after, err := (&instantReader{reader: r}).restsOf(t.Context(), keys)
				if noticed := endpoint.IsNil(results[1].Error()); err != nil || !noticed && before["s"] == after["s"] {
					t.Errorf("nothing shows that %s was run: %v", c[0], err)
				}
			}
		})
	}
}

// CLIENT TRACKING does not tell of commands that change only the groups of a stream. A window in which one of them was run has written
// every stream, and nothing else.
func TestGroupsOfStreamsAreNotTracked(t *testing.T) {
	t.Parallel()
	for _, image := range servers.Must() {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			source, target := servers.Standalone(t, image), servers.Standalone(t, image)
			for _, s := range []*servers.Server{source, target} {
				fill(s, 5)
				s.Must("XADD", "s", "1-1", "f", "v")
				s.Must("XADD", "s", "2-2", "f", "v")
				s.Must("XGROUP", "CREATE", "s", "g", "0")
			}
			f := newFeedOf(t, source)
			for _, c := range besidesEntries {
				if _, err := f.begin(t.Context()); err != nil {
					t.Fatal(err)
				}
				source.Must(c...)
				seen, err := f.end(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if by := f.report().KnownBy; by != ByTracking {
					t.Fatalf("the writes are known by %s", by)
				}
				if w := seen.writing("s", keyspace.Stream); w != written || seen.still() {
					t.Errorf("after %s the stream is %v, and still is %v", c[0], w, seen.still())
				}
				if w := seen.writing("key:1", keyspace.String); w != unwritten {
					t.Errorf("after %s a string is %v", c[0], w)
				}
			}
			r := verify(t, source, target, nil)
			if r.Verdict != Different || r.Totals.Different != 1 || r.Totals.Unchecked != 0 {
				t.Errorf("at rest: %s, %+v, %q", r.Verdict, r.Totals, r.Reasons)
			}
		})
	}
}

func newFeedOf(t *testing.T, s *servers.Server) *sourceFeed {
	t.Helper()
	spec, err := endpoint.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	dep, err := endpoint.Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dep.Close)
	o := configFor(t, s.URL(), s.URL(), nil)
	side, err := newSide(t.Context(), endpoint.Source, dep, &o)
	if err != nil {
		t.Fatal(err)
	}
	f := newSourceFeed(side)
	t.Cleanup(func() { f.close(); side.close() })
	return f
}
