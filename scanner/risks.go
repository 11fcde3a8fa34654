package scanner

import (
	"fmt"
	"strconv"
	"time"
	"unsafe"

	"surecut/internal/keyspace"
)

const (
	bulkLimit = 512 << 20 // default of proto-max-bulk-len: no argument may be longer
	shareKeys = 100       // with fewer keys than these, the share of one key means nothing
	unpacked  = 512       // elements: where the encoding is not known, larger collections count as hash tables

	// This is how long one core takes for a part of a key, as measured: for each separate string, and for each byte.
	dumpString, dumpByte = 400.0, 2.5 // ns
	delString, delByte   = 250.0, 0.1
)

// risk says how a key may disturb the migration, and what to do about it.
type risk struct{ text, remedy string }

// risks returns only risks that the figures of a key prove, or estimate where the text says so. That a key never expires is a risk
// only in addition to another one: alone it is true of most data.
func (t *tally) risks(k topKey, o Config) []risk {
	risks := append(sizeRisks(k), blockRisks(k, o.Block)...)
	if t.totals.Keys >= shareKeys {
		risks = append(risks, t.shares(k)...)
	}
	if o.TargetMemory > 0 && float64(k.bytes) > o.TargetShare/100*float64(o.TargetMemory) {
		risks = append(risks, risk{fmt.Sprintf("takes %s of the memory of one shard of the target (%s of %s)", percent(k.bytes, o.TargetMemory), size(k.bytes), size(o.TargetMemory)),
			"give the shard that gets slot " + strconv.Itoa(int(k.slot)) + " more memory or fewer slots, or split the key"})
	}
	if len(risks) > 0 && k.ttlMs < 0 {
		risks = append(risks, risk{"never expires", "delete it before the migration, or give it an expiry, if it is not needed for ever"})
	}
	return risks
}

func sizeRisks(k topKey) []risk {
	switch {
	case k.length > bulkLimit:
		return []risk{{fmt.Sprintf("a string of %s exceeds proto-max-bulk-len (512 MiB); servers with the default setting refuse it", size(k.length)),
			"split it into several keys, or raise proto-max-bulk-len on the target before the migration"}}
	case k.serialized > bulkLimit:
		return []risk{{fmt.Sprintf("a payload of %s exceeds proto-max-bulk-len (512 MiB); RESTORE refuses it", size(k.serialized)),
			"copy it in chunks, as surecut migrate does above --big-value, or split it"}}
	}
	return nil
}

// blockRisks estimates how long commands on the whole key block a server.
func blockRisks(k topKey, most time.Duration) (risks []risk) {
	dump, del := blocks(k)
	if dump > most {
		risks = append(risks, risk{fmt.Sprintf("DUMP blocks the source for about %s (%s in %d elements, estimated)", rounded(dump), size(k.bytes), max(k.elements, 0)),
			"copy it by replication, as surecut migrate does, and not by DUMP or MIGRATE; or split it"})
	}
	if del > most {
		risks = append(risks, risk{fmt.Sprintf("DEL blocks a server for about %s (%d elements, estimated)", rounded(del), max(k.elements, 0)),
			"use UNLINK (since 4.0), or delete its elements in pieces; set lazyfree-lazy-expire and lazyfree-lazy-server-del on the target"})
	}
	return risks
}

// blocks estimates how long DUMP and DEL of a key take.
func blocks(k topKey) (dump, del time.Duration) {
	strings := 0.0
	if whole := isWhole(k); !whole && k.elements > 0 {
		strings = float64(k.elements)
		if k.typ == keyspace.Hash {
			strings *= 2
		}
	}
	bytes := float64(k.bytes)
	return time.Duration(strings*dumpString + bytes*dumpByte), time.Duration(strings*delString + bytes*delByte)
}

// isWhole says whether a value consists of few allocations.
func isWhole(k topKey) bool {
	switch k.encoding {
	case "hashtable", "skiplist", "linkedlist":
		return false
	case "":
		return k.elements <= unpacked || k.typ == keyspace.String || k.typ == keyspace.List || k.typ == keyspace.Stream
	}
	return true
}

