//go:build servers

package verifier

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// causes are servers that refuse something, and what must come of it: for each key its verdict, and for those that are unchecked the reason.
// Keys that are not named are the same.
var causes = []struct {
	name, why, image string
	args             []string // of the source
	user             string   // rights of the user that reads the source; "" is the default user
	both             commands
	target           commands
	want             map[string]Verdict
	reason           string
}{
	{name: "HPEXPIRETIME renamed away, HPTTL allowed", image: "redis:8.0", args: []string{"--rename-command", "HPEXPIRETIME", ""},
		both: hashes, target: do("HPERSIST", "h:packed", "FIELDS", "1", "f"), want: map[string]Verdict{"h:packed": Different}},
	{name: "HPEXPIRETIME and HPTTL renamed away", image: "redis:8.0", args: []string{"--rename-command", "HPEXPIRETIME", "", "--rename-command", "HPTTL", ""},
		both: hashes, target: do("HPERSIST", "h:packed", "FIELDS", "1", "f"), want: map[string]Verdict{"h:packed": Unchecked, "h:table": Unchecked, "h:large": Unchecked, "h:plain table": Unchecked}, reason: "HPTTL was answered by: unknown command"},
	{name: "all commands of field expiries renamed away", image: "redis:8.0", args: renamedAway(append([]string{"HEXPIREAT"}, fieldCommandNames...)),
		both: hashes, target: do("HPERSIST", "h:packed", "FIELDS", "1", "f"), want: map[string]Verdict{"h:packed": Unchecked, "h:table": Unchecked, "h:large": Unchecked, "h:plain table": Unchecked}, reason: "HPTTL was answered by: unknown command"},
	{name: "no field expires", image: "redis:8.0", args: []string{"--rename-command", "HPEXPIRETIME", "", "--rename-command", "HPTTL", ""},
		both: commands{{"HSET", "h:plain", "f", "v"}, {"HSET", "h:plain table", "f", long}}},
	{name: "HPEXPIRETIME and HPTTL forbidden to the user", image: "redis:8.0", user: "+@all -hpexpiretime -hpttl allkeys",
		both: hashes, target: do("HPERSIST", "h:packed", "FIELDS", "1", "f"), want: map[string]Verdict{"h:packed": Unchecked, "h:table": Unchecked, "h:large": Unchecked, "h:plain table": Unchecked}, reason: "NOPERM"},
	{name: "COMMAND forbidden as well", image: "redis:8.0", user: "+@all -command -hpexpiretime -hpttl allkeys",
		both: hashes, target: do("HPERSIST", "h:packed", "FIELDS", "1", "f"), want: map[string]Verdict{"h:packed": Unchecked, "h:table": Unchecked, "h:large": Unchecked, "h:plain table": Unchecked}, reason: "NOPERM"},
	{name: "PEXPIRETIME renamed away", image: "redis:7.0", args: []string{"--rename-command", "PEXPIRETIME", ""},
		both: commands{{"SET", "a", "v", "PXAT", far}, {"SET", "b", "v", "PXAT", far}, {"SET", "c", "v"}}, target: do("PERSIST", "a"), want: map[string]Verdict{"a": Different}},
	{name: "PEXPIRETIME and PTTL renamed away", image: "redis:7.0", args: renamedAway([]string{"PEXPIRETIME", "PTTL"}),
		both: commands{{"SET", "a", "v", "PXAT", far}}, want: map[string]Verdict{"a": Unchecked}, reason: "PTTL was answered by: unknown command"},
	{name: "XINFO renamed away", image: "redis:7.0", args: renamedAway([]string{"XINFO"}),
		both: commands{{"SET", "a", "v"}, {"XADD", "x", "1-1", "f", "v"}}, want: map[string]Verdict{"x": Unchecked}, reason: "XINFO was answered by: unknown command"},
	{name: "XINFO renamed away, before FULL", image: "redis:6.0", args: renamedAway([]string{"XINFO"}),
		both: commands{{"SET", "a", "v"}, {"XADD", "x", "1-1", "f", "v"}}, want: map[string]Verdict{"x": Unchecked}, reason: "XINFO was answered by: unknown command"},
	{name: "XINFO forbidden to the user", image: "redis:7.0", user: "+@all -xinfo allkeys",
		both: commands{{"SET", "a", "v"}, {"XADD", "x", "1-1", "f", "v"}}, want: map[string]Verdict{"x": Unchecked}, reason: "NOPERM"},
	{name: "TYPE renamed away", image: "redis:7.0", args: renamedAway([]string{"TYPE"}),
		both: do("SET", "a", "v"), want: map[string]Verdict{"a": Unchecked}, reason: "TYPE was answered by: unknown command"},
	{name: "DUMP renamed away", image: "redis:8.0", args: renamedAway([]string{"DUMP"}),
		both: commands{{"SET", "a", "v"}, {"VADD", "v", "VALUES", "2", "1", "2", "e"}}, want: map[string]Verdict{"v": Unchecked}, reason: "DUMP was answered by: unknown command"},
	{name: "MEMORY and OBJECT renamed away", why: "only sizes come from them", image: "redis:8.0", args: renamedAway([]string{"MEMORY", "OBJECT"}),
		both: append(commands{{"RPUSH", "l", "a", "b"}, {"SADD", "s", "a"}, {"ZADD", "z", "1", "a"}, {"XADD", "x", "1-1", "f", "v"}}, hashes...)},
	{name: "CONFIG, INFO commandstats and CLIENT renamed away", image: "redis:7.0", args: renamedAway([]string{"CONFIG", "CLIENT"}), both: do("SET", "a", "v")},
	{name: "one pattern of keys forbidden", image: "redis:7.0", user: "+@all ~a:*",
		both: commands{{"SET", "a:1", "v"}, {"RPUSH", "a:2", "v"}, {"SET", "b:1", "v"}, {"RPUSH", "b:2", "v"}, {"XADD", "b:3", "1-1", "f", "v"}},
		want: map[string]Verdict{"b:1": Unchecked, "b:2": Unchecked, "b:3": Unchecked}, reason: "NOPERM"},
}

