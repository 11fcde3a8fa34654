package scanner

import (
	"slices"

	"surecut/internal/keyspace"
)

const (
	prefixLimit = 10_000 // prefixes that are kept when the table is cleared; it may grow to twice as many
	prefixDepth = 3      // number of parts of a name that form its prefix
	otherGroup  = "(other)"

	treeNodes = 400  // largest number of nodes in the tree
	treeShare = 2000 // prefixes with less than one in so many of the bytes are not drawn
)

// prefixTable sums up keys by folded prefix. When it is full, the smaller half of the prefixes goes to one group for the rest. So
// the sum of all groups is always exact, but a prefix that was once moved to the rest is listed too small.
type prefixTable struct {
	byName map[string]*Group
	other  Group
	buf    []byte
	folded bool
}

func newPrefixTable() prefixTable {
	return prefixTable{byName: map[string]*Group{}, other: Group{Name: otherGroup}}
}

func (t *prefixTable) add(name []byte, sum Group) {
	t.buf = keyspace.AppendTemplate(t.buf[:0], name, prefixDepth)
	g := t.byName[string(t.buf)]
	if g == nil {
		g = t.group(string(t.buf))
	}
	g.sum(sum)
}

// group returns the group of a prefix, and creates it if necessary.
func (t *prefixTable) group(prefix string) *Group {
	g := t.byName[prefix]
	if g == nil {
		if len(t.byName) == 2*prefixLimit {
			t.clear()
		}
		g = &Group{Name: prefix}
		t.byName[prefix] = g
	}
	return g
}

func (t *prefixTable) merge(o *prefixTable) {
	for _, g := range o.sorted() {
		t.group(g.Name).sum(g)
	}
	t.other.sum(o.other)
	t.folded = t.folded || o.folded
}

func (t *prefixTable) sorted() []Group {
	all := make([]Group, 0, len(t.byName))
	for _, g := range t.byName {
		all = append(all, *g)
	}
	slices.SortFunc(all, largestFirst)
	return all
}

func (t *prefixTable) clear() {
	t.folded = true
	for _, g := range t.sorted()[prefixLimit:] {
		t.other.sum(g)
		delete(t.byName, g.Name)
	}
}

// groups returns the n largest groups, then the rest as one group, and whether any prefix was ever moved to the rest.
func (t *prefixTable) groups(n int) ([]Group, bool) {
	all, other := t.sorted(), t.other
	for _, g := range all[min(n, len(all)):] {
		other.sum(g)
	}
	all = all[:min(n, len(all)):min(n, len(all))]
	for i := range all {
		all[i].Name = keyspace.Printable(all[i].Name)
	}
	if other.Keys > 0 {
		all = append(all, other)
	}
	return all, t.folded
}

// tree returns the prefixes whose share of the bytes is worth drawing, each after its parent, the largest first.
func (t *prefixTable) tree(bytes int64) []PrefixNode {
	type branch struct {
		Group
		below []*branch
	}
	root, byName := &branch{}, map[string]*branch{}
	var sizes []int64
	for _, g := range t.byName {
		at := root
		for _, end := range partEnds(g.Name) {
			b := byName[g.Name[:end]]
			if b == nil {
				b = &branch{Group: Group{Name: g.Name[:end]}}
				byName[b.Name] = b
				at.below = append(at.below, b)
			}
			b.sum(*g)
			at = b
		}
	}
	for _, b := range byName {
		sizes = append(sizes, b.Bytes)
	}
	least := max(1, bytes/treeShare)
	if slices.Sort(sizes); len(sizes) > treeNodes {
		least = max(least, sizes[len(sizes)-treeNodes-1]+1)
	}
	nodes := []PrefixNode{}
	var put func(b *branch, parent int)
	put = func(b *branch, parent int) {
		slices.SortFunc(b.below, func(x, y *branch) int { return largestFirst(x.Group, y.Group) })
		for _, c := range b.below {
			if c.Bytes < least {
				return
			}
			nodes = append(nodes, PrefixNode{Name: keyspace.Printable(c.Name), Parent: parent, Keys: c.Keys, Bytes: c.Bytes})
			put(c, len(nodes)-1)
		}
	}
	put(root, -1)
	return nodes
}

// partEnds returns where the parts of a folded prefix end, each including the separator after it.
func partEnds(prefix string) (ends []int) {
	for i := range len(prefix) - 1 {
		if keyspace.IsSeparator(prefix[i]) {
			ends = append(ends, i+1)
		}
	}
	return append(ends, len(prefix))
}
