package verifier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// toldMigration feeds the target of a pair: it has applied everything except while it is frozen, and except for what lags.
type toldMigration struct {
	p      *toldPair
	names  []string // of the keys that it copies
	fails  error    // of Freeze
	apply  error    // of ApplyTo
	ahead  []keyspace.Key
	offset int64 // that it says to have applied; 0: that of the source

	mu     sync.Mutex
	frozen bool // guarded by mu
}

func (m *toldMigration) Links() []AppliedLink {
	return []AppliedLink{{Shard: m.p.source.Addr, Reads: m.p.source.Addr}}
}

func (m *toldMigration) Applied(context.Context, int) (Position, error) {
	if m.offset != 0 {
		return Position{m.p.source.ReplID(), m.offset}, nil
	}
	m.follow()
	return Position{m.p.source.ReplID(), m.p.source.Offset()}, nil
}

// follow copies the keys unless the link is frozen.
func (m *toldMigration) follow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.frozen {
		m.copy()
	}
}

func (m *toldMigration) copy() {
	for _, name := range m.names {
		m.p.target.Put(name, m.p.source.Get(name))
	}
}

func (m *toldMigration) Freeze(context.Context, int) (Frame, error) {
	if m.fails != nil {
		return nil, m.fails
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = true
	return m, nil
}

func (m *toldMigration) ApplyTo(_ context.Context, offset int64) ([]keyspace.Key, error) {
	if m.apply != nil {
		return nil, m.apply
	}
	if at := m.p.source.Offset(); offset != at {
		return nil, fmt.Errorf("offset %d, and the source is at %d", offset, at)
	}
	m.copy()
	return m.ahead, nil
}

func (m *toldMigration) Release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = false
}

// TestProvesAtOffset: beside a migration, keys that are written all the time get a verdict, too, and what lags is never taken for a
// difference.
func TestProvesAtOffset(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		change    func(m *toldMigration)
		hot       Verdict // of a key that is written between any two readings; "": the same
		odd       Verdict // of one that is not the same
		proof     Proof
		says      string
	}{
		{"caught up", "", func(*toldMigration) {}, "", Different, ProofOffset, ""},
		{"its stream cannot be stopped", "then it is not known what a key holds at one offset", func(m *toldMigration) { m.fails = errors.New("no") }, Unchecked, Different, ProofRounds, "no."},
		{"it lags", "", func(m *toldMigration) { m.offset, m.fails = 1, ErrLags }, Unchecked, Unchecked, ProofOffset, "caught up"},
		{"it cannot be brought to an offset", "", func(m *toldMigration) { m.apply = errors.New("stuck") }, Unchecked, Different, ProofRounds, "stuck"},
		{"keys that it has copied as of later", "they are not compared at that offset", func(m *toldMigration) { m.ahead = []keyspace.Key{{Name: "hot"}} }, Unchecked, Different, ProofOffset, ""},
	} {
		p := newToldPair(t, "7.0.15")
		m := &toldMigration{p: p, names: []string{"hot"}}
		p.source.Put("hot", stringOf("0"))
		p.target.Put("hot", stringOf("0"))
		n := 0
		p.source.On("TYPE hot", func([]string) string {
			n++
			p.source.Put("hot", stringOf(fmt.Sprint(n)))
			p.source.Write([]string{"SET", "hot", fmt.Sprint(n)}, "hot")
			return endpointtest.Usual
		})
		tt.change(m)
		r, err := verifyTold(t, p.source, p.target, func(c *Config) { c.Applier = m })
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		found := map[string]Verdict{}
		for _, f := range r.Findings {
			found[f.Key] = f.Verdict
		}
		if text := strings.Join(r.Reasons, " "); found["hot"] != tt.hot || found["odd"] != tt.odd || r.Proof != tt.proof || !strings.Contains(text, tt.says) {
			t.Errorf("%s: hot %q, odd %q, %s: %s\nwant %q, %q, %s, %q (%s)", tt.name, found["hot"], found["odd"], r.Proof, text, tt.hot, tt.odd, tt.proof, tt.says, tt.why)
		}
	}
}
