package verifier

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/internal/keyspace"
)

func TestObserve(t *testing.T) {
	u := &rules{depth: DepthValue, tolerance: time.Second}
	far := time.Now().Add(time.Hour).UnixMilli()
	tests := []struct {
		name, why string
		rounds    int
		seen      []observation // one per round
		settled   int           // in this round
		verdict   Verdict
		reason    string
	}{
		{"same at once", "", 3, []observation{{text("a"), text("a"), text("a")}}, 1, Same, ""},
		{"caught up", "the target was behind in round 1", 3, []observation{{text("b"), text("a"), text("b")}, {text("b"), text("b"), text("b")}}, 2, Same, ""},
		{"moved under the read", "that the target holds the later value may be luck", 2, []observation{{text("a"), text("b"), text("b")}, {text("b"), text("b"), text("b")}}, 2, Same, ""},
		{"moves under every read", "equality with a change around it clears nothing", 2, []observation{{text("a"), text("a"), text("b")}, {text("b"), text("c"), text("c")}}, 2, Unchecked, "written in every round"},
		{"proven", "the source stood still", 2, []observation{{text("a"), text("x"), text("a")}, {text("a"), text("x"), text("a")}}, 2, Different, "differ"},
		{"one round", "", 1, []observation{{text("a"), text("x"), text("a")}}, 1, Different, "differ"},
		{"missing", "", 2, []observation{{text("a"), text(""), text("a")}, {text("a"), text(""), text("a")}}, 2, Missing, "source only"},
		{"extra", "", 2, []observation{{text(""), text("a"), text("")}, {text(""), text("a"), text("")}}, 2, Extra, "target only"},
		{"gone on both", "absences agree", 2, []observation{{text("a"), text(""), text("")}, {text(""), text(""), text("")}}, 2, Same, ""},
		{"changes in a round", "a key on the move is never different", 2, []observation{{text("a"), text("x"), text("b")}, {text("c"), text("y"), text("d")}}, 2, Unchecked, "written in every round"},
		{"changes between rounds", "it stood still while it was read, but the target had no time to follow", 2, []observation{{text("a"), text("x"), text("a")}, {text("b"), text("a"), text("b")}}, 2, Unchecked, "1 of 2 rounds"},
		{"deleted and made again", "presence counts as change", 2, []observation{{text("a"), text(""), text("")}, {text("a"), text(""), text("a")}}, 2, Unchecked, "every round"},
		{"the target moves", "who writes there may bring it right yet", 2, []observation{{text("a"), text("x"), text("a")}, {text("a"), text("y"), text("a")}}, 2, Unchecked, "changed on the target"},
		{"refused", "asking again does not help", 3, []observation{{failed("NOPERM"), text("a"), failed("NOPERM")}}, 1, Unchecked, "the source could not be read: GET"},
		{"loading", "asking again does", 2, []observation{{failed("LOADING"), text("a"), failed("LOADING")}, {text("a"), text("a"), text("a")}}, 2, Same, ""},
		{"deleted under the read", "XINFO then refuses", 2, []observation{{text("a"), reading{Err: vanished(failed("ERR").Err)}, text("a")}, {text("a"), text("a"), text("a")}}, 2, Same, ""},
		{"group deleted under the read", "XPENDING then refuses", 2, []observation{{text("a"), reading{Err: vanished(failed("NOGROUP").Err)}, text("a")}, {text("a"), text("a"), text("a")}}, 2, Same, ""},
		{"loading for ever", "never the same", 2, []observation{{text("a"), failed("LOADING"), text("a")}, {text("a"), failed("LOADING"), text("a")}}, 2, Unchecked, "the target could not be read"},
		{"expiry within the tolerance", "", 1, []observation{{expiring("a", far), expiring("a", far+900), expiring("a", far)}}, 1, Same, ""},
		{"expiry beyond it", "", 1, []observation{{expiring("a", far), expiring("a", far+1100), expiring("a", far)}}, 1, Different, "1.1s later"},
		{"expiry lost", "the target would keep the key for ever", 1, []observation{{expiring("a", far), text("a"), expiring("a", far)}}, 1, Different, "source only"},
		{"touched", "EXPIRE changes the source, too", 2, []observation{{expiring("a", far), text("a"), expiring("a", far)}, {expiring("a", far+5000), text("a"), expiring("a", far+5000)}}, 2, Unchecked, "1 of 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r record
			for i := range tt.seen {
				d := r.observe(u, &tt.seen[i], unwritten, roundOf{round: i + 1, need: tt.rounds, most: tt.rounds})
				if d.Settled != (i+1 == tt.settled) {
					t.Fatalf("round %d: settled = %v, want it in round %d (%s)", i+1, d.Settled, tt.settled, tt.why)
				}
				if !d.Settled {
					// A suspect goes to disk and back between rounds.
					packed := string(r.append(nil))
					if rest, err := r.parse(packed); err != nil || rest != "" {
						t.Fatalf("parse: %v, %q left", err, rest)
					}
					continue
				}
				if d.Verdict != tt.verdict || !strings.Contains(d.Why.String(), tt.reason) {
					t.Errorf("%s (%s), want %s (%s): %s", d.Verdict, d.Why, tt.verdict, tt.reason, tt.why)
				}
				return
			}
		})
	}
}

