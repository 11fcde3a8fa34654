package migrator

import (
	"context"
	"errors"
	"time"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/migrator/internal/libraries"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// linkStream is the link as its stream knows it.
type linkStream struct{ l *link }

var _ stream.Link = linkStream{}

func (s linkStream) NearlyCaughtUp() bool       { return s.l.nearlyCaughtUp() }
func (s linkStream) Reserve(offset int64) error { return s.l.reach.reserve(offset) }
func (s linkStream) SaveState() error           { return s.l.m.saveState() }
func (s linkStream) SaveCheckpoint(ctx context.Context, at stream.Mark) error {
	return s.l.records.save(ctx, at)
}
func (s linkStream) RememberWitnesses(ws []target.Witness) { s.l.m.rememberWitnesses(ws) }
func (s linkStream) Fail(err error)                        { s.l.fail(err) }
func (s linkStream) FileEnd() int64                        { return s.l.file.end() }

// Config returns what the link's stream needs.
func (l *link) streamConfig() *stream.Config {
	cfg := &stream.Config{
		Name: l.name, Target: l.m.target, Scope: &l.scope, Ledger: l.ledger, Expiries: l.expiries, Doubts: l.doubts, Scripts: l.scripts, Libraries: l.libraries(),
		Positions: l.positions, Source: l.source, Clock: l.clock, Writer: l.writer, Moved: &l.moved, Link: linkStream{l}, Log: l.log,
		HoldExpiry: l.m.cfg.HoldExpiry, RetryFor: l.m.cfg.RetryFor,
		File: l.file != nil, Codis: len(l.m.cfg.Sides.Source.Proxies()) > 0, Alone: len(l.m.live()) == 1,
		TargetWasEmpty: l.m.state.TargetWasEmpty, CannotCopy: l.cannotCopy(),
	}
	if l.file == nil {
		cfg.Describe = l.describe
	}
	return cfg
}

// describe asks the source for a command that surecut does not know by this name.
func (l *link) describe(name string) (*command.Spec, error) {
	ctx, cancel := context.WithTimeout(context.Background(), endpoint.Silence)
	defer cancel()
	return l.source.Describe(ctx, name)
}

// libraries returns the function libraries of the target, or nil where only certain keys are selected, which no library is.
func (l *link) libraries() stream.Libraries {
	if len(l.m.cfg.Filter.Include) > 0 {
		return nil
	}
	return l.m.libraries
}

// loadLibraries brings the function libraries of the link's snapshot to the target.
func (l *link) loadLibraries(ctx context.Context, codes []string) error {
	err := l.m.libraries.Snapshot(ctx, l.name, codes)
	if errors.Is(err, libraries.ErrUnreadable) {
		l.ledger.Note(0, "", "FUNCTION LOAD", err.Error())
		return nil
	}
	return err
}

// observer returns a function that calls Config.Observe with the commands of the link's stream; nil: Observe is not set.
func (l *link) observer() stream.Observer {
	if l.m.cfg.Observe == nil {
		return nil
	}
	return func(db int, args [][]byte, at time.Time) { l.m.cfg.Observe(l.st.Shard, db, args, at) }
}
