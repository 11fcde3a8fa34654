package compat

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"surecut/internal/profile"
)

var update = flag.Bool("update", false, "write the expected findings of the corpus again")

// workload is one file of testdata/corpus: calls of a class, what each kind of target has against them, and calls of the
// same class that none has anything against (Clean), or that a cluster has nothing against (CleanCluster).
type workload struct {
	Class        string              `yaml:"class"`
	Since        string              `yaml:"since,omitempty"`  // first version that knows the commands
	Hidden       bool                `yaml:"hidden,omitempty"` // MONITOR does not show the commands
	Workload     [][]string          `yaml:"workload,flow"`
	Clean        [][]string          `yaml:"clean,flow"`
	CleanCluster [][]string          `yaml:"clean_cluster,omitempty,flow"`
	Expect       map[string][]string `yaml:"expect"` // by profile: "MGET cross-slot block"

	name string
}

var kindsOfTargets = []string{"alibaba-proxy", "cluster", "codis", "tencent-proxy-2022", "tencent-proxy-2026", "twemproxy"}

func corpus(t testing.TB) []workload {
	t.Helper()
	paths, err := filepath.Glob("testdata/corpus/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	var all []workload
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		w := workload{name: strings.TrimSuffix(filepath.Base(path), ".yaml")}
		if err := yaml.Unmarshal(text, &w); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, w)
	}
	return all
}

// feed gives calls to a tally as MONITOR would show them. "@2" before a call names its client, "lua" the script before it.
func feed(ta *Tally, calls [][]string) {
	e := ta.Evidence(FromCapture, "corpus")
	dbs := map[string]int{}
	for i, words := range calls {
		c := Call{At: time.Unix(1_700_000_000+int64(i), 0), Stream: "s", Client: "10.0.0.1:5000"}
		switch {
		case words[0] == "lua":
			c.Lua, words = true, words[1:]
		case words[0][0] == '@':
			c.Client, words = "10.0.0."+words[0][1:]+":5000", words[1:]
		}
		for _, w := range words {
			c.Args = append(c.Args, []byte(w))
		}
		c.DB = dbs[c.Client]
		ta.Add(e, c)
		if words[0] == "SELECT" && !c.Lua {
			dbs[c.Client], _ = strconv.Atoi(words[1])
		}
	}
}

func judgeCalls(t testing.TB, kind, version string, calls [][]string) *Result {
	t.Helper()
	p, err := profile.Get(kind)
	if err != nil {
		t.Fatal(err)
	}
	o := Config{Profile: p, Tag: "{}"}
	if version != "" {
		if o.Version, o.Valkey, err = ParseVersion(version); err != nil {
			t.Fatal(err)
		}
	}
	ta := NewTally(o)
	feed(ta, calls)
	return ta.Result()
}

func shortFindings(r *Result) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s %s %s", f.Command, f.Rule, f.Level))
	}
	slices.Sort(out)
	return out
}

// TestCorpus: what is found in each workload, for each kind of target, is what is written beside it, and in clean ones
// nothing is found. What is written is held against real servers by TestCorpusOnServers.
func TestCorpus(t *testing.T) {
	for _, w := range corpus(t) {
		got := map[string][]string{}
		for _, kind := range kindsOfTargets {
			r := judgeCalls(t, kind, "", w.Workload)
			got[kind] = shortFindings(r)
			if !*update && !slices.Equal(got[kind], w.Expect[kind]) {
				t.Errorf("%s on %s:\n%s\nwant\n%s", w.name, kind, strings.Join(got[kind], "\n"), strings.Join(w.Expect[kind], "\n"))
			}
			clean := w.Clean
			if kind == "cluster" {
				clean = append(slices.Clone(clean), w.CleanCluster...)
			}
			if r := judgeCalls(t, kind, w.Since, clean); len(r.Findings) > 0 || r.Verdict != Compatible {
				t.Errorf("%s, clean on %s: verdict %s, %v", w.name, kind, r.Verdict, shortFindings(r))
			}
		}
		if *update {
			rewriteExpectations(t, w, got)
		}
	}
}

// rewriteExpectations replaces what stands behind "expect:" up to the next key.
func rewriteExpectations(t *testing.T, w workload, got map[string][]string) {
	t.Helper()
	path := filepath.Join("testdata/corpus", w.name+".yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), "\nexpect:")
	var b strings.Builder
	fmt.Fprintln(&b, strings.TrimRight(head, "\n"))
	fmt.Fprintln(&b, "expect:")
	for _, kind := range kindsOfTargets {
		fmt.Fprintf(&b, "  %s:\n", kind)
		for _, line := range got[kind] {
			fmt.Fprintf(&b, "    - %s\n", line)
		}
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
