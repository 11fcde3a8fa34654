package migrator

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// The model behind "What goes without a checkpoint" in docs/consistency.md: one key, the commands that change it, and the question which of them may be applied again from
// an earlier point without harm. It knows no server; that servers behave like it is for tests with servers to show.

// modelKey is one key of a server. The zero value is an absent one.
type modelKey struct {
	kind     byte        // 's' string, 'h' any collection of named elements, 0: absent
	elements map[int]int // of a string: its bytes by their place
	expireAt int         // 0: never
	length   int         // of a string
}

func (k modelKey) clone() modelKey {
	k.elements = maps.Clone(k.elements)
	return k
}

func (k modelKey) same(other modelKey) bool {
	return k.kind == other.kind && k.expireAt == other.expireAt && k.length == other.length && maps.Equal(k.elements, other.elements)
}

// modelCommand changes a key. Where the key holds another type, it changes nothing: the server refuses it.
type modelCommand struct {
	verb    string
	at, arg int
}

func (c modelCommand) String() string { return fmt.Sprintf("%s %d %d", c.verb, c.at, c.arg) }

// of returns the key as a command of a type finds it; ok is false where the server refuses the command.
func (k modelKey) of(kind byte) (modelKey, bool) {
	if k.kind == 0 {
		return modelKey{kind: kind, elements: map[int]int{}}, true
	}
	return k.clone(), k.kind == kind
}

func (c modelCommand) run(k modelKey) modelKey {
	was := k
	ok := true
	switch c.verb {
	case "SET":
		return modelKey{kind: 's', elements: map[int]int{0: c.arg}, length: 1}
	case "SET PXAT":
		return modelKey{kind: 's', elements: map[int]int{0: c.arg}, length: 1, expireAt: c.at + 1}
	case "SET KEEPTTL":
		return modelKey{kind: 's', elements: map[int]int{0: c.arg}, length: 1, expireAt: k.expireAt}
	case "DEL":
		return modelKey{}
	case "SETRANGE":
		if k, ok = k.of('s'); ok {
			k.elements[c.at] = c.arg
			k.length = max(k.length, c.at+1)
		}
	case "APPEND":
		if k, ok = k.of('s'); ok {
			k.elements[k.length] = c.arg
			k.length++
		}
	case "HSET":
		if k, ok = k.of('h'); ok {
			k.elements[c.at] = c.arg
		}
	case "HINCRBY":
		if k, ok = k.of('h'); ok {
			k.elements[c.at] += c.arg
		}
	case "HDEL":
		if k.kind == 0 {
			return k
		}
		if k, ok = k.of('h'); ok {
			if delete(k.elements, c.at); len(k.elements) == 0 {
				return modelKey{} // with its expiry
			}
		}
	case "PEXPIREAT":
		if k.kind != 0 {
			k.expireAt = c.at + 1
		}
	case "PERSIST":
		k.expireAt = 0
	default:
		panic(c.verb)
	}
	if !ok {
		return was
	}
	return k
}

// absolute are the commands that may be applied again from an earlier point, as long as only commands of this kind follow.
var absolute = []string{"SET", "SET PXAT", "SET KEEPTTL", "DEL", "SETRANGE", "HSET", "PEXPIREAT", "PERSIST"}

// history returns a key and commands that a source sent of it: it sends none that it refused, and no expiry of a key that it has not.
func history(rng *rand.Rand, verbs []string) (begun modelKey, sent []modelCommand) {
	draw := func() modelCommand {
		return modelCommand{verbs[rng.IntN(len(verbs))], rng.IntN(3), 1 + rng.IntN(4)}
	}
	for range rng.IntN(4) {
		begun = draw().run(begun)
	}
	at := begun
	for range 1 + rng.IntN(7) {
		c := draw()
		after := c.run(at)
		refused := at.same(after) && at.kind != 0 && c.verb != "PERSIST"
		if refused || at.kind == 0 && (c.verb == "PEXPIREAT" || c.verb == "PERSIST" || c.verb == "DEL" || c.verb == "HDEL") {
			continue
		}
		at, sent = after, append(sent, c)
	}
	return begun, sent
}