func rounded(d time.Duration) time.Duration {
	if d > 10*time.Second {
		return d.Round(time.Second)
	}
	return d.Round(10 * time.Millisecond)
}

// shares returns a risk for a key that has a large share of the bytes: a cluster distributes slots, not keys, so the shard of such
// a key is larger than the others.
func (t *tally) shares(k topKey) []risk {
	const remedy = "split it into keys of several slots, or move its slot to a shard with enough memory"
	if k.bytes*10 > t.totals.Bytes {
		return []risk{{fmt.Sprintf("%s of all bytes, which no cluster can distribute", percent(k.bytes, t.totals.Bytes)), remedy}}
	}
	if slot := t.slots[k.slot]; k.bytes*10 > slot.bytes && slot.bytes*100 > t.totals.Bytes {
		return []risk{{fmt.Sprintf("%s of slot %d, which holds %s of all bytes", percent(k.bytes, slot.bytes), k.slot, percent(slot.bytes, t.totals.Bytes)), remedy}}
	}
	return nil
}

// shards returns the distribution of the slots on a cluster that divides them evenly, as redis-cli --cluster create does.
func (t *tally) shards(o Config) []TargetShard {
	list := make([]TargetShard, o.TargetShards)
	per := float64(keyspace.Slots) / float64(o.TargetShards)
	mean := max(1, float64(t.totals.Bytes)/float64(o.TargetShards))
	for i := range list {
		first, last := int(float64(i)*per+0.5), int(float64(i+1)*per+0.5)-1
		s := TargetShard{Shard: i + 1, FirstSlot: uint16(first), LastSlot: uint16(last)}
		large, heavy := first, first // the slot with the largest key and the slot with the most bytes
		for slot := first; slot <= last; slot++ {
			sum := t.slots[slot]
			s.Keys += sum.keys
			s.Bytes += sum.bytes
			if sum.largest > t.slots[large].largest {
				large = slot
			}
			if sum.bytes > t.slots[heavy].bytes {
				heavy = slot
			}
		}
		s.Load, s.LargestKey = float64(int64(100*float64(s.Bytes)/mean+0.5))/100, keyspace.Printable(string(t.largest[large]))
		t.judgeShard(&s, t.slots[large].largest, heavy, o)
		list[i] = s
	}
	return list
}

// skewed is the load from which on a shard is a risk.
const skewed = 1.25

func (t *tally) judgeShard(s *TargetShard, largest int64, slot int, o Config) {
	heaviest := t.slots[slot].bytes
	switch {
	case o.TargetMemory > 0 && s.Bytes > o.TargetMemory:
		s.Risk = fmt.Sprintf("holds %s, more than the %s of a shard", size(s.Bytes), size(o.TargetMemory))
		s.Remedy = "give each shard more memory, or use more shards"
	case t.totals.Keys >= shareKeys && s.Load > skewed:
		s.Risk = fmt.Sprintf("holds %.2f times the mean", s.Load)
		s.Remedy = "give it fewer slots than the others"
	default:
		return
	}
	switch {
	case largest*4 > s.Bytes:
		s.Remedy += fmt.Sprintf("; its largest key alone has %s; split this key", percent(largest, s.Bytes))
	case heaviest*4 > s.Bytes:
		s.Remedy += fmt.Sprintf("; slot %d alone has %s; look for a hash tag that too many keys share", slot, percent(heaviest, s.Bytes))
	}
}

func percent(part, whole int64) string {
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(max(whole, 1)))
}

// size returns a number of bytes with a binary unit.
func size(n int64) string {
	unit, f := 0, float64(n)
	for f >= 1024 && unit < 4 {
		unit, f = unit+1, f/1024
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, [...]string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// slotOf returns keyspace.Slot of a name without keeping the name.
func slotOf(name []byte) uint16 {
	return keyspace.Slot(unsafe.String(unsafe.SliceData(name), len(name)))
}
