package migrator

import (
	"log/slog"
	"path/filepath"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/spool"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/scope"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target/targettest"
)

// newTestLink is a link without servers.
func newTestLink(t *testing.T) *link {
	t.Helper()
	m := &Migration{cfg: DefaultConfig(), state: &state{Lanes: 3, Links: []*linkState{{Name: "0"}}, TargetWasEmpty: true}}
	m.cfg.Sides.Source = &endpoint.Deployment{}
	m.target = targettest.New().Target
	l := &link{m: m, scope: scope.New(keyspace.Filter{}.To(m.target.DBs), endpoint.Shard{}, &endpoint.Deployment{}), name: "0", st: m.state.Links[0], log: slogDiscard(), positions: stream.NewPositions(), failed: make(chan error, 1), source: reread.NewReader(&endpoint.Deployment{}, func() string { return "" }, 0, nil),
		clock: reread.NewClock(nil, nil), shard: receive.NewShard(endpoint.Shard{}, "", receive.ShardConfig{})}
	l.problems = &ledger.Problems{}
	m.problems = []*ledger.Problems{l.problems}
	l.ledger = ledger.New(l.log, &l.scope.Filter, l.shard.Primary, l.problems, ledger.Counters{})
	l.standing = standing{m, l.st}
	l.records.l, l.records.checkpoints, l.reach.l = l, m.target.NewCheckpoints("0"), l
	l.replica = &replica{l: l, receiver: &receive.Receiver{}}
	l.origin = l.replica
	m.links = []*link{l}
	var err error
	dir := t.TempDir()
	l.expiries = ledger.NewExpiries(ledger.NeverHeld)
	if err := l.expiries.Open(dir); err != nil {
		t.Fatal(err)
	}
	if l.doubts, err = stream.OpenDoubts(dir); err != nil {
		t.Fatal(err)
	}
	if l.scripts, err = stream.OpenScripts(filepath.Join(dir, "scripts")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.expiries.Close(); l.doubts.Close(); l.scripts.Close() })
	return l
}

func slogDiscard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// emptySpool is a spool that begins at offset 100.
func emptySpool(t *testing.T) *spool.Log {
	t.Helper()
	log, err := spool.Open(t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	if err := log.Start("id", 100); err != nil {
		t.Fatal(err)
	}
	return log
}
