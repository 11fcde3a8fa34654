package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"surecut/scanner"
)

type bigKeysBody struct {
	Lists     []keyTable
	Map       slotMap
	Treemap   *treemap
	Charts    []chart
	Groups    []groupTable
	Shards    []scanner.TargetShard
	Buffers   []scanner.Buffer
	Uncounted []scanner.Uncounted
	SetAside  string
}

type keyTable struct {
	ID, Title, Note string
	Keys            []scanner.BigKey
}

type groupTable struct {
	ID, Title, Note, Head string
	Rows                  []scanner.Group
	Filter                bool
	bytes                 int64
}

// Share returns which part of all bytes the given bytes are.
func (g groupTable) Share(bytes int64) string { return percent(bytes, g.bytes) }

const foldNote = "digits are replaced by #, and UUIDs, hashes and the like by *"

func bigKeysBodyOf(k *BigKeys) (bigKeysBody, error) {
	b := bigKeysBody{Map: bigKeysMap(k), Treemap: prefixTreemap(k), Shards: k.TargetShards, Buffers: k.OutputBuffer,
		Uncounted: k.Uncounted, SetAside: setAside(k)}
	for _, t := range []keyTable{{"top-table", "The largest keys", "by bytes", k.Top}, {"elements-table", "Most elements", "by elements", k.TopElements},
		{"largest-table", "Largest elements", "by the largest element of each", k.TopLargest}} {
		t.Note = fmt.Sprintf("%s %s, of %s scanned", plural(int64(len(t.Keys)), "key"), t.Note, count(k.Totals.Keys))
		t.Keys = t.Keys[:min(htmlRows, len(t.Keys))]
		if t.ID == "top-table" || len(t.Keys) > 0 {
			b.Lists = append(b.Lists, t)
		}
	}
	for _, g := range []groupTable{
		{ID: "types-table", Title: "By type", Head: "Type", Rows: k.ByType},
		{ID: "encodings-table", Title: "By encoding", Head: "Encoding", Rows: k.ByEncoding},
		{ID: "databases-table", Title: "By database", Head: "Database", Rows: k.ByDB},
		{ID: "nodes-table", Title: "By node", Head: "Node", Rows: k.ByNode},
		{ID: "prefixes-table", Title: "By prefix", Note: foldNote, Head: "Prefix", Filter: true, Rows: k.ByPrefix},
	} {
		g.Rows, g.bytes = g.Rows[:min(htmlRows, len(g.Rows))], k.Totals.Bytes
		if len(g.Rows) > 0 {
			b.Groups = append(b.Groups, g)
		}
	}
	var err error
	b.Charts, err = bigKeysCharts(k)
	return b, err
}

// setAside describes the keys that exist but do not count.
func setAside(k *BigKeys) string {
	text := plural(k.Totals.Expired, "expired key") + ", " + plural(k.Totals.Foreign, "key of a foreign slot|keys of foreign slots")
	if left := k.Totals.Expired + k.Totals.Foreign - int64(len(k.Uncounted)); left > 0 {
		text += fmt.Sprintf("; the first %d", len(k.Uncounted))
	}
	return text
}

func bigKeysMap(k *BigKeys) slotMap {
	heavy := slices.Clone(k.BySlot)
	slices.SortStableFunc(heavy, func(a, b scanner.SlotSize) int { return cmp.Compare(b.Bytes, a.Bytes) })
	m := slotMap{Title: "Bytes by slot", Note: "each square is one of the 16,384 slots, 128 a row; the scale is logarithmic, grey squares hold no keys",
		SpotsTitle: "The heaviest slots", Hint: mapHint("of the heaviest"), Least: "no keys", Most: "–"}
	if len(heavy) > 0 {
		m.Least, m.Most = size(heavy[len(heavy)-1].Bytes), size(heavy[0].Bytes)
	}
	for _, s := range heavy[:min(12, len(heavy))] {
		m.Spots = append(m.Spots, spot{Slot: s.Slot, Note: size(s.Bytes)})
	}
	m.Label = fmt.Sprintf("Map of slots by bytes: %s hold keys, from %s to %s", plural(int64(len(heavy)), "slot"), m.Least, m.Most)
	return m
}

func bigKeysCharts(k *BigKeys) ([]chart, error) {
	var types, ttls, sizes, shards []bar
	for _, g := range k.ByType {
		types = append(types, bar{g.Name, g.Bytes})
	}
	for _, t := range k.TTL {
		name := "up to " + t.UpTo
		if rest, ok := strings.CutPrefix(t.UpTo, ">"); ok {
			name = "over " + rest
		} else if t.UpTo == "never" {
			name = "never"
		}
		ttls = append(ttls, bar{name, t.Keys})
	}
	for _, s := range k.Sizes {
		sizes = append(sizes, bar{"up to " + size(s.UpTo), s.Keys})
	}
	for _, s := range k.TargetShards[:min(64, len(k.TargetShards))] {
		shards = append(shards, bar{fmt.Sprintf("shard %d", s.Shard), s.Bytes})
	}
	sortBars(types)
	var list []chart
	for _, c := range []struct {
		title, note string
		format      func(int64) string
		bars        []bar
	}{
		{"Bytes by type", sizeWords(k.Totals.SizeBy), size, types},
		{"Time to live", "keys by the time that they have left; " + cutoverWords(k), count, ttls},
		{"Size of keys", "keys by their bytes", count, sizes},
		{"Shards of the target", "bytes, if the slots are divided evenly", size, shards},
	} {
		if len(c.bars) == 0 {
			continue
		}
		drawn, err := barChart(c.title, c.note, c.format, c.bars)
		if err != nil {
			return nil, err
		}
		list = append(list, drawn)
	}
	return list, nil
}

// cutoverWords describes the keys that will have expired by the cutover.
func cutoverWords(k *BigKeys) string {
	return fmt.Sprintf("within %s %s with %s expire, unless they are renewed", span(k.Cutover.AfterMs), plural(k.Cutover.Keys, "key"), size(k.Cutover.Bytes))
}

func bigKeysData(k *BigKeys) scriptData {
	d := scriptData{Kind: KindBigKeys, Slots: make([][]any, 0, len(k.BySlot)), Findings: map[uint16]int{}}
	for _, s := range k.BySlot {
		d.Slots = append(d.Slots, []any{s.Slot, s.Keys, s.Bytes})
	}
	return d
}
