package migrator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"surecut/migrator/internal/libraries"
)

// openLibraries takes up the function libraries where the last run has left them.
func (m *Migration) openLibraries() (err error) {
	m.libraries, err = libraries.New(libraries.Config{
		Target: m.target, Keep: m.cfg.OnExisting == ExistingKeep, Replace: m.cfg.OnExisting == ExistingReplace, Log: m.cfg.Log,
		Save: func(data json.RawMessage) error {
			m.update(func() { m.state.Libraries = data })
			return m.saveState()
		},
		Shard: func(name string) string {
			i := slices.IndexFunc(m.all(), func(l *link) bool { return l.name == name })
			if i < 0 {
				return ""
			}
			return m.all()[i].shard.Primary()
		},
	}, m.state.Libraries)
	if err != nil {
		return fmt.Errorf("Config.StateDir %s: %w: put back a copy of migration.json, or start again with a new Config.StateDir", m.cfg.StateDir, err)
	}
	return nil
}

// lackingLibraries returns a problem for each function library that the target lacks.
func (m *Migration) lackingLibraries() []Problem {
	if m.libraries == nil {
		return nil
	}
	return m.libraries.Problems()
}

// lookAtLibraries brings back, before a run that resumes goes on and at the end of each, what somebody has taken from the target meanwhile.
func (m *Migration) lookAtLibraries(ctx context.Context) error {
	if len(m.cfg.Filter.Include) > 0 {
		return nil
	}
	if m.state.Libraries != nil {
		return m.libraries.Look(ctx)
	}
	var names []string
	for _, l := range m.live() {
		names = append(names, l.name)
	}
	return m.libraries.Adopt(ctx, names)
}
