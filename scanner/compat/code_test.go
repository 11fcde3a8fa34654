package compat

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"surecut/internal/profile"
)

// TestCode: what is found in a small application of each language, and that single keys, tagged keys, comments and other
// libraries' methods are not.
func TestCode(t *testing.T) {
	for _, tt := range []struct {
		dir, kind string
		want      []string // command level certainty templates where
	}{
		{"python", "cluster", []string{
			"BLPOP block possible [jobs:high jobs:low] [app.py:35]",
			"DEL block possible [] [app.py:43]",
			"EVAL latent proven [last:*] [app.py:8]",
			"EXEC block possible [] [app.py:29]",
			"MGET block proven [user:*:name] [app.py:14]",
			"RENAME block possible [] [app.py:30]",
			"SCAN silent proven [] [app.py:45]",
			"SELECT block proven [] [app.py:4]",
			"SUNION block proven [returned:* sold:*] [later.py:5]",
			"SUNIONSTORE block proven [all some] [app.py:44]",
			"redis-py redis.Redis block proven [] [app.py:4]",
		}},
		{"go", "cluster", []string{
			"EVAL latent proven [lock:*] [take.lua:5]",
			"EXEC block possible [] [store.go:18]",
			"MGET block proven [cart:* user:*] [store.go:14]",
			"PUBLISH cost proven [] [store.go:31]",
			"RENAME block proven [draft live] [built.go:10]",
			"SUNION block proven [returned sold] [built.go:11]",
		}},
		{"java", "cluster", []string{
			"Jedis new JedisPool block proven [] [Cart.java:8]",
			"MGET block proven [a b] [Cart.java:20]",
			"PUBLISH cost proven [] [Cart.java:21]",
			"RENAME block proven [cart:* cart:old:*] [Cart.java:15]",
			"SUNIONSTORE block proven [cart:* cart:all] [Cart.java:13]",
		}},
		{"js", "cluster", []string{
			"EXEC block possible [] [index.ts:7]",
			"KEYS silent proven [] [index.ts:13]",
			"MGET block proven [hits:* misses:*] [index.ts:6]",
			"PSUBSCRIBE silent proven [] [views.js:3]",
			"RENAME block proven [draft:* live:*] [views.js:4]",
			"SELECT block proven [] [index.ts:3]",
			"ioredis new Redis block proven [] [index.ts:3]",
		}},
		{"php", "cluster", []string{
			"BITOP block possible [AND b:* b:all] [queue.php:8]",
			"MGET block proven [seen:* sold:*] [report.php:6]",
			"Predis new Predis\\Client block proven [] [queue.php:2]",
			"RPOPLPUSH block proven [queue:doing queue:todo] [queue.php:6]",
			"SELECT block proven [] [queue.php:2 queue.php:5]",
			"phpredis new Redis block proven [] [queue.php:3]",
		}},
		{"ruby", "cluster", []string{
			"DEL block proven [job:* lock:*] [worker.rb:3]",
			"EXEC block possible [] [cache.rb:11]",
			"MGET block proven [post:*:body post:*:title] [cache.rb:10]",
			"RENAME block proven [draft:* post:*] [cache.rb:9]",
			"redis-rb Redis.new block proven [] [cache.rb:5]",
		}},
		{"go", "twemproxy", []string{
			"EVAL silent proven [lock:*] [take.lua:5]",
			"MGET info proven [cart:* user:*] [store.go:14]",
			"MULTI block proven [] [store.go:18]",
			"PUBLISH block proven [] [store.go:31]",
			"RENAME block proven [draft live] [built.go:10]",
			"SUNION silent proven [returned sold] [built.go:11]",
		}},
	} {
		p, err := profile.Get(tt.kind)
		if err != nil {
			t.Fatal(err)
		}
		ta := NewTally(Config{Profile: p})
		if err := ta.Code(t.Context(), filepath.Join("testdata/code", tt.dir)); err != nil {
			t.Fatal(err)
		}
		r := ta.Result()
		var got []string
		for _, f := range r.Findings {
			slices.Sort(f.KeyTemplates)
			got = append(got, fmt.Sprint(f.Command, " ", f.Level, " ", f.Certainty, " ", f.KeyTemplates, " ", f.Clients))
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s for %s:\n%s\nwant\n%s", tt.dir, tt.kind, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

func TestKeyOf(t *testing.T) {
	for _, tt := range []struct{ lang, arg, want string }{
		{"Go", `"user:" + id`, "user:*"},
		{"Go", `id + ":name"`, "*:name"},
		{"Go", `fmt.Sprintf("user:%d:%s", id, name)`, "user:*:*"},
		{"Go", "`raw:` + x", "raw:*"},
		{"Go", `key`, ""},
		{"Go", `key(id)`, ""},
		{"Python", `f"user:{uid}:x"`, "user:*:x"},
		{"Python", `f"{{user:{uid}}}:x"`, "{user:*}:x"},
		{"Python", `"user:{}:{:d}".format(a, b)`, "user:*:*"},
		{"Python", `"user:%s" % uid`, "user:*"},
		{"Python", `b"raw"`, "raw"},
		{"Python", `'{user:1}:x'`, "{user:1}:x"},
		{"JavaScript", "`user:${id}:x`", "user:*:x"},
		{"JavaScript", "`{${id}}:x`", "{*}:x"},
		{"Ruby", `"user:#{id}"`, "user:*"},
		{"Ruby", `'user:#{id}'`, "user:#{id}"},
		{"PHP", `"user:$id:x"`, "user:*:x"},
		{"PHP", `"user:{$row['id']}"`, "user:*"},
		{"PHP", `'user:' . $id`, "user:*"},
		{"Java", `String.format("user:%d", id)`, "user:*"},
		{"Java", `"a" + b + "c"`, "a*c"},
	} {
		var lang *language
		for _, l := range knownLibraries().Languages {
			if l.Name == tt.lang {
				lang = l
			}
		}
		got, ok := lang.keyOf(tt.arg)
		if !ok {
			got = ""
		}
		if got != tt.want {
			t.Errorf("%s %s = %q, want %q", tt.lang, tt.arg, got, tt.want)
		}
	}
}

func TestCodeRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.txt")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir: "contains no source code", file: "is not a directory", filepath.Join(dir, "none"): "no such file"} {
		if err := newClusterTally(t).Code(t.Context(), path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", path, err, want)
		}
	}
}

// FuzzCode: no text makes it fall over, in any language.
func FuzzCode(f *testing.F) {
	paths, _ := filepath.Glob("testdata/code/*/*")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, _ := profile.Get("cluster")
		ta := NewTally(Config{Profile: p})
		c := &codeScan{t: ta, e: ta.Evidence(FromCode, "x"), seen: map[string]int{}}
		for _, lang := range knownLibraries().Languages {
			file := &codeFile{c: c, name: "x", source: lex(text, lang)}
			if len(file.code) != len(text) {
				t.Fatal("blanking changed the length")
			}
			file.scan()
		}
		c.lua(text, "x", 0)
	})
}