func quickConfig() Config {
	o := DefaultConfig()
	o.Rounds, o.Interval = 3, 0
	return o
}

func TestRounds(t *testing.T) {
	w := newWorld(map[string]string{"good": "1", "bad": "1", "lost": "1", "counter": "0"})
	w.target = map[string]string{"bad": "2", "lost": "", "more": "1", "counter": "wrong"}
	n := 0
	w.onRead = func(w *world) { n++; w.write("counter", strconv.Itoa(n)) }
	r := resolveWorld(t, w, quickConfig(), "good", "bad", "lost", "more", "counter")
	want := Totals{SourceKeys: 4, TargetKeys: 4, Same: 1, Different: 1, Missing: 1, Extra: 1, Unchecked: 1}
	if r.Totals != want || r.Verdict != Different || r.Proof != "rounds" || r.Rounds != 3 {
		t.Errorf("%s by %s in %d rounds: %+v, want %+v", r.Verdict, r.Proof, r.Rounds, r.Totals, want)
	}
	if h := r.History; len(h) != 3 || h[0].Suspects != 5 || h[0].Cleared != 1 || h[2].Confirmed != 3 {
		t.Errorf("history %+v", h)
	}
}

func TestFrames(t *testing.T) {
	hot := func(w *world) {
		n := 0
		w.onRead = func(w *world) {
			n++
			w.write("hot", strconv.Itoa(n))
			w.write("broken", strconv.Itoa(n))
		}
	}
	t.Run("keys that change all the time", func(t *testing.T) {
		w := newWorld(map[string]string{"hot": "0", "broken": "0", "bad": "1"})
		w.target = map[string]string{"bad": "2", "broken": "x"}
		hot(w)
		w.lag = 4 // so that reading one side after the other never agrees
		r := resolveWorld(t, w, withApplier(w), "hot", "broken", "bad")
		if r.Proof != "offset" || r.Totals.Different != 2 || r.Totals.Same != 1 || r.Totals.Unchecked != 0 {
			t.Errorf("by %s: %+v, %+v", r.Proof, r.Totals, r.Findings)
		}
		for _, f := range r.Findings {
			if !strings.Contains(f.Reason, "byte 1") {
				t.Errorf("%s: the place must be named: %s", f.Key, f.Reason)
			}
		}
		if w.frozen || w.freezes == 0 {
			t.Errorf("frozen = %v after %d freezes: the link must run on", w.frozen, w.freezes)
		}
	})
	t.Run("a link that cannot be stopped", func(t *testing.T) {
		w := newWorld(map[string]string{"broken": "0", "bad": "1"})
		w.target = map[string]string{"bad": "2", "broken": "x"}
		w.fails = errors.New("no such link")
		hot(w)
		r := resolveWorld(t, w, withApplier(w), "broken", "bad")
		if r.Proof != "rounds" || r.Totals.Different != 1 || r.Totals.Unchecked != 1 {
			t.Errorf("by %s: %+v", r.Proof, r.Totals)
		}
		if all := strings.Join(r.Reasons, " "); !strings.Contains(all, "no such link") {
			t.Errorf("the reason must be told: %s", all)
		}
	})
}

