package reports

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"surecut/scanner"
)

// renderCSV returns the form for spreadsheets. It has every key that a bigkeys report lists once, with the largest first.
func renderCSV(r Report) ([]byte, error) {
	b, ok := r.(*BigKeys)
	if !ok {
		return nil, fmt.Errorf("csv is a form of bigkeys reports, this is a %s report; choose %s", r.Kind(), strings.Join(formats, ", "))
	}
	type id struct {
		node, key string
		db        int
	}
	seen := map[id]bool{}
	var keys []scanner.BigKey
	for _, k := range slices.Concat(b.Top, b.TopElements, b.TopLargest) {
		if at := (id{k.Node, k.KeyBase64 + k.KeyDigest, k.DB}); !seen[at] {
			seen[at] = true
			keys = append(keys, k)
		}
	}
	slices.SortStableFunc(keys, func(x, y scanner.BigKey) int { return cmp.Compare(y.Bytes, x.Bytes) })
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	rows := [][]string{{"db", "type", "key", "key_base64", "encoding", "slot", "node", "bytes", "serialized", "elements", "largest_element", "ttl_ms", "idle_seconds", "frequency", "risks"}}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, k := range keys {
		rows = append(rows, []string{strconv.Itoa(k.DB), cell(k.Type), cell(k.Key), k.KeyBase64, cell(k.Encoding), strconv.Itoa(int(k.Slot)), cell(k.Node), number(k.Bytes),
			number(k.Serialized), number(k.Elements), number(k.LargestElement), number(k.TTLMs), number(k.IdleSeconds), number(k.Frequency), cell(strings.Join(k.Risks, "; "))})
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("encode CSV: %w", err)
	}
	return out.Bytes(), nil
}

// cell makes untrusted text safe for a spreadsheet, which would evaluate a text that begins like a formula. Spreadsheets in some
// languages also take the full-width forms of these characters.
func cell(s string) string {
	if s = visible(s); strings.IndexAny(s, "=+-@＝＋－＠") == 0 {
		return "'" + s
	}
	return s
}
