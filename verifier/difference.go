package verifier

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"surecut/internal/keyspace"
)

// values are one key's values on both sides, which have the same type. The function within says whether two expiries
// of fields are the same.
type values struct {
	Source, Target *keyspace.Value
	within         func(source, target int64) bool
}

// difference says where two values differ: the first place, what each side holds there, and how many places there
// are.
type difference struct {
	Reason         string
	Source, Target string // the piece, shortened and escaped; "" where the side has none
	places         int
	counts         []occurrence
}

// occurrence counts how often two values differ in one way, such as "551 entries on the source only", and names the
// last place.
type occurrence struct {
	noun string // of several parts, such as "entries"
	way  string
	n    int
	last string
}

func (c *occurrence) String() string {
	if c.n > 1 {
		return fmt.Sprintf("%d %s %s (the last one %s)", c.n, c.noun, c.way, c.last)
	}
	one, ok := map[string]string{"entries": "entry", "pending entries": "pending entry", "expiries of fields": "expiry of a field"}[c.noun]
	if !ok {
		one = strings.TrimSuffix(c.noun, "s")
	}
	return fmt.Sprintf("1 %s %s (%s)", one, c.way, c.last)
}

// These are the ways in which a part of two values differs.
const (
	sourceOnly = "on the source only"
	targetOnly = "on the target only"
	other      = "differing"
)

// part notes that one of many parts differs. The label names this part.
func (d *difference) part(noun, way, label, reason, source, target string) {
	d.at(reason, source, target)
	i := slices.IndexFunc(d.counts, func(c occurrence) bool { return c.noun == noun && c.way == way })
	if i < 0 {
		i, d.counts = len(d.counts), append(d.counts, occurrence{noun: noun, way: way})
	}
	d.counts[i].n++
	d.counts[i].last = label
}

func (d *difference) at(reason, source, target string) {
	if d.places++; d.places == 1 {
		d.Reason = reason
		d.Source = source
		d.Target = target
	}
}

// text returns the reason, with the number of places where there are several. It returns "" where nothing differs.
func (d *difference) text() string {
	if d.places <= 1 {
		return d.Reason
	}
	var parts []string
	rest := d.places
	for i := range d.counts {
		rest -= d.counts[i].n
		parts = append(parts, d.counts[i].String())
	}
	if d.places-rest <= 1 {
		return fmt.Sprintf("%s, and %d more", d.Reason, d.places-1)
	}
	if rest > 0 {
		parts = append(parts, fmt.Sprintf("%d other differences", rest))
	}
	return d.Reason + "; in total " + strings.Join(parts, ", ")
}

const (
	onTarget = "is missing on the target"
	onSource = "is on the target only"
)

// compareValues finds where two values of one type differ. It ignores the expiries of the keys.
func compareValues(v values) difference {
	var d difference
	switch v.Source.Type {
	case keyspace.String:
		d.strings(v.Source.Str, v.Target.Str)
	case keyspace.List:
		d.lists(v.Source.List, v.Target.List)
	case keyspace.Set:
		d.sets("member", v.Source.Set, v.Target.Set)
	case keyspace.ZSet:
		d.zsets(v.Source.ZSet, v.Target.ZSet)
	case keyspace.Hash:
		d.hashes(v)
	case keyspace.Stream:
		d.streams(v)
	case keyspace.Module:
		d.vectors(v.Source.Vectors, v.Target.Vectors)
	}
	return d
}

func (d *difference) strings(source, target []byte) {
	d.bytes(source, target, 0)
	if both := min(len(source), len(target)); len(source) != len(target) {
		d.ends(int64(len(source)), int64(len(target)), excerpt(source, both), excerpt(target, both))
	}
	d.of(int64(len(source)))
}

// bytes compares pieces of two strings that begin at the same place, up to the end of the shorter one.
func (d *difference) bytes(source, target []byte, from int64) {
	for i := range min(len(source), len(target)) {
		if source[i] == target[i] {
			continue
		}
		at := strconv.FormatInt(from+int64(i)+1, 10)
		if d.places == 0 {
			d.part("bytes", other, at, "byte "+at, excerpt(source, i), excerpt(target, i))
			continue
		}
		d.places++
		d.counts[0].n++
		d.counts[0].last = at
	}
}

// ends notes that one string ends before the other.
func (d *difference) ends(source, target int64, at, other string) {
	short := "target"
	n := target
	whole := source
	if source < target {
		short = "source"
		n = source
		whole = target
	}
	same := ""
	if d.places == 0 {
		same = "; everything before it is the same"
	}
	d.at(fmt.Sprintf("the %s ends at byte %d of %d: %d bytes are missing there%s", short, n, whole, whole-n, same), at, other)
}

// of adds to the reason, which names the first byte that differs, how many bytes the string has.
func (d *difference) of(length int64) {
	if len(d.counts) > 0 { // bytes are the only part of strings that is counted
		d.Reason += fmt.Sprintf(" of %d differs", length)
	}
}

