package compat

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"surecut/internal/keyspace"
)

// These are the ways to bring the keys of a group into one slot.
const (
	TagVariable = "variable" // by a part that varies but is the same in all names of keys used together: many tags, spread over the slots
	TagConstant = "constant" // by one fixed tag: all keys in one slot
	TagNone     = "none"     // there is no way
)

// KeyGroup is a set of templates whose keys are used together, directly or through others. It has the hash tag that brings keys
// which belong together into one slot.
type KeyGroup struct {
	Tag       string           `json:"tag"`   // variable, constant, none
	Calls     int64            `json:"calls"` // calls that used several keys of the group
	Commands  []string         `json:"commands"`
	Templates []TaggedTemplate `json:"templates"`
	Skew      *TagSkew         `json:"skew"` // null where no keys were measured
	Note      string           `json:"note"`
}

// TaggedTemplate is one template of a group, and the name that its keys should get.
type TaggedTemplate struct {
	Template string `json:"template"`
	Tagged   string `json:"tagged"` // "": no tag helps
	Why      string `json:"why"`    // why no tag helps

	rule tagRule
}

const (
	maxTemplates = 5000 // number of templates that are used together
	maxPairs     = 20000
	maxFolded    = 8  // number of folded parts of a name that may become a tag
	maxGroup     = 60 // largest number of templates of a group that are examined together
)

// pairing collects which templates are used together, and which folded parts of their keys were equal each time.
type pairing struct {
	nodes   map[string]*node
	pairs   map[[2]*node]*pair
	dropped int64
	sample  map[string]struct{} // distinct keys that were used with others
	sampled int                 // bytes of the sampled keys
}

// node is one template.
type node struct {
	template string
	folded   int    // number of folded parts, maxFolded at most
	tag      string // folded text between its braces; "" without braces
	hasTag   bool
	tagPart  int // index of the folded part within its braces; -1: none, or several
	calls    int64
}

// pair is two templates whose keys were used together, the lesser one first. Both are the same if two keys of one template were.
type pair struct {
	a, b     *node
	calls    int64
	agree    [maxFolded]uint8 // by folded part of a: bits of the parts of b that were equal every time
	commands counter
}

// These bound the keys that are remembered to measure the skew that a tag would cause.
const (
	maxSample  = 50_000
	maxSampled = 16 << 20 // bytes
)

func newPairing() pairing {
	return pairing{nodes: map[string]*node{}, pairs: map[[2]*node]*pair{}, sample: map[string]struct{}{}}
}

// use notes that a command used these keys together. Each is compared with the first one: parts that all others share with the
// first are shared by all.
func (p *pairing) use(command string, keys []string) {
	if len(p.sample) < maxSample && p.sampled < maxSampled {
		for _, k := range keys {
			if _, known := p.sample[k]; !known {
				p.sample[k] = struct{}{}
				p.sampled += len(k)
			}
		}
	}
	first, firstParts := p.node(keys[0])
	if first == nil {
		return
	}
	for _, k := range keys[1:] {
		other, parts := p.node(k)
		if other == nil {
			continue
		}
		a, b, of, with := first, other, firstParts, parts
		if b.template < a.template {
			a, b, of, with = b, a, with, of
		}
		e := p.pairs[[2]*node{a, b}]
		if e == nil {
			if len(p.pairs) == maxPairs {
				p.dropped++
				continue
			}
			e = &pair{a: a, b: b, commands: newCounter(20)}
			for i := range e.agree {
				e.agree[i] = 0xff
			}
			p.pairs[[2]*node{a, b}] = e
		}
		e.calls++
		e.commands.add(command)
		for i := range a.folded {
			for j := range b.folded {
				if of[i] != with[j] {
					e.agree[i] &^= 1 << j
				}
			}
		}
	}
}

// node returns the template of a key and the key's folded parts.
func (p *pairing) node(key string) (*node, []string) {
	text, folded := keyspace.Template(key)
	var parts []string
	for _, f := range folded[:min(len(folded), maxFolded)] {
		parts = append(parts, key[f.From:f.To])
	}
	n := p.nodes[text]
	if n == nil {
		if len(p.nodes) == maxTemplates {
			p.dropped++
			return nil, nil
		}
		n = &node{template: text, folded: len(parts), tagPart: -1}
		if open, end, ok := braces(key); ok {
			n.hasTag = true
			n.tag, _ = keyspace.Template(key[open+1 : end])
			within := 0
			for i, f := range folded[:len(parts)] {
				if f.From > open && f.To <= end {
					n.tagPart, within = i, within+1
				}
			}
			if within > 1 {
				n.tagPart = -1
			}
		}
		p.nodes[text] = n
	}
	n.calls++
	return n, parts
}

