package rdb

// RaxUse counts the parts of radix trees: a leaf for each element, branches where elements diverge, and chains for the bytes that
// elements share.
type RaxUse struct{ Elements, Branches, Chains int64 }

func (u *RaxUse) add(t *raxCount) {
	t.end()
	u.Elements += t.elements
	u.Branches += t.branches
	u.Chains += t.chains
}

// raxCount counts the parts of one radix tree from its keys, which are added in order.
type raxCount struct {
	elements int64
	branches int64
	chains   int64
	last     []byte
	open     []int // depths of the branches on the path to the last key
}

func (t *raxCount) add(key []byte) {
	t.elements++
	if t.elements == 1 {
		t.last = append(t.last[:0], key...)
		return
	}
	common := 0
	for common < min(len(t.last), len(key)) && t.last[common] == key[common] {
		common++
	}
	t.close(common)
	if len(t.open) == 0 || t.open[len(t.open)-1] < common {
		t.open = append(t.open, common)
	}
	t.last = append(t.last[:0], key...)
}

// close counts the paths below a depth, and forgets them.
func (t *raxCount) close(depth int) {
	bottom := len(t.last)
	for len(t.open) > 0 && t.open[len(t.open)-1] >= depth {
		at := t.open[len(t.open)-1]
		t.way(at, bottom)
		if at == depth {
			return
		}
		t.branches++
		bottom = at
		t.open = t.open[:len(t.open)-1]
	}
	t.way(depth, bottom)
}

// way counts the bytes between two nodes as a chain, unless there is only one: a single byte belongs to the upper node.
func (t *raxCount) way(from, to int) {
	if to-from > 1 {
		t.chains++
	}
}

// end counts the paths to the last key.
func (t *raxCount) end() {
	if t.elements == 0 {
		return
	}
	top := len(t.last)
	for len(t.open) > 0 {
		at := t.open[len(t.open)-1]
		t.way(at, top)
		t.branches++
		top = at
		t.open = t.open[:len(t.open)-1]
	}
	if top > 0 {
		t.chains++
	}
}