var (
	long              = strings.Repeat("x", 100)
	fieldCommandNames = []string{"HPEXPIRETIME", "HPTTL", "HEXPIRETIME", "HTTL"}
	hashes            = commands{{"HSET", "h:packed", "f", "v", "g", "w"}, {"HPEXPIREAT", "h:packed", far, "FIELDS", "1", "f"}, {"HSET", "h:table", "f", long, "g", "w"}, {"HPEXPIREAT", "h:table", far, "FIELDS", "1", "f"},
		{"HSET", "h:plain", "f", "v"}, {"HSET", "h:plain table", "f", long}, {"EVAL", "for i=1,2000 do redis.call('HSET','h:large',i,string.rep('x',100)) end redis.call('HPEXPIREAT','h:large'," + far + ",'FIELDS',1,7)", "0"}}
)

func renamedAway(names []string) (args []string) {
	for _, n := range names {
		args = append(args, "--rename-command", n, "")
	}
	return args
}

// TestCauses: what could not be read is unchecked, with the true reason, and everything beside it is judged.
func TestCauses(t *testing.T) {
	t.Parallel()
	for _, tt := range causes {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source, target := servers.Standalone(t, tt.image), servers.Standalone(t, tt.image)
			for _, s := range []*servers.Server{source, target} {
				for _, c := range tt.both {
					s.Must(c...)
				}
			}
			for _, c := range tt.target {
				target.Must(c...)
			}
			url := source.URL()
			if len(tt.args) > 0 { // the data came by commands that the source has under other names
				refusing := servers.Replica(t, source, tt.args...)
				refusing.Must("REPLICAOF", "NO", "ONE") // of a replica the primary would be read
				url = refusing.URL()
			}
			if tt.user != "" {
				source.Must(append([]string{"ACL", "SETUSER", "reader", "on", ">pw"}, strings.Fields(tt.user)...)...)
				url = strings.Replace(url, "redis://", "redis://reader:pw@", 1)
			}
			r, err := Run(context.Background(), configFor(t, url, target.URL(), func(o *Config) { o.Rounds, o.Interval = 1, 0 }))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]*Finding{}
			for i := range r.Findings {
				f := &r.Findings[i]
				if got[f.Key] = f; f.Verdict != tt.want[f.Key] {
					t.Errorf("%s: %s, %q", f.Key, f.Verdict, f.Reason)
				}
				if f.Verdict == Unchecked && (f.Code != SourceReadFailed || !strings.Contains(f.Reason, tt.reason) || strings.Contains(f.Reason, "changed")) {
					t.Errorf("%s: %s, %q, want %s and %q", f.Key, f.Code, f.Reason, SourceReadFailed, tt.reason)
				}
			}
			for k, want := range tt.want {
				if got[k] == nil {
					t.Errorf("%s is the same, want %s", k, want)
				}
			}
		})
	}
}

