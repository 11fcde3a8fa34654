package main

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
