package stream

import (
	"bytes"
	"log/slog"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/resp"
	"surecut/migrator/internal/target"
)

// TestSettledDoubtsAreQuiet: a command whose keys are copied in its place is no news. Only what stays a problem is told.
func TestSettledDoubtsAreQuiet(t *testing.T) {
	l := newTestStream(t)
	var told bytes.Buffer
	l.Log = slog.New(slog.NewTextHandler(&told, &slog.HandlerOptions{Level: slog.LevelInfo}))
	l.Scope.Exclude = []string{"*"} // nothing is copied
	d := newTestDispatcher(l, nil)
	call := target.Call{Args: []string{"RENAME", "a", "b"}, Key: keyspace.Key{Name: "a"}, Commands: 1}
	if err := d.copies.settleDoubts(t.Context(), []target.Failure{{Call: call, Reply: resp.Error("ERR no such key")}}); err != nil {
		t.Fatal(err)
	}
	if told.Len() > 0 || l.Ledger.Repaired.Load() != 1 {
		t.Errorf("%d repaired, told: %s", l.Ledger.Repaired.Load(), told.String())
	}
}
