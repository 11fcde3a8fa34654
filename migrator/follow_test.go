package migrator

import (
	"errors"
	"strings"
	"testing"

	"surecut/internal/keyspace"

	"surecut/migrator/internal/receive"
)

// TestStartOver: a snapshot replaces an earlier one only where no key of the target can be anybody else's.
func TestStartOver(t *testing.T) {
	tests := []struct {
		name   string
		change func(*link)
		says   string // "" where it may
	}{
		{"target was empty", func(*link) {}, ""},
		{"target held keys", func(l *link) { l.m.state.TargetWasEmpty = false }, "run verify and repair"},
		{"several shards without slots", func(l *link) { l.m.links = append(l.m.links, l) }, "which keys of the target came from this shard"},
		{"several shards with slots", func(l *link) {
			l.m.links = append(l.m.links, l)
			l.scope.Slots = keyspace.SlotRanges{{First: 0, Last: 5}}
		}, ""},
		{"incremental", func(l *link) { l.m.cfg.Mode = ModeIncremental }, "Config.Mode incremental"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestLink(t)
			l.dir = t.TempDir()
			l.m.state.dir = l.dir
			l.st.Stage = following
			tt.change(l)
			err := l.startOver(receive.ErrFailedOver)
			if tt.says == "" {
				if err != nil || !l.st.Again || l.st.Stage != fresh {
					t.Fatalf("%v, %+v", err, *l.st)
				}
				return
			}
			if !errors.Is(err, receive.ErrFailedOver) || !strings.Contains(err.Error(), tt.says) || l.st.Again || l.st.Stage != following {
				t.Fatalf("%v, %+v: want an error that says %q", err, *l.st, tt.says)
			}
		})
	}
}
