package target_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

const migration = "__surecut:migration"

// named has a target opened for another migration, or by another process of the same one: then the directory differs.
func named(id, dir string) func(*target.Config) {
	return func(c *target.Config) { c.ID, c.StateDir = id, dir }
}

// seen sets when the record in a database was last renewed, by the clock of the target.
func seen(s *endpointtest.Server, db int, ago time.Duration) {
	at := strconv.FormatInt(time.Now().Add(-ago).UnixMilli(), 10)
	s.Do(db, "HMSET", migration, "seen_ms", at, "heartbeat_ms", at)
}

// TestAcquire: which run gets a target that another one has held.
func TestAcquire(t *testing.T) {
	for _, tt := range []struct {
		name, why   string
		first       string // database of the first run; "": all
		second      string
		id, place   string // of the second run; "": those of the first
		then        func(t *testing.T, s *endpointtest.Server, first *target.Target)
		resumed     bool
		whole, lost bool
		err         error
	}{
		{name: "another migration", id: "other", place: "p", err: target.ErrClaimed},
		{name: "a copy of the state on the same host", why: "two runs would write with one ID", place: "p", err: target.ErrClaimed},
		{name: "the same after a crash", why: "the lock on its directory keeps a second process away"},
		{name: "another migration, after this one has ended", id: "other", place: "p", then: ended},
		{name: "another migration, after this one has died", id: "other", place: "p", then: func(_ *testing.T, s *endpointtest.Server, _ *target.Target) { seen(s, 0, 31*time.Second) }},
		{name: "shortly before the claim ends", id: "other", place: "p", err: target.ErrClaimed,
			then: func(_ *testing.T, s *endpointtest.Server, _ *target.Target) { seen(s, 0, 20*time.Second) }},
		{name: "the host's clock is wrong", why: "the target's clock counts", id: "other", place: "p", err: target.ErrClaimed,
			then: func(_ *testing.T, s *endpointtest.Server, _ *target.Target) {
				s.Do(0, "HSET", migration, "heartbeat_ms", "1")
			}},
		{name: "a target without TIME", why: "then the host's clock has to do", id: "other", place: "p", then: func(_ *testing.T, s *endpointtest.Server, _ *target.Target) {
			s.Always("TIME", "-NOPERM no\r\n")
			s.Do(0, "HSET", migration, "heartbeat_ms", "1")
		}},
		{name: "two that keep to one database each", first: "/1", second: "/2", id: "other", place: "p"},
		{name: "two that keep to one database each, of which one holds the records of all", first: "/0", second: "/2", id: "other", place: "p"},
		{name: "one that keeps to a database where another has all", second: "/2", id: "other", place: "p", err: target.ErrClaimed},
		{name: "one that wants all databases where another has one", first: "/3", id: "other", place: "p", err: target.ErrClaimed},
		{name: "one that keeps to a database beyond those that every server has", first: "/70", id: "other", place: "p", err: target.ErrClaimed,
			then: func(_ *testing.T, s *endpointtest.Server, _ *target.Target) {
				s.Always("CONFIG GET databases", endpointtest.Strings("databases", "100"))
			}},
		{name: "resumed", resumed: true, whole: true, then: ended},
		{name: "resumed after another migration", why: "that one may have written to the same keys, even if it has ended", resumed: true, whole: true, err: target.ErrGivenAway,
			then: func(t *testing.T, s *endpointtest.Server, first *target.Target) {
				ended(t, s, first)
				other := targettest.Open(t, s.URL(), named("other", "p"))
				if err := other.Claim.Acquire(t.Context()); err != nil {
					t.Fatal(err)
				}
				ended(t, s, other)
			}},
		{name: "resumed after one that had another database", why: "it wrote to a part of the same keys", resumed: true, whole: true, err: target.ErrGivenAway,
			then: func(t *testing.T, s *endpointtest.Server, first *target.Target) {
				ended(t, s, first)
				seen(s, 0, time.Minute)
				other := targettest.Open(t, s.URL()+"/3", named("other", "p"))
				if err := other.Claim.Acquire(t.Context()); err != nil {
					t.Fatal(err)
				}
				ended(t, s, other)
			}},
		{name: "resumed, and the record is gone", why: "the target has kept its keys, so somebody has removed the record", resumed: true, whole: true, err: target.ErrGivenAway,
			then: func(_ *testing.T, s *endpointtest.Server, _ *target.Target) { s.Put(migration, nil) }},
		{name: "resumed on a target that has lost its keys", why: "the record went with them", resumed: true,
			then: func(_ *testing.T, s *endpointtest.Server, _ *target.Target) { s.Put(migration, nil) }},
		{name: "overtaken", why: "of two that begin at the same time one is refused", id: "other", place: "p", err: target.ErrClaimed,
			then: func(t *testing.T, s *endpointtest.Server, first *target.Target) {
				s.Put(migration, nil)
				s.Before("EXEC", func() {
					now := fmt.Sprint(time.Now().UnixMilli())
					s.Do(0, "HMSET", migration, "id", "third", "run", "x", "state", "running", "host", "h", "db", "all", "heartbeat_ms", now, "seen_ms", now)
				})
			}},
		{name: "overtaken by what is no claim", why: "it begins again", id: "other", place: "p", then: func(t *testing.T, s *endpointtest.Server, first *target.Target) {
			ended(t, s, first)
			s.Before("EXEC", func() { s.Do(0, "HSET", migration, "state", "gone") })
		}},
		{name: "no database beyond the ninth", why: "there can be no record", id: "other", place: "p", then: func(t *testing.T, s *endpointtest.Server, first *target.Target) {
			ended(t, s, first)
			s.On("SELECT", func(args []string) string {
				if len(args[1]) > 1 {
					return "-ERR DB index is out of range\r\n"
				}
				return endpointtest.Usual
			})
		}},
		{name: "the connection breaks", id: "other", place: "p", then: func(t *testing.T, s *endpointtest.Server, first *target.Target) {
			ended(t, s, first)
			s.Once("EXEC", endpointtest.HangUp)
			s.Once("HGETALL "+migration, endpointtest.Usual, endpointtest.HangUp)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := endpointtest.Serve(t, "7.0.15")
			dir := t.TempDir()
			first := targettest.Open(t, s.URL()+tt.first, named("id", dir))
			if err := first.Claim.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			if tt.then != nil {
				tt.then(t, s, first)
			}
			id, place := "id", dir
			if tt.id != "" {
				id = tt.id
			}
			if tt.place != "" {
				place = t.TempDir()
			}
			second := targettest.Open(t, s.URL()+tt.second, named(id, place))
			if tt.resumed {
				second.Claim.Resume(tt.whole)
			}
			err := second.Claim.Acquire(t.Context())
			if !errors.Is(err, tt.err) || tt.err == nil && err != nil {
				t.Errorf("%v, want %v (%s)", err, tt.err, tt.why)
			}
			if errors.Is(err, target.ErrClaimed) && !strings.Contains(err.Error(), "belongs to migration ") {
				t.Errorf("%v does not say to whom the target belongs", err)
			}
		})
	}
}