// TestReplyThatIsCut: a server closes the connection of a client for which too much waits to be sent. That costs the verdict of the
// key whose reply it was, and of no other.
func TestReplyThatIsCut(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0", "--client-output-buffer-limit", "normal 1mb 0 0"), servers.Standalone(t, "redis:7.0")
	for _, s := range []*servers.Server{source, target} {
		fill(s, 400)
		s.Must("EVAL", `redis.call('RPUSH','cut',string.rep('x',5000000)) for i=1,40 do redis.call('RPUSH','fits',string.rep('x',300000)) end redis.call('SET','string',string.rep('x',9000000))`, "0")
	}
	r := verify(t, source, target, func(o *Config) { o.Rounds, o.Interval = 1, 0 })
	if r.Totals.Unchecked != 1 || r.Totals.Same != r.Totals.TargetKeys-1 {
		t.Errorf("%+v, %q", r.Totals, r.Reasons)
	}
	for _, f := range r.Findings {
		if f.Key != "cut" || !strings.Contains(f.Reason, "client-output-buffer-limit") || !strings.Contains(f.Reason, "1048576") {
			t.Errorf("%s: %q", f.Key, f.Reason)
		}
	}
}

// readAtOffset reads keys of a server as a migration's proof does.
func readAtOffset(t *testing.T, url string, keys ...record) ([]reading, error) {
	t.Helper()
	o := configFor(t, url, url, nil)
	s, err := newSide(t.Context(), endpoint.Source, o.Source, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	out := make([]reading, len(keys))
	link := AppliedLink{Reads: s.nodes[0].addr()}
	for left := keys; len(left) > 0; { // as the proof does, until nothing more is gained
		got, offset, err := atomicReader{s}.readAt(t.Context(), link, left)
		if err != nil {
			return nil, err
		}
		if offset <= 0 {
			t.Errorf("offset %d", offset)
		}
		var again []record
		for i := range got {
			if got[i].Err != nil && strings.Contains(got[i].Err.Error(), "not been read yet") {
				again = append(again, left[i])
				continue
			}
			for k := range keys {
				if keys[k].name == left[i].name {
					out[k] = got[i]
				}
			}
		}
		if len(again) == len(left) {
			t.Fatal("nothing was read")
		}
		left = again
	}
	return out, nil
}

// TestReadAtOffset: what is read at one offset is the same as what is read otherwise, whatever its size, and of a source that is over
// its maxmemory, which queues no commands.
func TestReadAtOffset(t *testing.T) {
	t.Parallel()
	for _, image := range []string{"redis:6.0", "redis:7.0", "redis:8.0", "valkey/valkey:8.1"} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			s := servers.Standalone(t, image)
			servers.Replica(t, s) // offsets count
			s.Must("EVAL", `local v=string.rep('x',300000) for i=1,60 do redis.call('RPUSH','big list',v) redis.call('HSET','big hash','f'..i,v) redis.call('SADD','big set',v..i) redis.call('ZADD','big zset',i,v..i) redis.call('XADD','big stream',i..'-1','f',v) end
				redis.call('SET','big string',string.rep('x',20000000)) redis.call('SET','string','v') redis.call('RPUSH','list','a') redis.call('HSET','hash','f','v') redis.call('SADD','set','a') redis.call('ZADD','zset',1,'a') redis.call('XADD','stream','1-1','f','v')`, "0")
			var keys []record
			for _, ty := range []keyspace.Type{keyspace.String, keyspace.List, keyspace.Set, keyspace.ZSet, keyspace.Hash, keyspace.Stream} {
				keys = append(keys, record{keyID: keyID{name: ty.String()}, t: ty}, record{keyID: keyID{name: "big " + ty.String()}, t: ty})
			}
			plain := make([]reading, len(keys))
			o := configFor(t, s.URL(), s.URL(), nil)
			side, err := newSide(t.Context(), endpoint.Source, o.Source, &o)
			if err != nil {
				t.Fatal(err)
			}
			defer side.close()
			names := make([]string, len(keys))
			for i := range keys {
				names[i] = keys[i].name
			}
			r := side.borrow(side.nodes[0], 0)
			if err := r.read(t.Context(), names, plain, 0); err != nil {
				t.Fatal(err)
			}
			side.giveBack(r)
			for _, over := range []bool{false, true} {
				if over {
					s.Must("CONFIG", "SET", "maxmemory", "1mb")
				}
				var got []reading
				w := watching(t, s, func() { got, err = readAtOffset(t, s.URL(), keys...) })
				if err != nil {
					t.Fatalf("over maxmemory %v: %v", over, err)
				}
				for i := range got {
					if got[i].Err != nil || got[i].FP != plain[i].FP || !got[i].present() {
						t.Errorf("over maxmemory %v: %s: %+v, and read otherwise %+v", over, keys[i].name, got[i], plain[i])
					}
				}
				if w.memory-w.before > 16<<20 {
					t.Errorf("over maxmemory %v: the server's memory rose by %d MiB", over, (w.memory-w.before)>>20)
				}
			}
		})
	}
}