// replayed looks for a history that ends otherwise when a part of it was applied, and then all of it, once or twice.
func replayed(rng *rand.Rand, verbs []string) error {
	begun, sent := history(rng, verbs)
	apply := func(k modelKey, some []modelCommand) modelKey {
		for _, c := range some {
			k = c.run(k)
		}
		return k
	}
	want := apply(begun, sent)
	for first := range len(sent) + 1 {
		once := apply(begun, sent[:first])
		for second := range len(sent) + 1 {
			if got := apply(apply(once, sent[:second]), sent); !got.same(want) {
				return fmt.Errorf("%+v and %v: after %d, then %d of them, then all it is %+v, not %+v", begun, sent, first, second, got, want)
			}
		}
	}
	return nil
}

func TestAbsoluteCommandsMayBeReplayed(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 20_000 {
		if err := replayed(rng, absolute); err != nil {
			t.Fatal(err)
		}
	}
}

// Each of these is one command too many. HDEL is the one that looks harmless: it takes the expiry away with the last field, and whether
// a field is the last one depends on what is there.
func TestOtherCommandsMayNot(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, verb := range []string{"APPEND", "HINCRBY", "HDEL"} {
		rng := rand.New(rand.NewPCG(seed, 1))
		var err error
		for tries := 0; err == nil && tries < 500_000; tries++ {
			err = replayed(rng, append([]string{verb}, absolute...))
		}
		if err == nil {
			t.Errorf("%s: no history was found that it spoils", verb)
			continue
		}
		t.Logf("%s: %v", verb, err)
	}
}

// The rest plays the rule as a whole: batches that go bare or in a transaction, runs that are killed, connections that break, a target
// without memory, and one that goes back to an earlier state.

// modelServer is the target, with what it remembers of one unit.
type modelServer struct {
	key        modelKey
	checkpoint int // of the unit: how many commands are in
	record     int // of the link, on the same node
}

// reached returns from where a run goes on that knows nothing else.
func (s modelServer) reached() int { return max(s.checkpoint, s.record) }

// modelRules are the parts of the rule; each can be left out.
type modelRules struct {
	absolute []string // verbs that go bare
	answered bool     // a transaction waits for the answers to what was sent before it
	kills    bool     // the old connection is ended before anything is sent again
	goesBack bool     // a new process has its units go back to their checkpoints
	seen     bool     // a record passes only what was answered
}

var theRule = modelRules{absolute: absolute, answered: true, kills: true, goesBack: true, seen: true}

// modelRun applies a history under a rule.
type modelRun struct {
	rule    modelRules
	rng     *rand.Rand
	sent    []modelCommand
	server  modelServer
	history []modelServer  // what a server that goes back may go back to
	late    []modelCommand // in the buffers of a connection that was not ended
	done    int            // commands that were answered
	told    []string
}

func (r *modelRun) chance(n int) bool { return r.rng.IntN(n) == 0 }

