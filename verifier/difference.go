package verifier

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"surecut/internal/keyspace"
)

// values are one key's value as each side holds it, of one type. within says which expiries of fields are the same.
type values struct {
	Source, Target *keyspace.Value
	within         func(source, target int64) bool
}

// difference is where two values differ: the first place, what each side holds there, and how many places there are.
type difference struct {
	Reason         string
	Source, Target string // the piece, shortened and escaped; "" where the side has none
	places         int
}

func (d *difference) at(reason, source, target string) {
	if d.places++; d.places == 1 {
		d.Reason, d.Source, d.Target = reason, source, target
	}
}

// text gives the reason; "" where nothing differs.
func (d *difference) text() string {
	if d.places > 1 {
		return fmt.Sprintf("%s, and %d more", d.Reason, d.places-1)
	}
	return d.Reason
}

const (
	onTarget = "is missing on the target"
	onSource = "is on the target only"
)

// compareValues finds where two values of one type differ. The expiries of the keys are not looked at.
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
	i := 0
	for i < len(source) && i < len(target) && source[i] == target[i] {
		i++
	}
	switch {
	case i < len(source) && i < len(target):
		d.at(fmt.Sprintf("byte %d of %d differs", i+1, len(source)), excerpt(source, i), excerpt(target, i))
	case len(source) != len(target):
		d.at(fmt.Sprintf("the source holds %d bytes, the target %d, the same as far as both go", len(source), len(target)), excerpt(source, i), excerpt(target, i))
	}
}

func (d *difference) lists(source, target [][]byte) {
	for i := range max(len(source), len(target)) {
		switch {
		case i >= len(target):
			d.at(fmt.Sprintf("element %d of %d %s", i+1, len(source), onTarget), short(source[i]), "")
		case i >= len(source):
			d.at(fmt.Sprintf("element %d of %d %s", i+1, len(target), onSource), "", short(target[i]))
		case !bytes.Equal(source[i], target[i]):
			d.at(fmt.Sprintf("element %d of %d differs", i+1, len(source)), short(source[i]), short(target[i]))
		}
	}
}

func (d *difference) sets(noun string, source, target [][]byte) {
	on := map[string]bool{}
	for _, m := range target {
		on[string(m)] = true
	}
	for _, m := range source {
		if !on[string(m)] {
			d.at(noun+" "+short(m)+" "+onTarget, short(m), "")
		}
		delete(on, string(m))
	}
	for _, m := range sortedKeys(on) {
		d.at(noun+" "+short([]byte(m))+" "+onSource, "", short([]byte(m)))
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
			d.at("member "+short(m.Name)+" "+onTarget, scoreText(m.Score), "")
		case score != m.Score:
			d.at("score of member "+short(m.Name)+" differs", scoreText(m.Score), scoreText(score))
		}
		delete(scores, string(m.Name))
	}
	for _, name := range sortedKeys(scores) {
		d.at("member "+short([]byte(name))+" "+onSource, "", scoreText(scores[name]))
	}
}

func (d *difference) hashes(v values) {
	fields := map[string]keyspace.Field{}
	for _, f := range v.Target.Hash {
		fields[string(f.Name)] = f
	}
	for _, f := range v.Source.Hash {
		other, ok := fields[string(f.Name)]
		switch {
		case !ok:
			d.at("field "+short(f.Name)+" "+onTarget, short(f.Value), "")
		case !bytes.Equal(f.Value, other.Value):
			d.at("field "+short(f.Name)+" differs", short(f.Value), short(other.Value))
		case !v.within(f.ExpireAt, other.ExpireAt):
			d.at("the expiry of field "+short(f.Name)+" differs", expiryText(f.ExpireAt), expiryText(other.ExpireAt))
		}
		delete(fields, string(f.Name))
	}
	for _, name := range sortedKeys(fields) {
		d.at("field "+short([]byte(name))+" "+onSource, "", short(fields[name].Value))
	}
}

// vectors compares vector sets, the only values of a module whose elements are known.
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

// entries walks both sides in the order of IDs.
func (d *difference) entries(source, target []keyspace.Entry) {
	for len(source) > 0 || len(target) > 0 {
		switch {
		case len(target) == 0 || len(source) > 0 && source[0].ID.Less(target[0].ID):
			d.at("entry "+source[0].ID.String()+" "+onTarget, fieldsText(source[0].Fields), "")
			source = source[1:]
		case len(source) == 0 || target[0].ID.Less(source[0].ID):
			d.at("entry "+target[0].ID.String()+" "+onSource, "", fieldsText(target[0].Fields))
			target = target[1:]
		default:
			if !slices.EqualFunc(source[0].Fields, target[0].Fields, bytes.Equal) {
				d.at("entry "+source[0].ID.String()+" differs", fieldsText(source[0].Fields), fieldsText(target[0].Fields))
			}
			source, target = source[1:], target[1:]
		}
	}
}

// groups looks at consumers by their pending entries alone, as the fingerprint does.
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
		other, ok := pending[p.ID]
		switch {
		case !ok:
			d.at(in+"pending entry "+p.ID.String()+" "+onTarget, pendingText(p), "")
		case !bytes.Equal(p.Consumer, other.Consumer) || p.DeliveryCount != other.DeliveryCount:
			d.at(in+"pending entry "+p.ID.String()+" differs", pendingText(p), pendingText(other))
		}
		delete(pending, p.ID)
	}
	for _, p := range target.Pending {
		if _, left := pending[p.ID]; left {
			d.at(in+"pending entry "+p.ID.String()+" "+onSource, "", pendingText(p))
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

// pieceBytes is how much of a differing piece a report shows.
const pieceBytes = 48

// short escapes hostile bytes and cuts off what is too long.
func short(p []byte) string {
	if len(p) > pieceBytes {
		return printable(string(p[:pieceBytes])) + "…"
	}
	return printable(string(p))
}

// excerpt shows the bytes around a place.
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
