package migrator

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// The model behind docs/proposal-fewer-checkpoints.md: one key, the commands that change it, and the question which of them may be applied again from
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