func (r *modelRun) tell(format string, args ...any) {
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

// keep notes the state, as a replica or a disk may.
func (r *modelRun) keep() { r.history = append(r.history, r.server) }

// run runs one command on the server. A server without memory refuses all but deletions and what changes no more than an expiry.
func (r *modelRun) run(c modelCommand, full bool) (refused bool) {
	if full && !slices.Contains([]string{"DEL", "HDEL", "PEXPIREAT", "PERSIST"}, c.verb) {
		return true
	}
	r.server.key = c.run(r.server.key)
	r.keep()
	return false
}

func (r *modelRun) bare(end int) bool {
	for _, c := range r.sent[r.done:end] {
		if !slices.Contains(r.rule.absolute, c.verb) {
			return false
		}
	}
	return true
}

// sendBare sends commands without a checkpoint, and says whether all of them were answered and none was refused for want of memory. If
// the connection breaks, the server has a part of them, and the rest in its buffers.
func (r *modelRun) sendBare(end int) bool {
	full := r.chance(8)
	breaks := r.chance(4)
	n := end - r.done
	if breaks {
		n = r.rng.IntN(n + 1)
	}
	refused := false
	for _, c := range r.sent[r.done : r.done+n] {
		refused = r.run(c, full) || refused
	}
	r.tell("bare %d to %d, ran %d, full %v", r.done, end, n, full)
	if breaks && !r.rule.kills {
		r.late = slices.Clone(r.sent[r.done+n : end])
	}
	return !breaks && !refused
}

// sendTransaction sends commands with their checkpoint; false: the connection broke before the answer.
func (r *modelRun) sendTransaction(from, end int) bool {
	breaks := r.chance(4)
	if breaks && r.chance(2) {
		r.tell("transaction %d to %d is lost", from, end)
		return false
	}
	for _, c := range r.sent[from:end] {
		r.server.key = c.run(r.server.key)
	}
	r.server.checkpoint = end
	r.keep()
	r.tell("transaction %d to %d, answered %v", from, end, !breaks)
	return !breaks
}

// arrive runs what waits in the buffers of an old connection.
func (r *modelRun) arrive() {
	for _, c := range r.late {
		r.run(c, false)
	}
	if len(r.late) > 0 {
		r.tell("%d late commands", len(r.late))
	}
	r.late = nil
}

// step sends one batch, and what goes wrong with it.
func (r *modelRun) step() {
	if r.chance(8) && r.server.record < r.done {
		r.server.record = r.done
		r.keep()
		r.tell("record %d", r.done)
	}
	if r.chance(12) { // another process takes the place of the node
		r.server = r.history[r.rng.IntN(len(r.history))]
		r.history = r.history[:0]
		r.keep()
		r.late = nil
		r.tell("goes back to %+v", r.server)
		if r.rule.goesBack {
			r.done = r.server.reached()
		}
		return
	}
	end := min(r.done+1+r.rng.IntN(3), len(r.sent))
	var answered bool
	switch {
	case !r.bare(end):
		answered = r.sendTransaction(r.done, end)
	case r.rule.answered || end == len(r.sent):
		answered = r.sendBare(end)
	default: // the next batch is on its way before the answers are read
		answered = r.sendBare(end)
		answered = r.sendTransaction(end, end+1) && answered
		end++
	}
	if answered {
		r.done = end
		return
	}
	if !r.rule.seen && r.chance(2) {
		r.server.record = end
	}
	r.done = max(r.server.reached(), r.resent()) // the run is killed, or asks for the checkpoint and sends again
	if r.chance(2) {
		r.arrive()
	}
}

// resent returns where a run goes on whose connection broke: where it was, unless it was killed.
func (r *modelRun) resent() int {
	if r.chance(2) {
		return 0
	}
	return r.done
}

// played plays one history under a rule, and returns an error if it ends otherwise than the source.
func played(rng *rand.Rand, rule modelRules, verbs []string) error {
	begun, sent := history(rng, verbs)
	r := &modelRun{rule: rule, rng: rng, sent: sent, server: modelServer{key: begun}}
	r.keep()
	for r.done < len(sent) {
		r.step()
	}
	r.arrive()
	want := begun
	for _, c := range sent {
		want = c.run(want)
	}
	if !r.server.key.same(want) {
		return fmt.Errorf("%+v and %v: %s: %+v, not %+v", begun, sent, strings.Join(r.told, "; "), r.server.key, want)
	}
	return nil
}

// everyVerb are the commands of a source in the model.
var everyVerb = append([]string{"APPEND", "HINCRBY", "HDEL"}, absolute...)

func TestRuleHolds(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	for range 100_000 {
		if err := played(rng, theRule, everyVerb); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEveryPartOfRuleIsNeeded leaves out one part after the other.
func TestEveryPartOfRuleIsNeeded(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, part := range []struct {
		name   string
		verbs  []string
		change func(*modelRules)
	}{
		{"HDEL goes bare", []string{"HDEL", "HSET", "PEXPIREAT"}, func(r *modelRules) { r.absolute = append([]string{"HDEL"}, absolute...) }}, // of many verbs, it takes long
		{"HINCRBY goes bare", everyVerb, func(r *modelRules) { r.absolute = append([]string{"HINCRBY"}, absolute...) }},
		{"a transaction does not wait", everyVerb, func(r *modelRules) { r.answered = false }},
		{"the old connection is not ended", everyVerb, func(r *modelRules) { r.kills = false }},
		{"a new process is not gone back for", everyVerb, func(r *modelRules) { r.goesBack = false }},
		{"a record passes what was not answered", everyVerb, func(r *modelRules) { r.seen = false }},
	} {
		t.Run(part.name, func(t *testing.T) {
			rng, rule := rand.New(rand.NewPCG(seed, 3)), theRule
			part.change(&rule)
			var err error
			for tries := 0; err == nil && tries < 500_000; tries++ {
				err = played(rng, rule, part.verbs)
			}
			if err == nil {
				t.Fatal("no history was found that it spoils")
			}
			t.Log(err)
		})
	}
}