// ended ends a run as it ends when it is told to stop.
func ended(t *testing.T, _ *endpointtest.Server, first *target.Target) {
	if err := first.Claim.Renew(t.Context(), "stopped"); err != nil {
		t.Fatal(err)
	}
}

// TestClaimTakenOver: a run that finds its target with another one writes nothing more, whatever it was doing.
func TestClaimTakenOver(t *testing.T) {
	r := serverRig(t, "7.0.15")
	if err := r.to.Claim.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.w.Commit(t.Context(), []*target.Transaction{r.transaction(400, "SET a 1")}); err != nil {
		t.Fatal(err)
	}
	seen(r.s, 0, time.Hour)
	other := targettest.Open(t, r.s.URL(), named("other", t.TempDir()))
	if err := other.Claim.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.s.Do(0, "CLIENT", "LIST"); strings.Contains(got, "name=surecut-id:") {
		t.Errorf("connections of the run before live on: %s", got)
	}
	err := r.w.Commit(t.Context(), []*target.Transaction{r.transaction(500, "SET a 2")})
	if !errors.Is(err, target.ErrClaimed) || r.text("a") != "1" {
		t.Errorf("%v, a is %q", err, r.text("a"))
	}
	if err := r.to.Claim.Renew(t.Context(), "running"); !errors.Is(err, target.ErrClaimed) || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("renewed: %v", err)
	}
	r.s.Put(migration, nil)
	if err := r.to.Claim.Renew(t.Context(), "running"); err != nil || targettest.Field(r.s, 0, migration, "id") != "id" {
		t.Errorf("a record that is gone belongs to nobody: %v", err)
	}
}

