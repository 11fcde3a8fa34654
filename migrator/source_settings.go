package migrator

import (
	"context"
	"errors"
	"fmt"

	"surecut/internal/endpoint"
)

// tuned is a setting of the source that was changed, and what it was before.
type tuned struct {
	Addr  string `json:"addr"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// sourceSettings are what Config.TuneSource sets: no limit on the output that the source buffers for its replicas, and a snapshot that is
// not written to the source's disk (since 2.8.18).
var sourceSettings = []struct{ name, value string }{
	{"client-output-buffer-limit", "slave 0 0 0"},
	{"repl-diskless-sync", "yes"},
}

// tune changes the settings of every node that is read from. It saves the old values to disk before it changes anything.
func (m *Migration) tune(ctx context.Context) error {
	for _, l := range m.live() {
		addr := l.shard.Node()
		c, err := m.cfg.Sides.Source.Client(ctx, addr, 0)
		if err != nil {
			return err
		}
		for _, s := range sourceSettings {
			got, err := c.Do(ctx, endpoint.Arbitrary(c, "CONFIG", "GET", s.name)).AsStrMap()
			if err != nil {
				return fmt.Errorf("Config.TuneSource: source %s: CONFIG GET %s: %w", addr, s.name, err)
			}
			old := tuned{Addr: addr, Name: s.name, Value: got[s.name]}
			m.update(func() {
				for _, t := range m.state.Tuned {
					if t.Addr == old.Addr && t.Name == old.Name {
						return // an earlier run changed the setting, and has saved the old value
					}
				}
				m.state.Tuned = append(m.state.Tuned, old)
			})
			if err := m.saveState(); err != nil {
				return err
			}
			if err := c.Do(ctx, endpoint.Arbitrary(c, "CONFIG", "SET", s.name, s.value)).Error(); err != nil {
				return fmt.Errorf("Config.TuneSource: source %s: CONFIG SET %s: %w", addr, s.name, err)
			}
			m.cfg.Log.Info("a setting of the source was changed; it will be put back at the end", "source", addr, "setting", s.name, "from", old.Value, "to", s.value)
		}
	}
	return nil
}

// putBack restores every setting that tune has changed.
func (m *Migration) putBack(ctx context.Context) error {
	var left []tuned
	var errs []error
	m.stateMu.Lock()
	changed := m.state.Tuned
	m.stateMu.Unlock()
	if len(changed) == 0 {
		return nil
	}
	for _, t := range changed {
		c, err := m.cfg.Sides.Source.Client(ctx, t.Addr, 0)
		if err == nil {
			err = c.Do(ctx, endpoint.Arbitrary(c, "CONFIG", "SET", t.Name, t.Value)).Error()
		}
		if err != nil {
			left = append(left, t)
			errs = append(errs, fmt.Errorf("source %s: setting %s could not be put back; set it to '%s' by hand: %w", t.Addr, t.Name, t.Value, err))
			continue
		}
		m.cfg.Log.Info("a setting of the source was put back", "source", t.Addr, "setting", t.Name, "value", t.Value)
	}
	m.update(func() { m.state.Tuned = left })
	return errors.Join(append(errs, m.saveState())...)
}
