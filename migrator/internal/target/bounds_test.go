package target_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/migrator/internal/target"
)

// strict is how a server in memory treats what is larger than its settings allow.
type strict struct {
	argument, queued int64 // bytes; 0: as much as comes
	tells            bool  // CONFIG GET is allowed
	mute             bool  // the connection is closed without a word
}

// strictRig is a rig with one server that is strict.
func strictRig(t *testing.T, version string, is strict) *rig {
	s := endpointtest.Serve(t, version)
	var mu sync.Mutex
	multi, queued := false, int64(0)
	s.On("", func(args []string) string {
		mu.Lock()
		defer mu.Unlock()
		longest, all := int64(0), int64(0)
		for _, a := range args {
			longest, all = max(longest, int64(len(a))), all+int64(len(a))
		}
		if args[0] == "MULTI" {
			multi, queued = true, 0
		}
		if queued += all; !multi {
			queued = 0
		}
		switch {
		case is.argument > 0 && longest > is.argument && !is.mute:
			multi = false
			return "-ERR Protocol error: invalid bulk length\r\n" + endpointtest.HangUp
		case is.argument > 0 && longest > is.argument, is.queued > 0 && queued > is.queued:
			multi = false
			return endpointtest.HangUp
		case args[0] == "EXEC", args[0] == "DISCARD":
			multi = false
		}
		return endpointtest.Usual
	})
	tell := func(name string, n int64) {
		if is.tells && n > 0 {
			s.Always("CONFIG GET "+name, endpointtest.Strings(name, strconv.FormatInt(n, 10)))
		}
		if !is.tells {
			s.Always("CONFIG GET "+name, "-NOPERM this user has no permissions to run the 'config|get' command\r\n")
		}
	}
	tell("proto-max-bulk-len", is.argument)
	tell("client-query-buffer-limit", is.queued)
	return newRig(t, s, s.URL())
}

const mib = 1 << 20

// ways are the ways in which a server shows that it takes no argument of more than a MiB.
var ways = []struct {
	name string
	strict
}{
	{"its settings tell", strict{argument: mib, tells: true}},
	{"it replies with a protocol error", strict{argument: mib}},
	{"it closes the connection without a word", strict{argument: mib, mute: true}},
}

// TestTooLargeToCommit: a command that the target does not take is no outage. Its keys are left to be copied, and all others are applied with
// the checkpoint.
func TestTooLargeToCommit(t *testing.T) {
	large := strings.Repeat("x", 2*mib)
	for _, way := range ways {
		for _, bare := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, bare %v", way.name, bare), func(t *testing.T) {
				r := strictRig(t, "7.0.15", way.strict)
				r.begin(t)
				warm, x := r.transaction(300, "SET a 1"), r.transaction(400, "SET a 2", "SET b "+large, "SET c 3")
				warm.Absolute, x.Absolute = bare, bare
				for _, x := range []*target.Transaction{r.transaction(200, "SET a 0"), warm, x} {
					if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil {
						t.Fatal(err)
					}
				}
				if got := r.text("a") + r.text("b") + r.text("c"); got != "23" || len(x.Failed) != 1 || x.Failed[0].Call.Key.Name != "b" {
					t.Errorf("the keys hold %.20q, %d calls failed: %q", got, len(x.Failed), failed(x))
				}
				if why := x.Failed[0].Reply.Error(); !strings.Contains(why, "2097152 bytes") {
					t.Errorf("the reason does not tell the size: %s", why)
				}
				if sent := len(r.s.Calls("SET b")) > 0; way.tells && sent {
					t.Error("it was sent, though the settings of the target forbid it")
				}
			})
		}
	}
}

// TestNotTooLarge: a connection that breaks at a large command by chance proves nothing about its size.
func TestNotTooLarge(t *testing.T) {
	r := strictRig(t, "7.0.15", strict{})
	r.s.Once("SET b", slices.Repeat([]string{endpointtest.HangUp}, 5)...)
	x := r.transaction(400, "SET a 2", "SET b "+strings.Repeat("x", 2*mib))
	if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil || len(x.Failed) > 0 || len(r.text("b")) != 2*mib {
		t.Errorf("%v; failed: %q; b has %d bytes", err, failed(x), len(r.text("b")))
	}
}