// TestClaimTakenOverMeanwhile: a run that is held up at any point writes nothing after another one has taken the target over. Each row is the
// command before which it is held up, for so long that its claim has ended.
func TestClaimTakenOverMeanwhile(t *testing.T) {
	for _, tt := range []struct {
		name, before string
		from         int // the row means this occurrence of the command
		write        func(t *testing.T, r *rig) error
	}{
		{"a snapshot, while the second connection is opened", "INFO replication", 1, func(t *testing.T, r *rig) error {
			_, err := r.restore(t, r.batch(t, target.Overwrite{}, 0, "k"))
			return err
		}},
		{"the stream, while the second connection is opened", "INFO replication", 1, func(t *testing.T, r *rig) error {
			return r.w.Commit(soon(t), []*target.Transaction{r.transaction(400, "SET k 1")})
		}},
		{"a value that is built, between two parts", "RPUSH", 0, func(t *testing.T, r *rig) error {
			_, err := r.w.Rebuild(soon(t), target.Value{Name: "k"}, target.Overwrite{First: true}, func(v keyspace.Visitor) error {
				var err error
				for range 6 {
					err = errors.Join(err, v.ListElement(make([]byte, 600<<10)))
				}
				return err
			})
			return err
		}},
		{"a value that is built, before it is renamed", "EXISTS", 0, func(t *testing.T, r *rig) error {
			_, err := r.w.Rebuild(soon(t), target.Value{Name: "k"}, target.Overwrite{First: true}, list(3, nil))
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serverRig(t, "7.0.15")
			if err := r.to.Claim.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			n := 0
			r.s.On(tt.before, func([]string) string {
				if n++; n == tt.from+1 {
					r.to.Claim.Distrust()
					r.s.Do(0, "HMSET", migration, "id", "other", "run", "x", "host", "elsewhere", "state", "running")
					r.s.Do(0, "SET", "k", "of the other run")
				}
				return endpointtest.Usual
			})
			if err := tt.write(t, r); !errors.Is(err, target.ErrClaimed) || n <= tt.from {
				t.Errorf("%v, after %d", err, n)
			}
			if got := r.text("k"); got != "of the other run" {
				t.Errorf("k holds %q", got)
			}
			if n := len(r.s.Calls("RPUSH")); n > 3 {
				t.Errorf("%d parts were sent", n)
			}
		})
	}
}

// TestRelease: a run deletes the record that says to whom the target belongs only if that is the run itself.
func TestRelease(t *testing.T) {
	for _, tt := range []struct {
		name  string
		serve func(t *testing.T) (s *endpointtest.Server, url string)
		write string // the command that may be overtaken
	}{
		{"one server", func(t *testing.T) (*endpointtest.Server, string) {
			s := endpointtest.Serve(t, "7.0.15")
			return s, s.URL()
		}, "EXEC"},
		{"through a proxy", func(t *testing.T) (*endpointtest.Server, string) {
			s := targettest.ServeCodis(t)
			return s, "redis+codis://" + s.Addr
		}, "EVAL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, url := tt.serve(t)
			first, second := targettest.Open(t, url, named("id", t.TempDir())), targettest.Open(t, url, named("other", t.TempDir()))
			acquire := func(to *target.Target) {
				t.Helper()
				if err := to.Claim.Acquire(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			release := func(to *target.Target, left string) {
				t.Helper()
				if err := to.Claim.Release(t.Context()); err != nil || targettest.Field(s, 0, migration, "id") != left {
					t.Errorf("the record is that of %q, want %q: %v", targettest.Field(s, 0, migration, "id"), left, err)
				}
			}
			acquire(first)
			ended(t, s, first)
			acquire(second)
			release(first, "other")
			release(second, "")
			release(second, "")
			acquire(first)
			s.Before(tt.write, func() {
				s.Do(0, "HMSET", migration, "id", "third", "run", "x", "state", "running", "heartbeat_ms", "7")
			})
			release(first, "third")
		})
	}
}

// TestClaimOfDirectory: connections that a killed run of the same migration has left are ended before the next one reads how far it came.
func TestClaimOfDirectory(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		r := serverRig(t, "7.0.15")
		if err := r.w.Commit(t.Context(), []*target.Transaction{r.transaction(400, "SET a 1")}); err != nil {
			t.Fatal(err)
		}
		if !allowed {
			r.s.Always("CLIENT LIST", "-NOPERM no\r\n")
		}
		next := targettest.Open(t, r.s.URL(), named("id", t.TempDir()))
		if err := next.Claim.Acquire(t.Context()); err != nil || next.Can.Ends != allowed {
			t.Fatal(err, next.Can.Ends)
		}
		if got := r.s.Do(0, "CLIENT", "LIST"); strings.Contains(got, "name=surecut-id:") == allowed {
			t.Errorf("allowed: %v; connections: %s", allowed, got)
		}
	}
}