func (d *difference) lists(source, target [][]byte) {
	before := 0
	for before < min(len(source), len(target)) && bytes.Equal(source[before], target[before]) {
		before++
	}
	after, most := 0, min(len(source), len(target))-before
	for after < most && bytes.Equal(source[len(source)-1-after], target[len(target)-1-after]) {
		after++
	}
	piece := func(list [][]byte) string {
		if before >= len(list)-after {
			return ""
		}
		return short(list[before])
	}
	d.stretch(before, len(source), len(target), after, piece(source), piece(target))
}

// stretch describes two lists that are the same before one stretch of elements, and again after it.
func (d *difference) stretch(before, source, target, after int, piece, other string) {
	inSource := source - before - after
	inTarget := target - before - after
	first := before + 1
	switch {
	case inSource == 0 && inTarget == 0:
	case inTarget == 0:
		d.at(fmt.Sprintf("element %d of %d %s%s", first, source, onTarget, more(inSource, first)), piece, "")
	case inSource == 0:
		d.at(fmt.Sprintf("element %d of %d %s%s", first, target, onSource, more(inTarget, first)), "", other)
	case inSource == inTarget:
		d.at(fmt.Sprintf("element %d of %d differs%s", first, source, more(inSource, first)), piece, other)
	default:
		d.at(fmt.Sprintf("element %d of %d differs: the source has %d elements where the target has %d; those before and after are the same", first, source, inSource, inTarget), piece, other)
	}
}

// more says in words how far a stretch of elements goes on.
func more(n, first int) string {
	if n == 1 {
		return "; all others are the same"
	}
	return fmt.Sprintf(", and more up to element %d, %d in total; those before and after are the same", first+n-1, n)
}

func (d *difference) sets(noun string, source, target [][]byte) {
	on := map[string]bool{}
	for _, m := range target {
		on[string(m)] = true
	}
	for _, m := range source {
		if !on[string(m)] {
			d.part(noun+"s", sourceOnly, short(m), noun+" "+short(m)+" "+onTarget, short(m), "")
		}
		delete(on, string(m))
	}
	for _, m := range sortedKeys(on) {
		d.part(noun+"s", targetOnly, short([]byte(m)), noun+" "+short([]byte(m))+" "+onSource, "", short([]byte(m)))
	}
}

func (d *difference) zsets(source, target []keyspace.Member) {
	scores := map[string]float64{}
	for _, m := range target {
		scores[string(m.Name)] = m.Score
	}
	for _, m := range source {
		score, ok := scores[string(m.Name)]
		switch {
		case !ok:
			d.part("members", sourceOnly, short(m.Name), "member "+short(m.Name)+" "+onTarget, scoreText(m.Score), "")
		case score != m.Score:
			d.score(m.Name, m.Score, score)
		}
		delete(scores, string(m.Name))
	}
	for _, name := range sortedKeys(scores) {
		d.part("members", targetOnly, short([]byte(name)), "member "+short([]byte(name))+" "+onSource, "", scoreText(scores[name]))
	}
}

func (d *difference) score(name []byte, source, target float64) {
	d.part("scores", other, short(name), fmt.Sprintf("the score of member %s is %s on the source and %s on the target", short(name), scoreText(source), scoreText(target)),
		scoreText(source), scoreText(target))
}

func (d *difference) hashes(v values) {
	fields := map[string]keyspace.Field{}
	for _, f := range v.Target.Hash {
		fields[string(f.Name)] = f
	}
	for _, f := range v.Source.Hash {
		held, ok := fields[string(f.Name)]
		switch {
		case !ok:
			d.part("fields", sourceOnly, short(f.Name), "field "+short(f.Name)+" "+onTarget, short(f.Value), "")
		case !bytes.Equal(f.Value, held.Value):
			d.part("fields", other, short(f.Name), "field "+short(f.Name)+" differs", short(f.Value), short(held.Value))
		case !v.within(f.ExpireAt, held.ExpireAt):
			d.part("expiries of fields", other, short(f.Name), "the expiry of field "+short(f.Name)+" differs", expiryText(f.ExpireAt), expiryText(held.ExpireAt))
		}
		delete(fields, string(f.Name))
	}
	for _, name := range sortedKeys(fields) {
		d.part("fields", targetOnly, short([]byte(name)), "field "+short([]byte(name))+" "+onSource, "", short(fields[name].Value))
	}
}