// braces returns the position of the hash tag in a name.
func braces(name string) (open, end int, ok bool) {
	open = strings.IndexByte(name, '{')
	if open < 0 {
		return 0, 0, false
	}
	n := strings.IndexByte(name[open+1:], '}')
	return open, open + 1 + n, n > 0
}

// groups returns the sets of templates that are used together, each with its tag.
func (p *pairing) groups() []KeyGroup {
	out := []KeyGroup{}
	for _, members := range components(slices.Collect(maps.Values(p.nodes)), p.pairs) {
		out = append(out, p.solve(members))
	}
	slices.SortStableFunc(out, func(a, b KeyGroup) int {
		return cmp.Or(-cmp.Compare(a.Calls, b.Calls), cmp.Compare(a.Templates[0].Template, b.Templates[0].Template))
	})
	return out
}

// components returns the sets of templates that pairs connect. A template without a pair is in none of them.
func components(nodes []*node, pairs map[[2]*node]*pair) [][]*node {
	next := map[*node][]*node{}
	for k := range pairs {
		next[k[0]] = append(next[k[0]], k[1])
		next[k[1]] = append(next[k[1]], k[0])
	}
	slices.SortFunc(nodes, byTemplate)
	seen := map[*node]bool{}
	var out [][]*node
	for _, n := range nodes {
		if seen[n] || len(next[n]) == 0 {
			continue
		}
		seen[n] = true
		members := []*node{n}
		for i := 0; i < len(members); i++ {
			for _, m := range next[members[i]] {
				if !seen[m] {
					seen[m] = true
					members = append(members, m)
				}
			}
		}
		slices.SortFunc(members, byTemplate)
		out = append(out, members)
	}
	return out
}

func byTemplate(a, b *node) int { return cmp.Compare(a.template, b.template) }

// solve determines the tag of a group: a folded part that is equal in all keys used together, if necessary without the templates
// that prevent it, else one tag for all keys.
func (p *pairing) solve(members []*node) KeyGroup {
	g := KeyGroup{Tag: TagNone, Commands: []string{}}
	var edges []*pair
	commands := newCounter(20)
	in := map[*node]bool{}
	for _, n := range members {
		in[n] = true
	}
	for k, e := range p.pairs {
		if in[k[0]] {
			edges = append(edges, e)
			g.Calls += e.calls
			for name := range e.commands.names {
				commands.add(name)
			}
		}
	}
	slices.SortFunc(edges, func(a, b *pair) int { return cmp.Or(byTemplate(a.a, b.a), byTemplate(a.b, b.b)) })
	g.Commands = append(g.Commands, commands.top(20)...)
	slices.Sort(g.Commands)
	kept, cut := slices.Clone(members), []*node(nil)
	var hub map[*node]bool // templates that alone connect the others
	if len(members) <= maxGroup {
		for len(kept) > 0 {
			part, ok := assign(kept, edges)
			if ok && (len(cut) == 0 || len(part) > 0) {
				g.tagged(kept, cut, part)
				return g
			}
			if ok && hub == nil {
				hub = map[*node]bool{}
				for _, n := range cut {
					hub[n] = true
				}
			}
			n := inTheWay(kept, edges)
			kept = slices.DeleteFunc(kept, func(m *node) bool { return m == n })
			cut = append(cut, n)
		}
	}
	p.constant(&g, members, hub)
	return g
}

// assign picks for each template the folded part that becomes its tag, such that keys that are used together always have the same
// tag. Templates without a pair need no tag.
func assign(members []*node, edges []*pair) (map[*node]int, bool) {
	in := map[*node]bool{}
	for _, n := range members {
		in[n] = true
	}
	bound := map[*node][]*pair{}
	for _, e := range edges {
		if in[e.a] && in[e.b] {
			bound[e.a] = append(bound[e.a], e)
			if e.b != e.a {
				bound[e.b] = append(bound[e.b], e)
			}
		}
	}
	part := map[*node]int{}
	fits := func(n *node, v int) bool {
		if n.hasTag && n.tagPart != v {
			return false
		}
		for _, e := range bound[n] {
			a, aSet := part[e.a]
			b, bSet := part[e.b]
			if e.a == n {
				a, aSet = v, true
			}
			if e.b == n {
				b, bSet = v, true
			}
			if aSet && bSet && e.agree[a]&(1<<b) == 0 {
				return false
			}
		}
		return true
	}
	steps := 0
	var place func(i int) bool
	place = func(i int) bool {
		if i == len(members) {
			return true
		}
		n := members[i]
		if len(bound[n]) == 0 {
			return place(i + 1)
		}
		for v := range n.folded {
			if steps++; steps > 20_000 {
				return false
			}
			if fits(n, v) {
				part[n] = v
				if place(i + 1) {
					return true
				}
				delete(part, n)
			}
		}
		return false
	}
	if !place(0) {
		return nil, false
	}
	return part, sameTags(part)
}

