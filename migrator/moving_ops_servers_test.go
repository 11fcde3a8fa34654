//go:build servers

package migrator

import (
	"math/rand/v2"
	"strconv"

	"surecut/internal/keyspace"
)

// opKind restricts the operations of a load.
type opKind func(rng *rand.Rand, o *opMaker) [][]string

// opMaker makes commands for the keys of one slot.
type opMaker struct {
	rng *rand.Rand
	tag string // "{...}" of the slot
	n   string // occurs once
}

// keysOfKind is how many keys of each kind a slot has.
const keysOfKind = 3

// key names one of the slot's keys of a kind.
func (o *opMaker) key(kind string) string {
	return kind + ":" + o.tag + strconv.Itoa(o.rng.IntN(keysOfKind))
}

// any names one of the slot's keys of any kind.
func (o *opMaker) any() string {
	kinds := []string{"n", "s", "l", "h", "a", "z", "x", "e", "b"}
	return o.key(kinds[o.rng.IntN(len(kinds))])
}

func (o *opMaker) member() string { return strconv.Itoa(o.rng.IntN(12)) }

// soon is a time to live in ms that ends within the test, or does not.
func (o *opMaker) soon() string {
	if o.rng.IntN(3) == 0 {
		return strconv.Itoa(3_000_000 + o.rng.IntN(1000))
	}
	return strconv.Itoa(100 + o.rng.IntN(4000))
}

func randomOp(rng *rand.Rand, slot uint16, n int, only opKind) slotOp {
	o := &opMaker{rng, "{" + keyspace.SlotTag(slot) + "}", strconv.Itoa(n)}
	if only != nil {
		return slotOp{slot, only(rng, o)}
	}
	if rng.IntN(12) == 0 {
		return slotOp{slot, transactionOp(rng, o)}
	}
	makers := commandsOfLoad
	return slotOp{slot, [][]string{makers[rng.IntN(len(makers))](o)}}
}

// transactionOp changes several keys, or one key several times.
func transactionOp(rng *rand.Rand, o *opMaker) [][]string {
	all := [][]string{{"INCR", o.key("n")}, {"INCR", o.key("n")}}
	for range rng.IntN(3) {
		all = append(all, commandsOfLoad[rng.IntN(len(commandsOfLoad))](o))
	}
	return all
}

// commandsOfLoad make the commands of a load. What most of them leave depends on what they find.
var commandsOfLoad = []func(o *opMaker) []string{
	func(o *opMaker) []string { return []string{"INCR", o.key("n")} },
	func(o *opMaker) []string { return []string{"INCRBY", o.key("n"), "7"} },
	func(o *opMaker) []string { return []string{"INCRBYFLOAT", o.key("f"), "0.5"} },
	func(o *opMaker) []string { return []string{"APPEND", o.key("s"), "x"} },
	func(o *opMaker) []string { return []string{"SETRANGE", o.key("s"), o.member(), o.n} },
	func(o *opMaker) []string { return []string{"SET", o.key("s"), o.n} },
	func(o *opMaker) []string { return []string{"GETSET", o.key("s"), o.n} },
	func(o *opMaker) []string { return []string{"GETDEL", o.key("s")} },
	func(o *opMaker) []string { return []string{"RPUSH", o.key("l"), o.n} },
	func(o *opMaker) []string { return []string{"LPUSH", o.key("l"), o.n} },
	func(o *opMaker) []string { return []string{"LPOP", o.key("l")} },
	func(o *opMaker) []string { return []string{"LMOVE", o.key("l"), o.key("l"), "LEFT", "RIGHT"} },
	func(o *opMaker) []string { return []string{"LTRIM", o.key("l"), "-20", "-1"} },
	func(o *opMaker) []string { return []string{"HINCRBY", o.key("h"), o.member(), "1"} },
	func(o *opMaker) []string { return []string{"HSET", o.key("h"), o.member(), o.n} },
	func(o *opMaker) []string { return []string{"HDEL", o.key("h"), o.member()} },
	func(o *opMaker) []string { return []string{"SADD", o.key("a"), o.member(), o.n} },
	func(o *opMaker) []string { return []string{"SPOP", o.key("a")} },
	func(o *opMaker) []string { return []string{"SPOP", o.key("a"), "3"} },
	func(o *opMaker) []string { return []string{"SMOVE", o.key("a"), o.key("a"), o.member()} },
	func(o *opMaker) []string { return []string{"SUNIONSTORE", o.key("a"), o.key("a"), o.key("a")} },
	func(o *opMaker) []string { return []string{"ZINCRBY", o.key("z"), "1.5", o.member()} },
	func(o *opMaker) []string { return []string{"ZADD", o.key("z"), o.n, o.member()} },
	func(o *opMaker) []string { return []string{"ZPOPMIN", o.key("z")} },
	func(o *opMaker) []string { return []string{"XADD", o.key("x"), "MAXLEN", "30", "*", "f", o.n} },
	func(o *opMaker) []string { return []string{"XTRIM", o.key("x"), "MAXLEN", "5"} },
	func(o *opMaker) []string { return []string{"SET", o.key("e"), o.n, "PX", o.soon()} },
	func(o *opMaker) []string { return []string{"SET", o.key("e"), o.n, "EX", "5000"} },
	func(o *opMaker) []string { return []string{"GETEX", o.key("e"), "PX", o.soon()} },
	func(o *opMaker) []string { return []string{"SET", o.key("e"), o.n, "NX", "PX", o.soon()} },
	func(o *opMaker) []string { return []string{"APPEND", o.key("e"), "y"} },
	func(o *opMaker) []string {
		return []string{"BITFIELD", o.key("b"), "INCRBY", "u16", "#" + o.member(), "1"}
	},
	func(o *opMaker) []string { return []string{"SETBIT", o.key("b"), o.member(), "1"} },
	func(o *opMaker) []string { return []string{"PFADD", o.key("p"), o.n} },
	func(o *opMaker) []string { return []string{"PEXPIRE", o.any(), o.soon()} },
	func(o *opMaker) []string { return []string{"EXPIRE", o.any(), "5000"} },
	func(o *opMaker) []string { return []string{"PERSIST", o.any()} },
	func(o *opMaker) []string { return []string{"DEL", o.any(), o.any()} },
	func(o *opMaker) []string { return []string{"UNLINK", o.any()} },
	func(o *opMaker) []string { return []string{"RENAME", o.key("n"), o.key("n")} },
	func(o *opMaker) []string { return []string{"RENAME", o.key("l"), o.key("l")} },
	func(o *opMaker) []string { return []string{"RENAMENX", o.key("h"), o.key("h")} },
	func(o *opMaker) []string { return []string{"COPY", o.key("n"), o.key("n"), "REPLACE"} },
	func(o *opMaker) []string { return []string{"COPY", o.key("z"), o.key("z"), "REPLACE"} },
	func(o *opMaker) []string { return []string{"MSET", o.key("s"), o.n, o.key("e"), o.n} },
	func(o *opMaker) []string {
		return []string{"EVAL", "redis.call('INCR', KEYS[1]) return redis.call('APPEND', KEYS[2], ARGV[1])", "2", o.key("n"), o.key("s"), "z"}
	},
}
