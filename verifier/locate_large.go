package verifier

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"sort"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/reply"
)

// locateLarge finds where, and in how many places, two values differ that are too large to be held. If it fails, the finding keeps
// its reason.
func (v *verification) locateLarge(ctx context.Context, f *Finding) {
	sourceNode, err1 := v.source.nodeOf(keyOf(f))
	targetNode, err2 := v.target.nodeOf(f.targetName())
	if err1 != nil || err2 != nil {
		return
	}
	l := &locator{ctx: ctx, rules: &v.rules, sourceName: keyOf(f), targetName: f.targetName(),
		source: v.source.borrow(sourceNode, f.DB), target: v.target.borrow(targetNode, f.TargetDB)}
	defer v.source.giveBack(l.source)
	defer v.target.giveBack(l.target)
	var err error
	switch t := keyspace.ParseType(f.Type); t {
	case keyspace.String:
		err = l.strings()
	case keyspace.List:
		err = l.lists()
	case keyspace.ZSet, keyspace.Set, keyspace.Hash:
		err = l.scanned(t)
	case keyspace.Stream:
		err = l.streams()
	}
	if err == nil {
		f.locate(&l.d)
	}
}

// locator compares two large values piece by piece and holds only one piece of each in memory.
type locator struct {
	ctx            context.Context
	rules          *rules
	source, target *reader
	d              difference

	sourceName, targetName string
}

// nameOn returns the name of the key on the side that the given reader reads.
func (l *locator) nameOn(r *reader) string {
	if r == l.source {
		return l.sourceName
	}
	return l.targetName
}

// pages returns a pager for the value that the reader's side holds, whose pages come in the order in which the server lists the
// elements.
func (l *locator) pages(r *reader, t keyspace.Type) (*pager, error) {
	count, err := r.integer(l.ctx, lengthCommands[t], l.nameOn(r))
	if err != nil {
		return nil, err
	}
	p := newPager(r.measure(l.ctx, l.nameOn(r), unknownSize), count, r.node.flight.window())
	if beside, ok := besideOf[t]; ok && t != keyspace.ZSet {
		p.inOrder(beside)
	}
	return p, nil
}

func (l *locator) strings() error {
	var lengths [2]int64
	for i, r := range []*reader{l.source, l.target} {
		n, err := r.integer(l.ctx, "STRLEN", l.nameOn(r))
		if err != nil {
			return err
		}
		lengths[i] = n
	}
	window := min(l.source.node.flight.window(), l.target.node.flight.window())
	for at := int64(0); at < max(lengths[0], lengths[1]); at += window {
		var w [2][]byte
		for i, r := range []*reader{l.source, l.target} {
			m, err := r.askOne(l.ctx, window, "GETRANGE", l.nameOn(r), strconv.FormatInt(at, 10), strconv.FormatInt(at+window-1, 10))
			if err != nil {
				return err
			}
			if w[i], err = m.AsBytes(); err != nil {
				return err
			}
		}
		if bytes.Equal(w[0], w[1]) {
			continue
		}
		l.d.bytes(w[0], w[1], at)
		if both := min(len(w[0]), len(w[1])); len(w[0]) != len(w[1]) {
			if at+int64(both) != min(lengths[0], lengths[1]) { // one of them was written since its length was asked for
				return errChanged
			}
			l.d.ends(lengths[0], lengths[1], excerpt(w[0], both), excerpt(w[1], both))
			break
		}
	}
	l.d.of(lengths[0])
	return nil
}

// lists compares from the beginning up to the first element that differs, and from the end back to the last one. So elements that
// were inserted or removed are told from those after them.
func (l *locator) lists() error {
	before, atSource, atTarget, err := l.alike(false, math.MaxInt)
	if err != nil {
		return err
	}
	var lengths [2]int
	for i, r := range []*reader{l.source, l.target} {
		n, err := r.integer(l.ctx, "LLEN", l.nameOn(r))
		if err != nil {
			return err
		}
		lengths[i] = int(n)
	}
	if before > min(lengths[0], lengths[1]) { // one of them was written meanwhile
		return errChanged
	}
	after, _, _, err := l.alike(true, min(lengths[0], lengths[1])-before)
	if err != nil {
		return err
	}
	l.d.stretch(before, lengths[0], lengths[1], after, atSource, atTarget)
	return nil
}