// TestTransactionTooLarge: where all commands of a transaction are larger than the target takes between MULTI and EXEC, the largest are left
// out until the others fit.
func TestTransactionTooLarge(t *testing.T) {
	for _, way := range []struct {
		name string
		strict
	}{
		{"its settings tell", strict{queued: mib, tells: true}},
		{"it closes the connection without a word", strict{queued: mib}},
	} {
		t.Run(way.name, func(t *testing.T) {
			r := strictRig(t, "8.0.1", way.strict)
			x := r.transaction(400, "SET a 1")
			for i := range 10 {
				key := "k" + strconv.Itoa(i)
				x.Calls = append(x.Calls, target.Call{Args: []string{"SET", key, strings.Repeat("x", 200<<10)}, Key: keyspace.Key{Name: key}})
			}
			if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil {
				t.Fatal(err)
			}
			applied := 0
			for i := range 10 {
				if r.text("k"+strconv.Itoa(i)) != "" {
					applied++
				}
			}
			if applied+len(x.Failed) != 10 || applied < 4 || r.text("a") != "1" {
				t.Errorf("%d are applied and %d left out; a is %q", applied, len(x.Failed), r.text("a"))
			}
		})
	}
}

// TestTooLargeToRestore: a payload that the target does not take is refused, and the rest of its batch is written.
func TestTooLargeToRestore(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			r := strictRig(t, "7.0.15", way.strict)
			b := r.batch(t, target.Overwrite{Later: true}, 0, "a", "b", "c")
			var err error
			b.Keys[1].From = len(b.Payload)
			if b.Payload, err = r.to.Payloads.AppendValue(b.Payload, rdb.TypeString, stringOf(2*mib), 8*mib); err != nil {
				t.Fatal(err)
			}
			b.Keys[1].To = len(b.Payload)
			settled, err := r.restore(t, b)
			if err != nil || settled["a"]+settled["c"] != "" || !strings.Contains(settled["b"], " bytes") {
				t.Errorf("%v, %q", err, settled)
			}
			if r.text("a")+r.text("c") != "ac" {
				t.Error("the others are not written")
			}
		})
	}
}

// stringOf returns n bytes as they stand in a snapshot.
func stringOf(n int) []byte {
	return append([]byte{0x80, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, strings.Repeat("x", n)...)
}

// TestTooLargeToBuild: a value with a part that the target does not take is refused, with the size of the part, and nothing of it is left.
func TestTooLargeToBuild(t *testing.T) {
	large := []byte(strings.Repeat("x", 2*mib))
	for _, part := range []struct {
		name string
		walk func(v keyspace.Visitor) error
	}{
		{"one field of a hash", func(v keyspace.Visitor) error {
			for _, value := range [][]byte{[]byte("small"), large, []byte("more")} {
				if err := v.HashField(value[:3], value, 0); err != nil {
					return err
				}
			}
			return nil
		}},
		{"a string", func(v keyspace.Visitor) error {
			for piece := range slices.Chunk(large, 100<<10) {
				if err := v.StringChunk(piece); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		for _, way := range ways {
			if part.name == "a string" && !way.tells {
				continue // such a server replies to APPEND, and keeps the connection
			}
			t.Run(part.name+", "+way.name, func(t *testing.T) {
				r := strictRig(t, "7.0.15", way.strict)
				k := target.Value{DB: 2, Name: "k", Idle: -1, Freq: -1}
				_, err := r.w.Rebuild(soon(t), k, target.Overwrite{}, part.walk)
				var refused *target.RefusedError
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), "2097152 bytes") {
					t.Errorf("%v", err)
				}
				if left := r.s.NamesIn(2); len(left) > 0 {
					t.Errorf("%q are left", left)
				}
				if _, err := r.w.Rebuild(soon(t), k, target.Overwrite{}, func(v keyspace.Visitor) error { return v.ListElement([]byte("x")) }); err != nil {
					t.Errorf("the next value: %v", err)
				}
			})
		}
	}
}