// vectors compares vector sets, the only module values whose elements are known.
func (d *difference) vectors(source, target []keyspace.VectorElement) {
	elements := map[string]keyspace.VectorElement{}
	for _, e := range target {
		elements[string(e.Name)] = e
	}
	for _, e := range source {
		other, ok := elements[string(e.Name)]
		switch {
		case !ok:
			d.at("element "+short(e.Name)+" "+onTarget, short(e.Attributes), "")
		case !bytes.Equal(e.Vector, other.Vector) || e.Scale != other.Scale:
			d.at("the vector of element "+short(e.Name)+" differs", short(e.Vector), short(other.Vector))
		case !bytes.Equal(e.Attributes, other.Attributes):
			d.at("the attributes of element "+short(e.Name)+" differ", short(e.Attributes), short(other.Attributes))
		}
		delete(elements, string(e.Name))
	}
	for _, name := range sortedKeys(elements) {
		d.at("element "+short([]byte(name))+" "+onSource, "", short(elements[name].Attributes))
	}
}

func (d *difference) streams(v values) {
	d.entries(v.Source.Entries, v.Target.Entries)
	if s, t := v.Source.Meta.LastID, v.Target.Meta.LastID; s != t {
		d.at("the last ID differs", s.String(), t.String())
	}
	groups := map[string]keyspace.Group{}
	for _, g := range v.Target.Groups {
		groups[string(g.Name)] = g
	}
	for _, g := range v.Source.Groups {
		if other, ok := groups[string(g.Name)]; ok {
			d.groups(g, other)
		} else {
			d.at("group "+short(g.Name)+" "+onTarget, short(g.Name), "")
		}
		delete(groups, string(g.Name))
	}
	for _, name := range sortedKeys(groups) {
		d.at("group "+short([]byte(name))+" "+onSource, "", short([]byte(name)))
	}
	if text := counterDifference(&v.Source.Meta, &v.Target.Meta); text != "" {
		d.at(text, "", "")
	}
}

// entries walks the entries of both sides in the order of their IDs.
func (d *difference) entries(source, target []keyspace.Entry) {
	for len(source) > 0 || len(target) > 0 {
		switch {
		case len(target) == 0 || len(source) > 0 && source[0].ID.Less(target[0].ID):
			d.part("entries", sourceOnly, source[0].ID.String(), "entry "+source[0].ID.String()+" "+onTarget, fieldsText(source[0].Fields), "")
			source = source[1:]
		case len(source) == 0 || target[0].ID.Less(source[0].ID):
			d.part("entries", targetOnly, target[0].ID.String(), "entry "+target[0].ID.String()+" "+onSource, "", fieldsText(target[0].Fields))
			target = target[1:]
		default:
			if !slices.EqualFunc(source[0].Fields, target[0].Fields, bytes.Equal) {
				d.part("entries", other, source[0].ID.String(), "entry "+source[0].ID.String()+" differs", fieldsText(source[0].Fields), fieldsText(target[0].Fields))
			}
			source, target = source[1:], target[1:]
		}
	}
}

// groups compares consumers by their pending entries alone, as the fingerprint does.
func (d *difference) groups(source, target keyspace.Group) {
	in := "group " + short(source.Name) + ": "
	if source.LastID != target.LastID {
		d.at(in+"the last delivered ID differs", source.LastID.String(), target.LastID.String())
	}
	pending := map[keyspace.StreamID]keyspace.Pending{}
	for _, p := range target.Pending {
		pending[p.ID] = p
	}
	for _, p := range source.Pending {
		held, ok := pending[p.ID]
		switch {
		case !ok:
			d.part("pending entries", sourceOnly, p.ID.String(), in+"pending entry "+p.ID.String()+" "+onTarget, pendingText(p), "")
		case !bytes.Equal(p.Consumer, held.Consumer) || p.DeliveryCount != held.DeliveryCount:
			d.part("pending entries", other, p.ID.String(), in+"pending entry "+p.ID.String()+" differs", pendingText(p), pendingText(held))
		}
		delete(pending, p.ID)
	}
	for _, p := range target.Pending {
		if _, left := pending[p.ID]; left {
			d.part("pending entries", targetOnly, p.ID.String(), in+"pending entry "+p.ID.String()+" "+onSource, "", pendingText(p))
		}
	}
}

func pendingText(p keyspace.Pending) string {
	return fmt.Sprintf("consumer %s, delivered %d times", short(p.Consumer), p.DeliveryCount)
}

func scoreText(score float64) string { return strconv.FormatFloat(score, 'g', -1, 64) }

func expiryText(at int64) string {
	if at == 0 {
		return "never"
	}
	return strconv.FormatInt(at, 10)
}

func fieldsText(fields [][]byte) string {
	return short(bytes.Join(fields, []byte(" ")))
}

// pieceBytes is how many bytes of a differing piece a report shows.
const pieceBytes = 48

// short escapes unprintable bytes and cuts off what is too long.
func short(p []byte) string {
	if len(p) > pieceBytes {
		return keyspace.Printable(string(p[:pieceBytes])) + "…"
	}
	return keyspace.Printable(string(p))
}

// excerpt returns the bytes around a place, shortened and escaped.
func excerpt(p []byte, at int) string {
	from := max(0, at-8)
	if from == 0 {
		return short(p)
	}
	return "…" + short(p[from:])
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