// alike counts the elements that both lists share from their beginnings or ends. It returns the first elements that differ, "" for
// a list that has ended.
func (l *locator) alike(backwards bool, most int) (n int, source, target string, err error) {
	pages, err := l.pages(l.source, keyspace.List)
	if err != nil {
		return 0, "", "", err
	}
	for n < most {
		size := min(pages.size, most-n)
		from, to := n, n+size-1
		if backwards {
			from, to = -n-size, -n-1
		}
		var w [2][]rueidis.RedisMessage
		for i, r := range []*reader{l.source, l.target} {
			if w[i], err = r.page(l.ctx, "LRANGE", l.nameOn(r), strconv.Itoa(from), strconv.Itoa(to)); err != nil {
				return n, "", "", err
			}
			if backwards {
				slices.Reverse(w[i])
			}
		}
		for i := range max(len(w[0]), len(w[1])) {
			s, inSource := textAt(w[0], i)
			t, inTarget := textAt(w[1], i)
			if s != t || inSource != inTarget {
				return n, short([]byte(s)), short([]byte(t)), nil
			}
			n++
		}
		if len(w[0]) < size {
			return n, "", "", nil
		}
		pages.took(w[0], len(w[0]))
	}
	return n, "", "", nil
}

func textAt(list []rueidis.RedisMessage, i int) (text string, ok bool) {
	if i >= len(list) {
		return "", false
	}
	text, _ = list[i].ToString()
	return text, true
}

// scanned scans the source and asks the target for the elements of each page, then the other way round to find elements that only
// the target has.
func (l *locator) scanned(t keyspace.Type) error {
	if err := l.scan(t, l.source, l.target); err != nil {
		return err
	}
	return l.scan(t, l.target, l.source)
}

func (l *locator) scan(t keyspace.Type, from, other *reader) error {
	pages, err := l.pages(from, t)
	if err != nil {
		return err
	}
	step := 2
	if t == keyspace.Set {
		step = 1
	}
	for cursor := "0"; ; {
		m, err := from.askOne(l.ctx, from.node.flight.window(), scanCommands[t], l.nameOn(from), cursor, "COUNT", strconv.Itoa(min(pages.size, locatePage)))
		if err != nil {
			return err
		}
		next, page, err := reply.Scan(&m)
		if err != nil {
			return err
		}
		if err := l.probe(t, from, other, page); err != nil {
			return err
		}
		pages.took(page, len(page)/step)
		if cursor = next; cursor == "0" {
			return nil
		}
	}
}

// locatePage is how many elements the other side is asked for at a time.
const locatePage = 512

// probeCommands ask for one element of a collection.
var probeCommands = map[keyspace.Type]string{keyspace.Set: "SISMEMBER", keyspace.ZSet: "ZSCORE", keyspace.Hash: "HGET"}

// probe asks the other side for the elements of a page and compares them.
func (l *locator) probe(t keyspace.Type, from, other *reader, page []rueidis.RedisMessage) error {
	texts, err := reply.Texts(page)
	if err != nil {
		return err
	}
	step := 2
	if t == keyspace.Set {
		step = 1
	}
	results, err := other.ask(l.ctx, other.node.flight.window(), func(b rueidis.Builder) rueidis.Commands {
		var cmds rueidis.Commands
		for i := 0; i+step <= len(texts); i += step {
			cmds = append(cmds, command(b, probeCommands[t], l.nameOn(other), texts[i]))
		}
		return cmds
	})
	if err != nil {
		return err
	}
	for j := range results {
		m, err := results[j].ToMessage()
		if err != nil && !endpoint.IsNil(err) {
			return err
		}
		value := ""
		if step == 2 {
			value = texts[2*j+1]
		}
		if err := l.compare(t, from == l.source, texts[j*step], value, &m); err != nil {
			return err
		}
	}
	if t != keyspace.Hash || from != l.source {
		return nil
	}
	return l.compareTimes(texts)
}