// TestClaimOfOneThatMayLive: where the connections of the run before cannot be ended, the next one waits until that run trusts its claim no
// longer, and then looks whether the record is still its own.
func TestClaimOfOneThatMayLive(t *testing.T) {
	for _, tt := range []struct {
		name   string
		proxy  bool // the target is written through a proxy
		ends   bool // the server lets connections be ended
		state  string
		same   bool   // the second run has the directory of the first
		fence  string // how the record says that the first run is fenced; "": as it is
		looked bool
	}{
		{name: "through a proxy", proxy: true, state: "running", looked: true},
		{name: "through a proxy, after a stop", proxy: true, state: "stopped"},
		{name: "through a proxy, the same directory", proxy: true, state: "running", same: true},
		{name: "without CLIENT KILL", state: "running", looked: true},
		{name: "with CLIENT KILL", ends: true, state: "running"},
		{name: "with CLIENT KILL, where the run before had no names", ends: true, state: "running", fence: "lease", looked: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := endpointtest.Serve(t, "7.0.15")
			url := s.URL()
			if tt.proxy {
				s = targettest.ServeCodis(t)
				url = "redis+codis://" + s.Addr
			} else if !tt.ends {
				s.Always("CLIENT KILL", "-NOPERM no\r\n")
			}
			dir := t.TempDir()
			first := targettest.Open(t, url, named("id", dir))
			if err := first.Claim.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			seen(s, 0, time.Hour)
			s.Do(0, "HSET", migration, "state", tt.state)
			if tt.fence != "" {
				s.Do(0, "HSET", migration, "fence", tt.fence)
			}
			id := "other"
			if tt.same {
				id = "id"
			} else {
				dir = t.TempDir()
			}
			second := targettest.Open(t, url, named(id, dir))
			second.Claim.WaitFor(20 * time.Millisecond)
			written := targettest.Field(s, 0, migration, "run")
			s.On("", func(args []string) string {
				if slices.Contains(args, "HGETALL") && targettest.Field(s, 0, migration, "run") != written { // the first run has lived, and its clock was wrong
					s.Do(0, "HMSET", migration, "id", "id", "run", "x", "state", "running")
				}
				return endpointtest.Usual
			})
			err := second.Claim.Acquire(t.Context())
			if looked := errors.Is(err, target.ErrClaimed); looked != tt.looked || err != nil && !looked {
				t.Error(err)
			}
		})
	}
}

// TestClaimByScript: through a proxy a script changes the record, if it is as it was read.
func TestClaimByScript(t *testing.T) {
	s := targettest.ServeCodis(t)
	url := "redis+codis://" + s.Addr
	first, second := targettest.Open(t, url, named("id", t.TempDir())), targettest.Open(t, url, named("other", t.TempDir()))
	if err := first.Claim.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.Claim.Acquire(t.Context()); !errors.Is(err, target.ErrClaimed) {
		t.Errorf("a second migration: %v", err)
	}
	ended(t, s, first)
	overtaken := 0
	s.On("EVAL", func(args []string) string {
		if strings.Contains(args[1], "HMGET") && overtaken < 1 { // between reading and writing
			overtaken++
			s.Do(0, "HSET", migration, "state", "running")
		}
		return endpointtest.Usual
	})
	if err := second.Claim.Acquire(t.Context()); !errors.Is(err, target.ErrClaimed) || overtaken != 1 {
		t.Errorf("the first was resumed at the same time: %v", err)
	}
	ended(t, s, first)
	if err := second.Claim.Acquire(t.Context()); err != nil || targettest.Field(s, 0, migration, "id") != "other" {
		t.Error(err)
	}
}