// sameTags says whether all tags that exist already have the same text, because all new tags follow it.
func sameTags(part map[*node]int) bool {
	have := ""
	for n := range part {
		if n.hasTag && have != "" && n.tag != have {
			return false
		}
		if n.hasTag {
			have = n.tag
		}
	}
	return true
}

// inTheWay returns the template that prevents a tag for the others: preferably one without a folded part, else the one with the
// most pairs.
func inTheWay(members []*node, edges []*pair) *node {
	weight := map[*node]int{}
	for _, e := range edges {
		if slices.Contains(members, e.a) && slices.Contains(members, e.b) {
			weight[e.a]++
			weight[e.b]++
		}
	}
	worst := members[0]
	for _, n := range members[1:] {
		if fixed, was := n.folded == 0, worst.folded == 0; fixed != was {
			if fixed {
				worst = n
			}
		} else if weight[n] > weight[worst] {
			worst = n
		}
	}
	return worst
}

// tagged writes the templates with their tags by a folded part.
func (g *KeyGroup) tagged(kept, cut []*node, part map[*node]int) {
	g.Tag = TagVariable
	like := ""
	for n := range part {
		if n.hasTag {
			like = n.tag
		}
	}
	for _, n := range kept {
		v, ok := part[n]
		if !ok { // all templates that it was used with were cut
			g.Templates = append(g.Templates, TaggedTemplate{Template: keyspace.Printable(n.template), Tagged: keyspace.Printable(n.template), rule: tagRule{template: n.template}})
			continue
		}
		r := tagRule{template: n.template, part: v, like: like, keep: n.hasTag, active: true}
		g.Templates = append(g.Templates, TaggedTemplate{Template: keyspace.Printable(n.template), Tagged: keyspace.Printable(r.pattern()), rule: r})
	}
	for _, n := range cut {
		g.Templates = append(g.Templates, TaggedTemplate{Template: keyspace.Printable(n.template), Why: "its keys are used together with keys of different tags; split such calls, or keep a copy of it for each tag"})
	}
	g.Note = "Each value of the tag has its own slot."
	if len(cut) > 0 {
		g.Note += fmt.Sprintf(" No tag helps %d of the templates.", len(cut))
	}
	slices.SortFunc(g.Templates, func(a, b TaggedTemplate) int { return cmp.Compare(a.Template, b.Template) })
}

// smallGroup is how many distinct keys may safely share one slot.
const smallGroup = 100

// constant gives all keys of the group one tag if there are few keys. Otherwise only the templates of the hub need a remedy:
// without them, the others are not used together.
func (p *pairing) constant(g *KeyGroup, members []*node, hub map[*node]bool) {
	in := map[string]bool{}
	tag := ""
	foreign := false
	for _, n := range members {
		in[n.template] = true
		switch {
		case !n.hasTag:
		case n.tagPart >= 0 || tag != "" && tag != n.tag || strings.ContainsAny(n.tag, "#*"):
			foreign = true
		default:
			tag = n.tag
		}
	}
	keys := 0
	for k := range p.sample {
		if text, _ := keyspace.Template(k); in[text] {
			keys++
		}
	}
	if tag == "" {
		tag = groupName(members)
	}
	few := keys <= smallGroup && !foreign
	g.Tag = TagNone
	g.Note = fmt.Sprintf("Only a single tag for all keys would bring them together, which puts at least %d keys into one slot. Split the calls, or store what they need together in one key.", keys)
	if foreign {
		g.Note = "They already have different hash tags. Split the calls, or choose other tags."
	}
	if !few && !foreign && len(hub) > 0 {
		g.Note += " The templates without a remedy are what the calls have in common; the others need no tag."
	}
	if few {
		g.Tag = TagConstant
		g.Note = fmt.Sprintf("Then all of them are in one slot (%d keys were seen), which is acceptable for a few keys, but not for data that grows.", keys)
	}
	for _, n := range members {
		t := TaggedTemplate{Template: keyspace.Printable(n.template), Why: "it is used together with many others that have nothing in common"}
		if few {
			t.Why, t.rule = "", tagRule{template: n.template, constant: tag, keep: n.hasTag, active: true}
			t.Tagged = keyspace.Printable(t.rule.pattern())
		} else if len(hub) > 0 && !hub[n] {
			t.Why, t.Tagged, t.rule = "", keyspace.Printable(n.template), tagRule{template: n.template}
		}
		g.Templates = append(g.Templates, t)
	}
}

// groupName returns the first word of the first template that has one.
func groupName(members []*node) string {
	for _, n := range members {
		word := strings.FieldsFunc(n.template, func(r rune) bool { return strings.ContainsRune(":./|-#*{}", r) })
		if len(word) > 0 {
			return word[0]
		}
	}
	return "group"
}
