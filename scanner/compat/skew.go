package compat

import (
	"fmt"

	"surecut/internal/keyspace"
)

// TagSkew says how the keys of a group would be distributed once they have their tags.
type TagSkew struct {
	From         string  `json:"from"` // calls: the distinct keys that were seen in calls; bigkeys: every key of the source
	Keys         int64   `json:"keys"`
	Bytes        int64   `json:"bytes"` // 0 where only names are known
	Tags         int64   `json:"tags"`  // number of distinct tags; exact up to 100,000
	LargestTag   string  `json:"largest_tag"`
	LargestKeys  int64   `json:"largest_keys"`
	LargestBytes int64   `json:"largest_bytes"`
	MaxSlotShare float64 `json:"max_slot_share"` // share of the group's keys that are in its fullest slot, 0 to 1
}

// maxTags bounds the number of tags that are distinguished, and maxTag the bytes of one that are remembered.
const (
	maxTags = 100_000
	maxTag  = 256
)

// Measurement sums up the keys of a deployment by the tags that the proposals give them.
type Measurement struct {
	from   string
	rules  map[string]placed
	groups []*groupSize
}

type placed struct {
	rule  tagRule
	group int
}

type groupSize struct {
	keys, bytes int64
	tags        map[string]*tagSize
	slots       map[uint16]int64
}

type tagSize struct{ keys, bytes int64 }

// Measure begins to sum up keys for the groups of a result.
func (r *Result) Measure(from string) *Measurement {
	m := &Measurement{from: from, rules: map[string]placed{}}
	for i, g := range r.KeyGroups {
		m.groups = append(m.groups, &groupSize{tags: map[string]*tagSize{}, slots: map[uint16]int64{}})
		for _, t := range g.Templates {
			if t.rule.template != "" {
				m.rules[t.rule.template] = placed{t.rule, i}
			}
		}
	}
	return m
}

// Add adds one key.
func (m *Measurement) Add(key string, bytes int64) {
	text, folded := keyspace.Template(key)
	p, ok := m.rules[text]
	if !ok {
		return
	}
	g := m.groups[p.group]
	name := key
	if p.rule.active {
		name = p.rule.apply(key, folded)
	}
	g.keys, g.bytes = g.keys+1, g.bytes+bytes
	g.slots[keyspace.Slot(name)]++
	tag := name
	if open, end, ok := braces(name); ok {
		tag = name[open+1 : end]
	}
	if len(tag) > maxTag {
		tag = fmt.Sprintf("%s...%08x", tag[:maxTag], keyHash(tag))
	}
	t := g.tags[tag]
	if t == nil {
		if len(g.tags) == maxTags {
			return
		}
		t = &tagSize{}
		g.tags[tag] = t
	}
	t.keys, t.bytes = t.keys+1, t.bytes+bytes
}

// Apply writes the sums into the result. A group without a counted key keeps its former figures.
func (m *Measurement) Apply(r *Result) {
	for i, g := range m.groups {
		if g.keys == 0 {
			continue
		}
		s := &TagSkew{From: m.from, Keys: g.keys, Bytes: g.bytes, Tags: int64(len(g.tags))}
		var largest tagSize
		for tag, t := range g.tags {
			if t.bytes > largest.bytes || t.bytes == largest.bytes && (t.keys > largest.keys || t.keys == largest.keys && tag < s.LargestTag) {
				largest, s.LargestTag = *t, tag
			}
		}
		s.LargestTag, s.LargestKeys, s.LargestBytes = keyspace.Printable(s.LargestTag), largest.keys, largest.bytes
		var fullest int64
		for _, n := range g.slots {
			fullest = max(fullest, n)
		}
		s.MaxSlotShare = float64(fullest) / float64(g.keys)
		r.KeyGroups[i].Skew = s
	}
}