// compare compares one element of a page with what the other side has in its place.
func (l *locator) compare(t keyspace.Type, isSource bool, name, value string, held *rueidis.RedisMessage) error {
	noun, shown := "member", short([]byte(name))
	if t == keyspace.Hash {
		noun = "field"
	}
	if t != keyspace.Set {
		shown = short([]byte(value))
	}
	n, _ := held.ToInt64()
	absent := held.IsNil() || t == keyspace.Set && n == 0
	switch {
	case absent && isSource:
		l.d.part(noun+"s", sourceOnly, short([]byte(name)), noun+" "+short([]byte(name))+" "+onTarget, shown, "")
	case absent:
		l.d.part(noun+"s", targetOnly, short([]byte(name)), noun+" "+short([]byte(name))+" "+onSource, "", shown)
	case !isSource || t == keyspace.Set:
	case t == keyspace.Hash:
		if got, _ := held.ToString(); got != value {
			l.d.part("fields", other, short([]byte(name)), "field "+short([]byte(name))+" differs", shown, short([]byte(got)))
		}
	default:
		source, err1 := strconv.ParseFloat(value, 64)
		target, err2 := scoreOf(held)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if source != target {
			l.d.score([]byte(name), source, target)
		}
	}
	return nil
}

// compareTimes compares the expiries of those fields that a page of the source lists.
func (l *locator) compareTimes(page []string) error {
	if !l.source.node.fieldTTLs || !l.target.node.fieldTTLs || len(page) == 0 {
		return nil
	}
	var asked [2][]hashFields
	for i, r := range []*reader{l.source, l.target} {
		h := hashFields{name: l.nameOn(r)}
		for k := 0; k+1 < len(page); k += 2 {
			h.fields = append(h.fields, page[k])
		}
		asked[i] = []hashFields{h}
		if err := r.fields.times(l.ctx, asked[i]); err != nil {
			return err
		}
		if err := asked[i][0].err; err != nil {
			return err
		}
	}
	for k, name := range asked[0][0].fields {
		s, t := asked[0][0].at[k], asked[1][0].at[k]
		if s != fieldGone && t != fieldGone && !l.rules.within(s, t) {
			l.d.part("expiries of fields", other, short([]byte(name)), "the expiry of field "+short([]byte(name))+" differs", expiryText(s), expiryText(t))
		}
	}
	return nil
}

// entries reads the entries of a stream one after the other.
type entries struct {
	l     *locator
	r     *reader
	pages *pager
	from  string
	held  []keyspace.Entry
	ended bool
}

func (l *locator) entriesOf(r *reader) (*entries, error) {
	pages, err := l.pages(r, keyspace.Stream)
	return &entries{l: l, r: r, pages: pages, from: "-"}, err
}

// fill reads the next page where no entry is held.
func (e *entries) fill() error {
	if len(e.held) > 0 || e.ended {
		return nil
	}
	page, err := e.r.page(e.l.ctx, "XRANGE", e.l.nameOn(e.r), e.from, "+", "COUNT", strconv.Itoa(e.pages.size))
	if err != nil {
		return err
	}
	var c keyspace.Collector
	for i := range page {
		if err := feedEntry(&page[i], &c); err != nil {
			return err
		}
	}
	e.held, e.ended = c.V.Entries, len(page) < e.pages.size
	if len(page) > 0 {
		next, more := e.held[len(e.held)-1].ID.Next()
		e.from, e.ended = next.String(), e.ended || !more
		e.pages.took(page, len(page))
	}
	return nil
}

// streams compares the entries in the order of their IDs, then everything else of the stream.
func (l *locator) streams() error {
	s, err1 := l.entriesOf(l.source)
	t, err2 := l.entriesOf(l.target)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	for {
		if err := errors.Join(s.fill(), t.fill()); err != nil {
			return err
		}
		if len(s.held)+len(t.held) == 0 {
			return l.streamRest()
		}
		// Both sides are compared up to the ID that both have reached; beyond it, one side may have more entries.
		upTo := func(e *entries, bound *entries) int {
			if bound.ended && len(bound.held) == 0 {
				return len(e.held)
			}
			last := bound.held[len(bound.held)-1].ID
			return sort.Search(len(e.held), func(i int) bool { return last.Less(e.held[i].ID) })
		}
		ns, nt := upTo(s, t), upTo(t, s)
		l.d.entries(s.held[:ns], t.held[:nt])
		s.held, t.held = s.held[ns:], t.held[nt:]
	}
}

// restOnly collects everything of a stream but its entries.
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
		if err := (&streamReader{r.conn, l.nameOn(r), restOnly{&w[i]}}).rest(l.ctx, groups); err != nil {
			return err
		}
	}
	l.d.streams(values{&w[0].V, &w[1].V, nil})
	return nil
}
