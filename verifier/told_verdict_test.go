package verifier

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// toldPair is a source and its target, of whose keys it is known which are the same.
type toldPair struct {
	source, target *endpointtest.Server
	odd            map[string]Verdict // keys that are not the same
}

// newToldPair makes two servers that hold keys of all types.
func newToldPair(t *testing.T, version string) *toldPair {
	p := &toldPair{endpointtest.Serve(t, version), endpointtest.Serve(t, version), map[string]Verdict{"odd": Different, "gone": Missing, "more": Extra}}
	for name, v := range map[string]*keyspace.Value{"string": stringOf("abc"), "list": valueOf(keyspace.List, 3, 10), "set": valueOf(keyspace.Set, 3, 10),
		"zset": valueOf(keyspace.ZSet, 3, 10), "hash": valueOf(keyspace.Hash, 3, 10), "stream": valueOf(keyspace.Stream, 3, 10)} {
		p.source.Put(name, v)
		p.target.Put(name, v)
	}
	p.source.Put("odd", stringOf("abc"))
	p.target.Put("odd", stringOf("abd"))
	p.source.Put("gone", stringOf("abc"))
	p.target.Put("more", stringOf("abc"))
	return p
}

// write gives a key a value, or removes it, on both sides: the target follows at once.
func (p *toldPair) write(name string, v *keyspace.Value) {
	p.source.Put(name, v)
	p.target.Put(name, v)
	p.source.Write([]string{"SET", name, "x"}, name)
}

// check says what is wrong with a report: a key that is the same may be unchecked and not different, one that is not the same may be
// unchecked and not the same, and a key may be left out only where the report says that not all were listed.
func (p *toldPair) check(r *Report) (wrong []string) {
	found := map[string]Verdict{}
	for _, f := range r.Findings {
		found[f.Key] = f.Verdict
	}
	same := int64(0)
	for _, name := range []string{"string", "list", "set", "zset", "hash", "stream"} {
		if v, ok := found[name]; ok && v != Unchecked {
			wrong = append(wrong, fmt.Sprintf("%s is the same and was found to be %s", name, v))
		} else if !ok && p.source.Get(name) != nil {
			same++
		}
	}
	for name, want := range p.odd {
		if v, ok := found[name]; v != want && v != Unchecked && (ok || len(r.Incomplete) == 0) {
			wrong = append(wrong, fmt.Sprintf("%s is %s and was found to be %q", name, want, v))
		}
	}
	if len(r.Incomplete) == 0 && r.Totals.Same != same || r.Totals.Same > 6 {
		wrong = append(wrong, fmt.Sprintf("%d keys were found to be the same, want %d", r.Totals.Same, same))
	}
	if r.Verdict == Same {
		wrong = append(wrong, "both sides were found to be the same")
	}
	return wrong
}

// commandsOf returns the commands that a server has received, cut off behind the name of a key, or behind their own name.
func (p *toldPair) commandsOf(s *endpointtest.Server) (commands []string) {
	for _, call := range s.Calls("") {
		words := strings.Fields(call)
		n := 1 + slices.IndexFunc(words, func(w string) bool { return s.Get(w) != nil || p.odd[w] != "" })
		if short := strings.Join(words[:max(n, 1)], " "); !slices.Contains(commands, short) {
			commands = append(commands, short)
		}
	}
	return commands
}

// TestNoVerdictByLuck goes through every command of a run on either side, and forces one fault at this command. Whatever happens, the
// report says nothing wrong about any key.
func TestNoVerdictByLuck(t *testing.T) {
	const version = "7.0.15"
	faults := map[string]func(p *toldPair, s *endpointtest.Server, words string){
		"loading": func(_ *toldPair, s *endpointtest.Server, words string) {
			s.Once(words, "-LOADING Redis is loading\r\n")
		},
		"hung up": func(_ *toldPair, s *endpointtest.Server, words string) { s.Once(words, endpointtest.HangUp) },
		"cut off": func(_ *toldPair, s *endpointtest.Server, words string) {
			s.Once(words, "$9\r\nabc"+endpointtest.HangUp)
		},
		"forbidden": func(_ *toldPair, s *endpointtest.Server, words string) {
			s.Always(words, "-NOPERM this user has no permissions to run the command\r\n")
		},
		"unknown": func(_ *toldPair, s *endpointtest.Server, words string) {
			s.Always(words, "-ERR unknown command 'X', with args beginning with: \r\n")
		},
		"written":  changing(func(name string) *keyspace.Value { return stringOf("other " + name) }),
		"replaced": changing(func(name string) *keyspace.Value { return valueOf(keyspace.List, len(name), 5) }),
		"deleted":  changing(func(string) *keyspace.Value { return nil }),
	}
	clean := newToldPair(t, version)
	r, err := verifyTold(t, clean.source, clean.target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if wrong := clean.check(r); len(wrong) > 0 || r.Totals != (Totals{SourceKeys: 8, TargetKeys: 8, Same: 6, Different: 1, Missing: 1, Extra: 1}) {
		t.Fatalf("without any fault: %q, %+v", wrong, r.Totals)
	}
	begun := map[string]bool{}
	var g errgroup.Group
	g.SetLimit(16) // most of the time is spent waiting before a command is repeated
	for side, of := range map[string]*endpointtest.Server{"source": clean.source, "target": clean.target} {
		for _, words := range clean.commandsOf(of) {
			for _, fault := range slices.Sorted(maps.Keys(faults)) {
				name, _, hasKey := strings.Cut(words, " ")
				switch fault {
				case "written", "replaced", "deleted":
					if !hasKey {
						continue
					}
				case "loading", "hung up", "cut off": // they concern the whole pipeline, whichever its keys are
					if begun[fault+side+name] {
						continue
					}
					begun[fault+side+name] = true
				}
				p := newToldPair(t, version)
				s := map[string]*endpointtest.Server{"source": p.source, "target": p.target}[side]
				source, target := endpointtest.Open(t, p.source.URL()), endpointtest.Open(t, p.target.URL())
				faults[fault](p, s, words)
				g.Go(func() error {
					r, err := verifyDeployments(t, source, target, nil)
					if err == nil { // the run could begin
						if wrong := p.check(r); len(wrong) > 0 {
							t.Errorf("%s at %s of the %s: %s\n%s", fault, words, side, strings.Join(wrong, ", "), strings.Join(r.Reasons, " "))
						}
					}
					return nil
				})
			}
		}
	}
	_ = g.Wait()
}

// changing writes the key that a command names, once, just before the command.
func changing(to func(name string) *keyspace.Value) func(*toldPair, *endpointtest.Server, string) {
	return func(p *toldPair, s *endpointtest.Server, words string) {
		name := words[strings.LastIndex(words, " ")+1:]
		if p.odd[name] != "" {
			return
		}
		var once sync.Once
		s.On(words, func([]string) string {
			once.Do(func() { p.write(name, to(name)) })
			return endpointtest.Usual
		})
	}
}
