package verifier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

// locateLarge finds the first place where two values differ that are too large to be held, window by window. Failing that, the
// finding keeps its reason.
func (v *verification) locateLarge(ctx context.Context, f *Finding) {
	sourceNode, err1 := v.source.nodeOf(keyOf(f))
	targetNode, err2 := v.target.nodeOf(f.targetName())
	if err1 != nil || err2 != nil {
		return
	}
	l := &locator{ctx: ctx, sourceName: keyOf(f), targetName: f.targetName(), size: 256,
		source: v.source.borrow(sourceNode, f.DB), target: v.target.borrow(targetNode, f.TargetDB)}
	defer v.source.giveBack(l.source)
	defer v.target.giveBack(l.target)
	var err error
	switch keyspace.ParseType(f.Type) {
	case keyspace.String:
		err = l.strings()
	case keyspace.List:
		err = l.lists()
	case keyspace.ZSet:
		err = l.zsets()
	case keyspace.Set, keyspace.Hash:
		err = l.scanned(keyspace.ParseType(f.Type))
	case keyspace.Stream:
		err = l.streams()
	}
	if err == nil || errors.Is(err, errLocated) {
		l.d.into(f)
	}
}

// errLocated ends a search: the first place has been found.
var errLocated = errors.New("located")

type locator struct {
	ctx            context.Context
	size           int // elements of a window
	source, target *reader
	d              difference

	sourceName, targetName string
}

// nameOn gives the name of the key on the side that a reader reads.
func (l *locator) nameOn(r *reader) string {
	if r == l.source {
		return l.sourceName
	}
	return l.targetName
}

func (l *locator) strings() error {
	for at := 0; ; at += (512 << 10) {
		var w [2][]byte
		for i, r := range []*reader{l.source, l.target} {
			m, err := r.one(l.ctx, "GETRANGE", l.nameOn(r), strconv.Itoa(at), strconv.Itoa(at+(512<<10)-1))
			if err != nil {
				return err
			}
			if w[i], err = m.AsBytes(); err != nil {
				return err
			}
		}
		if bytes.Equal(w[0], w[1]) && len(w[0]) == (512<<10) {
			continue
		}
		var d difference
		if d.strings(w[0], w[1]); d.places > 0 {
			i := 0
			for i < min(len(w[0]), len(w[1])) && w[0][i] == w[1][i] {
				i++
			}
			l.d.at(fmt.Sprintf("byte %d differs", at+i+1), d.Source, d.Target)
		}
		return nil
	}
}

func (l *locator) lists() error {
	return l.ranges([]string{"LRANGE", "", "", ""}, func(rank int, s, t []string) error {
		switch {
		case t == nil:
			l.d.at(fmt.Sprintf("element %d %s", rank+1, onTarget), short([]byte(s[0])), "")
		case s == nil:
			l.d.at(fmt.Sprintf("element %d %s", rank+1, onSource), "", short([]byte(t[0])))
		default:
			l.d.at(fmt.Sprintf("element %d differs", rank+1), short([]byte(s[0])), short([]byte(t[0])))
		}
		return nil
	}, 1)
}

// zsets goes by rank to the first difference, and then asks each side for the other's member.
func (l *locator) zsets() error {
	return l.ranges([]string{"ZRANGE", "", "", "", "WITHSCORES"}, func(_ int, s, t []string) error {
		if s != nil {
			m, err := l.target.one(l.ctx, "ZSCORE", l.nameOn(l.target), s[0])
			if err != nil {
				return err
			}
			if m.IsNil() {
				l.d.at("member "+short([]byte(s[0]))+" "+onTarget, s[1], "")
				return nil
			}
			score, err := m.ToString()
			if err != nil {
				return err
			}
			if t == nil || t[0] == s[0] || !sameElement(s, []string{s[0], score}) {
				l.d.at("score of member "+short([]byte(s[0]))+" differs", s[1], score)
				return nil
			}
		}
		l.d.at("member "+short([]byte(t[0]))+" "+onSource, "", t[1])
		return nil
	}, 2)
}

// ranges reads both sides by rank and calls found with the first elements that differ; nil is one past the end.
func (l *locator) ranges(args []string, found func(rank int, s, t []string) error, step int) error {
	for at := 0; ; at += l.size {
		var w [2][]string
		args[2], args[3] = strconv.Itoa(at), strconv.Itoa(at+l.size-1)
		for i, r := range []*reader{l.source, l.target} {
			args[1] = l.nameOn(r)
			m, err := r.one(l.ctx, args...)
			if err != nil {
				return err
			}
			if w[i], err = m.AsStrSlice(); err != nil {
				return err
			}
		}
		for i := 0; i < max(len(w[0]), len(w[1])); i += step {
			s, t := element(w[0], i, step), element(w[1], i, step)
			if !sameElement(s, t) {
				return found(at+i/step, s, t)
			}
		}
		if len(w[0]) < l.size*step {
			return nil
		}
	}
}