// TestReadAtOffsetRefused: a key that may not be read does not cost the others their offset.
func TestReadAtOffsetRefused(t *testing.T) {
	t.Parallel()
	s := servers.Standalone(t, "redis:7.0")
	servers.Replica(t, s)
	var keys []record
	for i := range 20 {
		name := "a:" + strconv.Itoa(i)
		if i == 7 {
			name = "b:7"
		}
		s.Must("SET", name, "v")
		keys = append(keys, record{keyID: keyID{name: name}, t: keyspace.String})
	}
	s.Must("ACL", "SETUSER", "reader", "on", ">pw", "+@all", "~a:*")
	got, err := readAtOffset(t, strings.Replace(s.URL(), "redis://", "redis://reader:pw@", 1), keys...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if refused := got[i].Err != nil; refused != (i == 7) {
			t.Errorf("%s: %v", keys[i].name, got[i].Err)
		}
	}
	if got[7].Err == nil || endpoint.Code(got[7].Err) != "NOPERM" {
		t.Errorf("%v", got[7].Err)
	}
}

// TestWatchedWhileWritten: a large value that is written while it is read under WATCH is not taken for one of an instant.
func TestWatchedWhileWritten(t *testing.T) {
	t.Parallel()
	s := servers.Standalone(t, "redis:7.0")
	servers.Replica(t, s)
	s.Must("EVAL", `for i=1,40 do redis.call('RPUSH','list',string.rep('x',300000)) end`, "0")
	o := configFor(t, s.URL(), s.URL(), nil)
	side, err := newSide(t.Context(), endpoint.Source, o.Source, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer side.close()
	r := side.borrow(side.nodes[0], 0)
	defer side.giveBack(r)
	ctx, cancel := context.WithCancel(t.Context())
	stopped, writes := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for first := true; ctx.Err() == nil; first = false {
			s.Must("LSET", "list", "0", strconv.FormatInt(time.Now().UnixNano(), 10))
			if first {
				close(writes)
			}
		}
	}()
	select {
	case <-writes:
	case <-stopped:
	}
	list := []record{{keyID: keyID{name: "list"}, t: keyspace.List}}
	out, _, err := (&instantReader{reader: r}).watched(t.Context(), list)
	cancel()
	<-stopped
	if err == nil {
		t.Errorf("%+v is called the value of one instant", out)
	}
	if out, offset, err := (&instantReader{reader: r}).watched(t.Context(), list); err != nil || out[0].Err != nil || offset == 0 {
		t.Errorf("at rest: %+v, offset %d, %v", out, offset, err)
	}
}
