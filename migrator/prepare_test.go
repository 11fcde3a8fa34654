package migrator

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestTakenBackFirst: what is left of a snapshot that was cut off is removed before the source is asked for another one, which it
// would have to keep meanwhile.
func TestTakenBackFirst(t *testing.T) {
	l := newTestLink(t)
	l.dir, l.st.Stage, l.m.state.TargetWasEmpty = t.TempDir(), receiving, false
	if err := os.WriteFile(l.snapshotPath(), []byte("REDIS0011"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.prepareTarget(t.Context()); err == nil || !strings.Contains(err.Error(), "held keys before this migration began") {
		t.Errorf("the target was prepared: %v", err)
	}
	l.m.state.TargetWasEmpty = true
	if err := l.takeBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.snapshotPath()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it would be taken back again: %v", err)
	}
}
