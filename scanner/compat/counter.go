package compat

import (
	"cmp"
	"slices"
)

// counter counts names in bounded memory (the space-saving algorithm): when it is full a new name takes the place, and
// the count, of the rarest. Frequent names are always among those that stay.
type counter struct {
	room  int
	names map[string]int64
}

func newCounter(room int) counter { return counter{room: room} }

func (c *counter) add(name string) {
	if c.names == nil {
		c.names = map[string]int64{}
	}
	if n, ok := c.names[name]; ok || len(c.names) < c.room {
		c.names[name] = n + 1
		return
	}
	rarest, least := "", int64(-1)
	for name, n := range c.names {
		if least < 0 || n < least || n == least && name < rarest {
			rarest, least = name, n
		}
	}
	delete(c.names, rarest)
	c.names[name] = least + 1
}

// top gives the n most frequent, ties by name.
func (c *counter) top(n int) []string {
	out := make([]string, 0, len(c.names))
	for name := range c.names {
		out = append(out, name)
	}
	slices.SortFunc(out, func(a, b string) int {
		if d := cmp.Compare(c.names[b], c.names[a]); d != 0 {
			return d
		}
		return cmp.Compare(a, b)
	})
	return out[:min(n, len(out))]
}
