package stream

import (
	"bytes"
	"log/slog"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/resp"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
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

// TestLargeCopies: a copy whose payload the target does not take is built by commands. If that is refused as well, the key is a problem.
func TestLargeCopies(t *testing.T) {
	payload, err := rdb.Encoder{Version: 11}.Append(nil, rdb.TypeString, []byte("\x14a value of 20 letter"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		bound    int64
		commands error // reply to what builds a value
		text     string
	}{
		{name: "small enough", bound: 1000, text: "a value of 20 letter"},
		{name: "too large for one command", bound: 10, text: "a value of 20 letter"},
		{name: "too large for any", bound: 10, commands: resp.Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestStream(t)
			l.Writer = l.newWriter()
			l.Target.Bounds.Argument, l.memory.NoCommands = tt.bound, tt.commands
			if tt.bound < int64(len(payload)) {
				l.memory.NoPayloads = resp.Error("ERR Protocol error: invalid bulk length")
			}
			l.memory.Keys[keyspace.Key{Name: "k"}] = targettest.Value{Text: "old"}
			d := newTestDispatcher(l, nil)
			lost, err := d.copies.write(t.Context(), []reread.Copy{{Key: keyspace.Key{Name: "k"}, Payload: string(payload), Present: true, Offset: 900}}, 800)
			if err != nil || l.memory.Text("k") != tt.text || len(lost) != len(l.problems.All()) || (len(lost) == 1) != (tt.text == "") {
				t.Errorf("%v; k is %q, lost %v, problems %+v", err, l.memory.Text("k"), lost, l.problems.All())
			}
			if end := l.memory.Ends[l.Target.UnitOf(l.Target.Slot("k"))]; end != 800 {
				t.Errorf("the checkpoint stands at %d", end)
			}
		})
	}
}

// TestCopiesTogether: copies are written together while they are small.
func TestCopiesTogether(t *testing.T) {
	small, large := reread.Copy{Payload: "x"}, reread.Copy{Payload: string(make([]byte, mostTogether))}
	for _, tt := range []struct {
		got  []reread.Copy
		want int
	}{{[]reread.Copy{small, small, small}, 3}, {[]reread.Copy{small, large}, 1}, {[]reread.Copy{large, small}, 1}, {[]reread.Copy{large}, 1}} {
		if n := together(tt.got); n != tt.want {
			t.Errorf("%d of %d copies are written together, want %d", n, len(tt.got), tt.want)
		}
	}
}
