package migrator

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// A shard of a source cluster is identified by the IDs of its nodes. Each link remembers them, and the slots that its shard held when the
// migration began. A failover keeps a shard's slots and promotes a node that was known as its replica. Slots that move to another shard are
// followed by the streams of both (mover.go). A full copy has no stream, nor has a source that is scanned, so that these watch the slots, and stop
// when they begin to move. Nothing is deleted before the slots are known to be in place.

// errResharded says that slots move between the shards of the source, where that is not followed.
var errResharded = errors.New("a full copy, and a source that is scanned, cannot follow slots that move between shards of the source, so the target is incomplete: wait until the move has ended, then begin a new migration with a new Config.StateDir and an empty target (or Config.OnExisting replace)")

// holding is a shard as a link knows it.
type holding struct {
	primary string   // address of its primary, as last known
	nodes   []string // IDs of the nodes that were seen in the shard
	slots   keyspace.SlotRanges
	gone    bool // the shard has left the source
}

// slotMove is a slot that one node held, and another one holds now or is about to hold. An empty address stands for no node.
type slotMove struct {
	slot     uint16
	from, to string
	began    bool // the keys are being moved; the slot itself has not changed hands yet
}

// reshardError says which slots of the source have moved or are moving.
type reshardError struct{ moves []slotMove }

func (e *reshardError) Unwrap() error { return errResharded }

// began says whether keys may be moving at this instant.
func (e *reshardError) began() bool {
	return slices.ContainsFunc(e.moves, func(m slotMove) bool { return m.began })
}

// mostMoves bounds the moves that an error lists. Slots that moved between the same nodes count as one.
const mostMoves = 4

func (e *reshardError) Error() string {
	type way struct {
		from, to string
		began    bool
	}
	var ways []way
	taken := map[way][]uint16{}
	for _, m := range e.moves {
		w := way{m.from, m.to, m.began}
		if taken[w] == nil {
			ways = append(ways, w)
		}
		taken[w] = append(taken[w], m.slot)
	}
	var parts []string
	for i, w := range ways {
		if i == mostMoves {
			parts = append(parts, fmt.Sprintf("and %d more moves", len(ways)-i))
			break
		}
		noun, verb := "slot ", "moved"
		if len(taken[w]) > 1 {
			noun = "slots "
		}
		if w.began {
			verb = "began to move"
		}
		parts = append(parts, fmt.Sprintf("%s%s of the source %s from %s to %s", noun, slotList(taken[w]), verb, orNobody(w.from), orNobody(w.to)))
	}
	return strings.Join(parts, "; ") + ": " + errResharded.Error()
}

func orNobody(addr string) string {
	if addr == "" {
		return "no node"
	}
	return addr
}

// mostRanges bounds the ranges of slots that a text lists.
const mostRanges = 20

// slotList returns slots in ascending order, as "5426" or "0-100,5426", and only how many there are beyond mostRanges ranges.
func slotList(slots []uint16) string {
	slices.Sort(slots)
	var parts []string
	for i := 0; i < len(slots); {
		if len(parts) == mostRanges {
			return fmt.Sprintf("%s and %d more", strings.Join(parts, ","), len(slots)-i)
		}
		j := i
		for j+1 < len(slots) && slots[j+1] == slots[j]+1 {
			j++
		}
		text := strconv.Itoa(int(slots[i]))
		if j > i {
			text += "-" + strconv.Itoa(int(slots[j]))
		}
		parts = append(parts, text)
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// home is the shard that a link finds in a topology.
type home struct {
	shard  int  // index of the shard; -1: there is none
	proven bool // the primary of the shard was known as one of its nodes
}

// findHomes returns the shard of each link in a topology, of which owners are the owners of slots.
func findHomes(known []holding, now []endpoint.Shard, owners []int) (homes []home) {
	for i := range known {
		homes = append(homes, findHome(known, i, now, owners))
	}
	return homes
}

// compareSlots returns the shard of each link in a topology, and the slots that are not where the links know them to be.
func compareSlots(known []holding, now []endpoint.Shard) (homes []home, moves []slotMove) {
	before, owners := ownersOf(known), shardOwners(now)
	homes = findHomes(known, now, owners)
	for slot := range keyspace.Slots {
		was, is := before[slot], owners[slot]
		switch {
		case was < 0 && is < 0:
		case was < 0: // no node held the slot, so its keys belong to no link
			moves = append(moves, slotMove{slot: uint16(slot), to: now[is].Primary.Addr})
		case is < 0:
			moves = append(moves, slotMove{slot: uint16(slot), from: known[was].primary})
		case homes[was].shard != is:
			from := known[was].primary
			if h := homes[was]; h.proven {
				from = now[h.shard].Primary.Addr
			}
			moves = append(moves, slotMove{slot: uint16(slot), from: from, to: now[is].Primary.Addr})
		}
	}
	return homes, moves
}

// findHome finds the shard of link i: the one whose primary is a known node of the link's shard. If there are several, because the shard
// was split among its nodes, it takes the one with most of the slots. If there is none, it takes a shard whose primary no link knows and
// which holds exactly the slots of the link, as not proven.
func findHome(known []holding, i int, now []endpoint.Shard, owners []int) home {
	count := make([]int, len(now))
	for slot := range known[i].slots.All() {
		if owners[slot] >= 0 {
			count[owners[slot]]++
		}
	}
	best, most := -1, -1
	for j, s := range now {
		if slices.Contains(known[i].nodes, s.Primary.ID) && count[j] > most {
			best, most = j, count[j]
		}
	}
	if best >= 0 {
		return home{best, true}
	}
	for j, s := range now {
		others := slices.ContainsFunc(known, func(h holding) bool { return slices.Contains(h.nodes, s.Primary.ID) })
		if !others && s.Slots.String() == known[i].slots.String() {
			return home{j, false}
		}
	}
	return home{shard: -1}
}

// ownersOf returns for each slot the index of the link that knows it as its own; -1: none does.
func ownersOf(known []holding) []int {
	ranges := make([]keyspace.SlotRanges, len(known))
	for i, h := range known {
		ranges[i] = h.slots
	}
	return indexSlots(ranges)
}

// shardOwners returns for each slot the index of the shard that holds it; -1: none does.
func shardOwners(shards []endpoint.Shard) []int {
	ranges := make([]keyspace.SlotRanges, len(shards))
	for i, s := range shards {
		ranges[i] = s.Slots
	}
	return indexSlots(ranges)
}

func indexSlots(ranges []keyspace.SlotRanges) []int {
	index := slices.Repeat([]int{-1}, keyspace.Slots)
	for i, rs := range ranges {
		for slot := range rs.All() {
			index[slot] = i
		}
	}
	return index
}
