package verifier

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// TestRunTold: a whole run, as whoever imports the package sees it.
func TestRunTold(t *testing.T) {
	p := newToldPair(t, "7.0.15")
	c := toldConfig(t)
	c.Rounds, c.Interval = 1, 0
	c.Source, c.Target = endpointtest.Open(t, p.source.URL()), endpointtest.Open(t, p.target.URL())
	var mu sync.Mutex
	var seen []Progress
	c.Progress = func(now Progress) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, now)
	}
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if wrong := p.check(r); len(wrong) > 0 || r.Verdict != Different || r.Writes.Clients != ClientsNone || r.Proof != ProofRounds {
		t.Errorf("%q, %s, %+v, %s", wrong, r.Verdict, r.Writes, r.Proof)
	}
	phases := []Phase{PhaseEnumerate, PhaseJoin, PhaseResolve, PhaseLocate, PhaseDone}
	at := 0
	for _, now := range seen {
		i := slices.Index(phases, now.Phase)
		if i < at || now.SourceKeys > now.SourceTotal || now.TargetKeys > now.TargetTotal {
			t.Errorf("after %s comes %+v", phases[at], now)
		}
		at = max(at, i)
	}
	if last := seen[len(seen)-1]; last.Phase != PhaseDone || last.SourceKeys != 8 || last.TargetTotal != 8 {
		t.Errorf("in the end %+v", last)
	}

	// What differs may only be late: the target need not have all that the source was written before. What agrees does.
	if text := strings.Join(r.Reasons, " "); !strings.Contains(text, "assumes that nothing is still on its way to the target") {
		t.Errorf("what the verdict rests on is not said: %s", text)
	}
	c.Target = endpointtest.Open(t, p.source.URL())
	if r, err := Run(t.Context(), c); err != nil || r.Verdict != Same || r.Proof != ProofOffset {
		t.Errorf("both sides at rest and the same: %+v, %v", r, err)
	}
	c.Target = endpointtest.Open(t, p.target.URL())

	over := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	p.target.On("SCAN", func([]string) string { cancel(over); return endpointtest.Usual })
	if r, err := Run(ctx, c); !errors.Is(err, over) {
		t.Errorf("an interrupted run: %+v, %v", r, err)
	}
}

// TestConfigSaysWhatIsWrong: all at once, each by its field.
func TestConfigSaysWhatIsWrong(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	c.Depth, c.ReadFrom, c.Rounds, c.Interval, c.Workers, c.TTLTolerance, c.BigValue, c.Silence, c.MaxFindings = "deep", "anyone", 0, -1, 33, -1, 1, 1, 0
	err := c.Validate()
	for _, field := range []string{"Depth", "ReadFrom", "Rounds", "Interval", "Workers", "TTLTolerance", "BigValue", "Silence", "MaxFindings"} {
		if err == nil || !strings.Contains(err.Error(), "."+field+" ") {
			t.Errorf("%s is not named: %v", field, err)
		}
	}
}

// TestVectorsDiffer: of a vector set, too, the first place and the number of places are told.
func TestVectorsDiffer(t *testing.T) {
	set := func(elements ...keyspace.VectorElement) *keyspace.Value {
		return &keyspace.Value{Type: keyspace.Module, Vectors: elements}
	}
	e := func(name, vector, attributes string) keyspace.VectorElement {
		return keyspace.VectorElement{Name: []byte(name), Vector: []byte(vector), Attributes: []byte(attributes), Scale: 1}
	}
	scaled := e("a", "v", "")
	scaled.Scale = 2
	for _, tt := range []struct {
		source, target *keyspace.Value
		says           string
		places         int
	}{
		{set(e("a", "v", "")), set(e("a", "v", "")), "", 0},
		{set(e("a", "v", "")), set(e("a", "w", "")), "the vector of element a differs", 1},
		{set(e("a", "v", "")), set(scaled), "the vector of element a differs", 1},
		{set(e("a", "v", "x")), set(e("a", "v", "y")), "the attributes of element a differ", 1},
		{set(e("a", "v", ""), e("b", "v", "")), set(e("b", "v", "")), "element a is missing on the target", 1},
		{set(e("b", "v", "")), set(e("c", "v", ""), e("a", "v", "")), "element b is missing on the target, and 2 more", 3},
	} {
		if d := compareValues(values{tt.source, tt.target, nil}); d.text() != tt.says || d.places != tt.places {
			t.Errorf("%q in %d places, want %q in %d", d.text(), d.places, tt.says, tt.places)
		}
	}
}
