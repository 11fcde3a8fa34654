package reports

import (
	"fmt"
	"math"

	"surecut/scanner"
)

// treemap is a drawing of prefixes as nested rectangles, with areas in proportion to their bytes.
type treemap struct {
	Width, Height float64
	Label         string
	Tiles         []tile // each tile after the tile that contains it
}

// tile is one rectangle. Text is "" if it does not fit.
type tile struct {
	X, Y, W, H  float64
	Depth       int
	Shade       int // the shade of the top-level tile, shared by all tiles inside it
	Prefix      string
	Title, Text string
	Size        string
}

// TextX returns the left end of the name.
func (t tile) TextX() float64 { return t.X + 4 }

// TextY returns the baseline of the name.
func (t tile) TextY() float64 { return t.Y + 12.5 }

const (
	treemapWidth, treemapHeight = 1130, 460
	tileHead                    = 17 // the space for the name of a tile that contains others
	tileLeast                   = 3  // narrower or lower tiles are not drawn
	tileShades                  = 8
	letterWidth                 = 6.6
)

// prefixTreemap returns nil if there is nothing to draw.
func prefixTreemap(k *BigKeys) *treemap {
	below := make(map[int][]int)
	for i, n := range k.PrefixTree {
		if n.Parent < i { // a report from a file may contain any parent
			below[max(n.Parent, -1)] = append(below[max(n.Parent, -1)], i)
		}
	}
	m := &treemap{Width: treemapWidth, Height: treemapHeight}
	m.put(k, below, -1, 0, 0, tile{W: treemapWidth, H: treemapHeight})
	if len(m.Tiles) == 0 {
		return nil
	}
	m.Label = fmt.Sprintf("Treemap of %s by bytes; the table of prefixes contains the same figures", plural(int64(len(m.Tiles)), "prefix|prefixes"))
	return m
}

// put lays out the tiles below a node in a rectangle.
func (m *treemap) put(k *BigKeys, below map[int][]int, parent, depth, shade int, in tile) {
	weights := make([]float64, len(below[parent]))
	for i, n := range below[parent] {
		weights[i] = float64(max(k.PrefixTree[n].Bytes, 0))
	}
	whole := float64(max(k.Totals.Bytes, 0))
	if parent >= 0 {
		whole = float64(k.PrefixTree[parent].Bytes)
	}
	for i, r := range squarify(weights, whole, in) {
		n := below[parent][i]
		if depth == 0 {
			shade = i % tileShades
		}
		if r.W < tileLeast || r.H < tileLeast {
			continue
		}
		r.Depth, r.Shade = depth, shade
		m.describe(&r, k.PrefixTree[n], k.Totals.Bytes)
		m.Tiles = append(m.Tiles, r)
		if inner := (tile{X: r.X + 2, Y: r.Y + tileHead, W: r.W - 4, H: r.H - tileHead - 2}); inner.W > 20 && inner.H > 14 && len(below[n]) > 0 {
			m.put(k, below, n, depth+1, shade, inner)
		}
	}
}

func (m *treemap) describe(t *tile, n scanner.PrefixNode, whole int64) {
	t.Prefix = visible(n.Name)
	t.Size = size(n.Bytes)
	t.Title = fmt.Sprintf("%s: %s, %s of all bytes, %s", t.Prefix, t.Size, percent(n.Bytes, whole), plural(n.Keys, "key"))
	if letters := int((t.W - 8) / letterWidth); letters >= 4 && t.H >= 15 {
		t.Text = shorten(t.Prefix, letters)
	}
}

// squarify divides a rectangle by weights, in their order, into parts that are as square as that order allows. If the weights add
// up to less than the whole, the rest stays empty.
func squarify(weights []float64, whole float64, in tile) []tile {
	out := make([]tile, len(weights))
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	if whole = max(whole, sum); whole <= 0 || in.W <= 0 || in.H <= 0 {
		return out
	}
	scale := in.W * in.H / whole
	for from := 0; from < len(weights); {
		side := math.Min(in.W, in.H)
		to, row := from+1, weights[from]*scale
		for to < len(weights) && worst(weights[from:to+1], scale, side) <= worst(weights[from:to], scale, side) {
			row += weights[to] * scale
			to++
		}
		in = layRow(out[from:to], weights[from:to], scale, row, in)
		from = to
	}
	return out
}

// worst returns the worst aspect ratio of the tiles in a row along a side.
func worst(row []float64, scale, side float64) float64 {
	sum := 0.0
	least := math.Inf(1)
	most := 0.0
	for _, w := range row {
		sum += w * scale
		least = math.Min(least, w*scale)
		most = math.Max(most, w*scale)
	}
	if sum == 0 || least == 0 || side == 0 {
		return math.Inf(1)
	}
	return math.Max(side*side*most/(sum*sum), sum*sum/(side*side*least))
}

// layRow puts a row along the shorter side of the rectangle, and returns the rest of the rectangle.
func layRow(out []tile, weights []float64, scale, area float64, in tile) tile {
	if in.W >= in.H {
		width, y := 0.0, in.Y
		if in.H > 0 {
			width = area / in.H
		}
		for i, w := range weights {
			out[i] = tile{X: in.X, Y: y, W: width}
			if width > 0 {
				out[i].H = w * scale / width
			}
			y += out[i].H
		}
		in.X, in.W = in.X+width, math.Max(0, in.W-width)
		return in
	}
	height, x := area/in.W, in.X
	for i, w := range weights {
		out[i] = tile{X: x, Y: in.Y, H: height}
		if height > 0 {
			out[i].W = w * scale / height
		}
		x += out[i].W
	}
	in.Y, in.H = in.Y+height, math.Max(0, in.H-height)
	return in
}
