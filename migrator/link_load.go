package migrator

import (
	"surecut/migrator/internal/load"
	"surecut/migrator/internal/target"
)

// Config returns what the link's loader needs. replace says that an earlier run, or an earlier attempt, may have written some of the keys.
func (l *link) loadConfig(replace bool) *load.Config {
	cfg := &l.m.cfg
	ld := &load.Config{
		Target: l.m.target, Scope: &l.scope, Ledger: l.ledger, Expiries: l.expiries, NewWriter: func() load.Writer { return l.newWriter() }, Now: l.clock.Now,
		Log: l.log, Lanes: cfg.Lanes, BigValue: cfg.BigValue, HoldExpiry: cfg.HoldExpiry, StartedMs: l.st.StartedMs, Followed: cfg.Mode != ModeFull,
		AOF: l.file != nil && l.file.file.AOF, Keep: cfg.OnExisting == ExistingKeep, Over: l.over(replace), Script: l.scripts.Add,
	}
	if l.libraries() != nil {
		ld.Libraries = l.loadLibraries
	}
	if l.file == nil { // the commands of an AOF do not go on with the database that its RDB names
		ld.StreamDB = func(db int) { l.m.update(func() { l.st.StreamDB = db }) }
	}
	return ld
}

// over says whether a value may take the place of a key that the target has. With Config.OnExisting fail, it may only where an earlier
// attempt or run may have written the key, as replace says, and only if the target was empty when the migration began.
func (l *link) over(replace bool) target.Overwrite {
	ours := l.m.cfg.OnExisting == ExistingFail && l.m.state.TargetWasEmpty
	return target.Overwrite{First: l.m.cfg.OnExisting == ExistingReplace || l.st.Again || replace && ours, Later: ours}
}
