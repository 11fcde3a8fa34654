package surecut

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"surecut/migrator"
	"surecut/verifier"
)

// freezer is what a migration offers to whoever compares: in this process, or over the socket of its state directory.
type freezer[F verifier.Frame] interface {
	LinkInfos() []migrator.LinkInfo
	Applied(ctx context.Context, link int) (migrator.Applied, error)
	Freeze(ctx context.Context, link int) (F, error)
}

// Feeding lets a verification stop a migration of this process for moments, so that keys are compared at one offset of the source: it is the
// Config.Applier for it.
func Feeding(m *migrator.Migration) verifier.Applier { return applier[*migrator.Frame]{m: m} }

// FeedingElsewhere is Feeding for a migration of another process on this machine. names holds what its servers are called here, where
// that is not as it calls them.
func FeedingElsewhere(m *migrator.Attached, names map[string]string) verifier.Applier {
	return applier[*migrator.RemoteFrame]{m: m, names: names}
}

// applier lets the verifier stop a migration for a moment.
type applier[F verifier.Frame] struct {
	m     freezer[F]
	names map[string]string // addresses of the migration's servers as this run names them, where it names them otherwise
}

func (a applier[F]) Links() []verifier.AppliedLink {
	var links []verifier.AppliedLink
	for _, l := range a.m.LinkInfos() {
		links = append(links, verifier.AppliedLink{Shard: a.named(l.Shard), Reads: a.named(l.Reads), Slots: l.Slots})
	}
	return links
}

func (a applier[F]) named(addr string) string { return cmp.Or(a.names[addr], addr) }

func (a applier[F]) Applied(ctx context.Context, link int) (verifier.Position, error) {
	at, err := a.m.Applied(ctx, link)
	return verifier.Position{ReplID: at.ReplID, Offset: at.Offset}, err
}

func (a applier[F]) Freeze(ctx context.Context, link int) (verifier.Frame, error) {
	f, err := a.m.Freeze(ctx, link)
	if errors.Is(err, migrator.ErrLags) {
		return nil, fmt.Errorf("%w (%w)", verifier.ErrLags, err)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}
