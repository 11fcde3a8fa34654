package libraries

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"surecut/internal/resp"
	"surecut/migrator/internal/target"
)

// memory is the nodes of a target, with the code of their libraries by name.
type memory struct {
	nodes    map[string]map[string]string
	old      bool  // it has no functions
	unlisted error // reply to FUNCTION LIST
	fails    error // what the next load ends with, which the node has not done
	log      []string
}

func (m *memory) HasFunctions() bool { return !m.old }

func (m *memory) EachPrimary(_ context.Context, f func(addr string) error) error {
	for _, addr := range slices.Sorted(maps.Keys(m.nodes)) {
		if err := f(addr); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Libraries(_ context.Context, addr string) (map[string]string, error) {
	return maps.Clone(m.nodes[addr]), m.unlisted
}

func (m *memory) LoadLibrary(_ context.Context, addr, code string) error {
	if m.fails != nil {
		return m.fails
	}
	name, _ := nameOf(code)
	m.log = append(m.log, addr+" loads "+name)
	m.nodes[addr][name] = code
	return nil
}

func (m *memory) DeleteLibrary(_ context.Context, addr, name string) error {
	m.log = append(m.log, addr+" deletes "+name)
	delete(m.nodes[addr], name)
	return nil
}

// run is the set of one run. saved holds what the next one goes on with.
func (m *memory) run(t *testing.T, saved *json.RawMessage, change ...func(*Config)) *Set {
	t.Helper()
	cfg := Config{Target: m, Save: func(data json.RawMessage) error { *saved = data; return nil }, Shard: func(link string) string { return "shard " + link }, Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg, *saved)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (m *memory) holds(t *testing.T, why, want string) {
	t.Helper()
	var all []string
	for _, addr := range slices.Sorted(maps.Keys(m.nodes)) {
		for _, name := range slices.Sorted(maps.Keys(m.nodes[addr])) {
			all = append(all, addr+":"+m.nodes[addr][name][len("#!lua name="):])
		}
	}
	if got := strings.Join(all, " "); got != want {
		t.Errorf("the target holds %q, want %q (%s)", got, want, why)
	}
}

func code(name string, version int) string { return fmt.Sprintf("#!lua name=%s\n%d", name, version) }

func two() *memory { return &memory{nodes: map[string]map[string]string{"x": {}, "y": {}}} }

// must ends a test where something fails that must not.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestKilledWhileLoading: a run that is killed at any instant leaves behind what it has loaded as its own.
func TestKilledWhileLoading(t *testing.T) {
	var saved json.RawMessage
	m, killed := two(), errors.New("killed")
	first := m.run(t, &saved)
	must(t, first.Begin(t.Context()))
	m.fails = killed
	if err := first.Snapshot(t.Context(), "0", []string{code("l", 1)}); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	m.fails, m.nodes["x"]["l"] = nil, code("l", 1) // the command was on its way
	second := m.run(t, &saved)
	must(t, second.Snapshot(t.Context(), "0", []string{code("l", 2)}))
	m.holds(t, "a newer snapshot", "x:l\n2 y:l\n2")
	must(t, second.Apply(t.Context(), "0", []string{"FUNCTION", "FLUSH"}))
	m.holds(t, "flushed", "")
	if strings.Contains(string(saved), "codes\":{\"") {
		t.Errorf("code that nobody has any more is kept: %s", saved)
	}
}

// TestAppliedAgain: a stream that is applied once more from an earlier command on ends as it has before.
func TestAppliedAgain(t *testing.T) {
	stream := [][]string{{"FUNCTION", "LOAD", code("l", 1)}, {"function", "load", "replace", code("l", 2)}, {"FUNCTION", "LOAD", code("m", 1)}, {"FUNCTION", "DELETE", "m"}}
	for from := range stream {
		var saved json.RawMessage
		m := two()
		for _, part := range [][][]string{stream, stream[from:]} {
			s := m.run(t, &saved)
			for _, args := range part {
				must(t, s.Apply(t.Context(), "0", args))
			}
		}
		m.holds(t, fmt.Sprint("from ", from), "x:l\n2 y:l\n2")
	}
}

// TestNothingIsAskedInVain: where the source has no functions, the target is not asked for any.
func TestNothingIsAskedInVain(t *testing.T) {
	var saved json.RawMessage
	m := two()
	m.unlisted = errors.New("nobody is to ask")
	s := m.run(t, &saved)
	must(t, s.Snapshot(t.Context(), "0", nil), s.Apply(t.Context(), "0", []string{"FUNCTION", "FLUSH"}), s.Look(t.Context()))
	if p := s.Problems(); len(p) > 0 {
		t.Errorf("problems %+v", p)
	}
}

// TestUnlisted: nothing is loaded over what is not known.
func TestUnlisted(t *testing.T) {
	var saved json.RawMessage
	m := two()
	m.nodes["x"]["l"] = code("l", 0)
	m.unlisted = &target.RefusedError{Addr: "x", Reply: resp.Error("ERR unknown command 'FUNCTION'")}
	s := m.run(t, &saved)
	must(t, s.Begin(t.Context()), s.Snapshot(t.Context(), "0", []string{code("l", 1)}))
	m.holds(t, "it may be in use", "x:l\n0")
	if p := s.Problems(); len(p) != 2 || !strings.Contains(p[0].Reason, "does not list") || p[0].Shard != "shard 0" {
		t.Errorf("problems %+v", p)
	}
}

// TestAdopted: what a surecut has loaded that did not remember it is kept as every shard's, until none has it.
func TestAdopted(t *testing.T) {
	var saved json.RawMessage
	m := two()
	m.nodes["x"]["l"], m.nodes["y"]["l"] = code("l", 1), code("l", 1)
	s := m.run(t, &saved)
	must(t, s.Adopt(t.Context(), []string{"0", "1"}), s.Apply(t.Context(), "0", []string{"FUNCTION", "DELETE", "l"}))
	m.holds(t, "the other shard has it", "x:l\n1 y:l\n1")
	s = m.run(t, &saved)
	must(t, s.Apply(t.Context(), "1", []string{"FUNCTION", "DELETE", "l"}))
	m.holds(t, "no shard has it", "")
}

// TestUnreadable: what cannot be read changes nothing, and is an error that can be told from others.
func TestUnreadable(t *testing.T) {
	for _, args := range [][]string{{"FUNCTION", "LOAD", "return 1"}, {"FUNCTION", "LOAD", "#!lua\nname=l"}, {"FUNCTION", "RESTORE", "short"}, {"FUNCTION", "MERGE", "x"}, {"FUNCTION", "DELETE"}} {
		var saved json.RawMessage
		m := two()
		s := m.run(t, &saved)
		must(t, s.Snapshot(t.Context(), "0", []string{code("l", 1)}))
		if err := s.Apply(t.Context(), "0", args); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%q: %v", args, err)
		}
		m.holds(t, fmt.Sprint(args), "x:l\n1 y:l\n1")
	}
}

func TestNameOf(t *testing.T) {
	for first, want := range map[string]string{
		"#!lua name=mylib": "mylib", "#!LUA NAME=mylib ": "mylib", `#!lua name="mylib"`: "mylib", "#!js api_version=1.0 name=x": "x", "#!lua": "", "lua name=l": "", "#!lua name=": "",
	} {
		if got, err := nameOf(first + "\ncode"); got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", first, got, err)
		}
	}
}

// TestVersionsAreBounded: a library that changes all the time does not make the state grow.
func TestVersionsAreBounded(t *testing.T) {
	var saved json.RawMessage
	s := two().run(t, &saved)
	for i := range 3 * mostVersions {
		must(t, s.Apply(t.Context(), "0", []string{"FUNCTION", "LOAD", code("l", i)}))
	}
	if n := len(s.state.Brought["l"]); n != mostVersions || len(s.state.Codes) != 1 {
		t.Errorf("%d versions and %d codes are kept", n, len(s.state.Codes))
	}
}