func element(list []string, i, step int) []string {
	if i+step > len(list) {
		return nil
	}
	return list[i : i+step]
}

// sameElement compares scores as floats: their text depends on the version.
func sameElement(s, t []string) bool {
	if len(s) != 2 || len(t) != 2 || s[0] != t[0] {
		return slices.Equal(s, t)
	}
	a, err1 := strconv.ParseFloat(s[1], 64)
	b, err2 := strconv.ParseFloat(t[1], 64)
	return err1 == nil && err2 == nil && a == b
}

// scanned scans the source and asks the target for each page, then the other way round.
func (l *locator) scanned(t keyspace.Type) error {
	if err := l.scan(t, l.source, l.target, true); err != nil {
		return err
	}
	return l.scan(t, l.target, l.source, false)
}

func (l *locator) scan(t keyspace.Type, from, other *reader, isSource bool) error {
	for cursor := "0"; ; {
		m, err := from.one(l.ctx, firstCommands[t], l.nameOn(from), cursor, "COUNT", strconv.Itoa(l.size))
		if err != nil {
			return err
		}
		entry, err := m.AsScanEntry()
		if err != nil {
			return err
		}
		if t == keyspace.Hash {
			err = l.probeFields(other, entry.Elements, isSource)
		} else {
			err = l.probeMembers(other, entry.Elements, isSource)
		}
		if err != nil || entry.Cursor == 0 {
			return err
		}
		cursor = strconv.FormatUint(entry.Cursor, 10)
	}
}

func (l *locator) probeFields(other *reader, page []string, isSource bool) error {
	args := []string{"HMGET", l.nameOn(other)}
	for i := 0; i < len(page); i += 2 {
		args = append(args, page[i])
	}
	if len(args) == 2 {
		return nil
	}
	held, err := other.array(l.ctx, args...)
	if err != nil {
		return err
	}
	for i := range held {
		field, value := []byte(page[2*i]), page[2*i+1]
		got, _ := held[i].ToString()
		switch {
		case held[i].IsNil() && isSource:
			l.d.at("field "+short(field)+" "+onTarget, short([]byte(value)), "")
		case held[i].IsNil():
			l.d.at("field "+short(field)+" "+onSource, "", short([]byte(value)))
		case got != value && isSource:
			l.d.at("field "+short(field)+" differs", short([]byte(value)), short([]byte(got)))
		default:
			continue
		}
		return errLocated
	}
	return nil
}

func (l *locator) probeMembers(other *reader, page []string, isSource bool) error {
	results, err := other.do(l.ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(page))
		for i, member := range page {
			cmds[i] = command(b, "SISMEMBER", l.nameOn(other), member)
		}
		return cmds
	})
	if err != nil {
		return err
	}
	for i, member := range page {
		n, err := results[i].ToInt64()
		if err != nil {
			return replyError("SISMEMBER", err)
		}
		if n == 1 {
			continue
		}
		if m := short([]byte(member)); isSource {
			l.d.at("member "+m+" "+onTarget, m, "")
		} else {
			l.d.at("member "+m+" "+onSource, "", m)
		}
		return errLocated
	}
	return nil
}

// streams compares entries in windows of the same IDs, then all that is not entries.
func (l *locator) streams() error {
	for from := "-"; ; {
		var w [2]keyspace.Collector
		end := "+"
		for i, r := range []*reader{l.source, l.target} {
			// The target gets room for more: what it has beyond the source shows.
			page, err := r.array(l.ctx, "XRANGE", l.nameOn(r), from, end, "COUNT", strconv.Itoa((i+1)*l.size))
			if err != nil {
				return err
			}
			for k := range page {
				if err := feedEntry(&page[k], &w[i]); err != nil {
					return err
				}
			}
			if i == 0 && len(page) == l.size {
				end = w[0].V.Entries[len(page)-1].ID.String()
			}
		}
		if l.d.entries(w[0].V.Entries, w[1].V.Entries); l.d.places > 0 || end == "+" {
			break
		}
		from = next(w[0].V.Entries[len(w[0].V.Entries)-1].ID).String()
	}
	if l.d.places > 0 {
		return nil
	}
	return l.streamRest()
}

// restOnly collects what a stream holds beside its entries.
type restOnly struct{ *keyspace.Collector }

func (restOnly) StreamEntry(keyspace.StreamID, [][]byte) error { return nil }

func (l *locator) streamRest() error {
	var w [2]keyspace.Collector
	for i, r := range []*reader{l.source, l.target} {
		w[i].V.Type = keyspace.Stream
		groups, err := r.array(l.ctx, "XINFO", "GROUPS", l.nameOn(r))
		if err != nil {
			return err
		}
		if err := r.readStreamRest(l.ctx, l.nameOn(r), groups, restOnly{&w[i]}); err != nil {
			return err
		}
	}
	l.d = compareValues(values{&w[0].V, &w[1].V, nil})
	return nil
}