// Lag is never a difference: not where it lasts longer than all rounds, either. Nor is it proof that keys are the same: what is on its
// way may be for them.
func TestLinkThatLags(t *testing.T) {
	w := newWorld(map[string]string{"late": "1", "right": "1"})
	w.fails = fmt.Errorf("stop: %w", ErrLags)
	w.lag = 1
	w.write("late", "2")
	r := resolveWorld(t, w, withApplier(w), "late", "right")
	if n := r.Totals; r.Verdict != Unchecked || n.Unchecked != 2 || !slices.Equal(r.ByReason, []ReasonTotal{{LinkBehind, 2}}) || !strings.Contains(strings.Join(r.Reasons, " "), "on its way") {
		t.Errorf("%s: %+v, %q", r.Verdict, n, r.Reasons)
	}
}

func withApplier(a Applier) Config {
	o := quickConfig()
	o.Applier = a
	return o
}

func TestConclude(t *testing.T) {
	tests := []struct {
		name   string
		totals Totals
		short  []string
		want   Verdict
	}{
		{"all same", Totals{Same: 5}, nil, Same},
		{"one different", Totals{Same: 5, Different: 1}, nil, Different},
		{"one missing", Totals{Same: 5, Missing: 1}, nil, Different},
		{"one extra", Totals{Same: 5, Extra: 1}, nil, Different},
		{"one unchecked", Totals{Same: 5, Unchecked: 1}, nil, Unchecked},
		{"difference beats unchecked", Totals{Different: 1, Unchecked: 1}, []string{"x"}, Different},
		{"short enumeration", Totals{Same: 5}, []string{"SCAN failed"}, Unchecked},
		{"nothing compared: nothing is not the same", Totals{}, nil, Unchecked},
	}
	for _, tt := range tests {
		r := Report{Totals: tt.totals, Depth: "value", Incomplete: tt.short}
		if r.conclude(nil, "databases that hold keys: 3"); r.Verdict != tt.want || len(r.Reasons) == 0 {
			t.Errorf("%s: %s, want %s: %q", tt.name, r.Verdict, tt.want, r.Reasons)
		}
	}
	deleted := Report{Selection: &keyspace.Selection{Repaired: true}}
	if deleted.conclude(nil, ""); deleted.Verdict != Same {
		t.Errorf("keys that a repair has deleted are %s, want same", deleted.Verdict)
	}
}

// TestFrameWithKeysThatAreAhead: a migration copies a key again as of a later offset than that of the frame, where the target refused a
// command. Until the frames have come to that offset, the key is not judged, and others are.
func TestFrameWithKeysThatAreAhead(t *testing.T) {
	w := newWorld(map[string]string{"hot": "1", "bad": "1"})
	w.target["bad"] = "wrong"
	n := 1
	w.onRead = func(w *world) { n++; w.write("hot", strconv.Itoa(n)) }
	judged := 0
	w.ahead = func(w *world) []string {
		if judged++; judged < 3 {
			w.target["hot"] = "later"
			return []string{"hot"}
		}
		delete(w.target, "hot")
		return nil
	}
	r := resolveWorld(t, w, withApplier(w), "hot", "bad")
	if r.Totals.Same != 1 || r.Totals.Different != 1 || r.Totals.Unchecked != 0 || r.Findings[0].Key != "bad" {
		t.Errorf("%+v, %+v", r.Totals, r.Findings)
	}
	if judged != 3 {
		t.Errorf("the target was brought to %d offsets, want 3", judged)
	}
}
