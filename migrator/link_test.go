package migrator

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/scope"
)

// newTestLink is a link without servers.
func newTestLink(t *testing.T) *link {
	t.Helper()
	m := &Migration{cfg: DefaultConfig(), state: &state{Lanes: 3, Links: []linkState{{Name: "0"}}, TargetWasEmpty: true}}
	m.cfg.Sides.Source = &endpoint.Deployment{}
	m.target = &target{facts: facts{dbs: keyspace.Databases{Home: -1}, number: 80000, dialect: command.DialectOf(80000, 0), held: command.DialectOf(60000, 0), can: abilities{transactions: true, processes: true, placement: true, nodes: true, messages: true, ends: true}}, d: &endpoint.Deployment{}, id: "id", bytes: limiter(0), ops: limiter(0), retryFor: time.Second, lanes: 3}
	m.target.way = nodeByNode{m.target}
	m.target.expiring = newExpiring()
	l := &link{m: m, scope: scope.New(keyspace.Filter{}.To(m.target.dbs), endpoint.Shard{}, &endpoint.Deployment{}), name: "0", st: &m.state.Links[0], log: slogDiscard(), positions: newPositions(), failed: make(chan error, 1), source: reread.NewReader(&endpoint.Deployment{}, func() string { return "" }, 0, nil),
		clock: reread.NewClock(nil, nil), shard: receive.NewShard(endpoint.Shard{}, "", receive.ShardConfig{}), receiver: &receive.Receiver{}}
	l.ledger = ledger.New(l.log, &l.scope.Filter, l.shard.Primary, &m.problems, ledger.Counters{})
	l.standing = standing{m, l.st}
	m.links = []*link{l}
	var err error
	dir := t.TempDir()
	hold(t, l, ledger.NeverHeld)
	if l.doubts, err = openDoubts(dir); err != nil {
		t.Fatal(err)
	}
	if l.scripts, err = openScripts(filepath.Join(dir, "scripts")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.doubts.close(); l.scripts.close() })
	return l
}

// hold gives a link expiries in a state, and with no key on the list.
func hold(t *testing.T, l *link, state ledger.HeldState) {
	t.Helper()
	l.expiries = ledger.NewExpiries(state)
	if err := l.expiries.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.expiries.Close() })
}

func newTestLane(l *link, id int) *lane { return newLane(l.streamConfig(), id, l.newWriter()) }

func newTestDispatcher(l *link, cp *checkpoint) *dispatcher {
	lanes := make([]*lane, 3)
	for i := range lanes {
		lanes[i] = newTestLane(l, i)
	}
	if cp == nil {
		cp = &checkpoint{}
	}
	return newDispatcher(l.streamConfig(), lanes, nil, cp)
}

func slogDiscard() *slog.Logger { return slog.New(slog.DiscardHandler) }
