package rdb

import "surecut/internal/keyspace"

// appendStream writes a stream in the newest form that the server reads. The nodes are the same bytes in all forms.
func (e Encoder) appendStream(dst []byte, rdbType byte, raw []byte) ([]byte, error) {
	to := e.newest(keyspace.Stream)
	if to == 0 {
		return dst, errNoStreams
	}
	c := memory(raw)
	w := streamWriter{c: &c, out: append(dst, to), from: row(rdbType).layout.(*stream), to: row(to).layout.(*stream)}
	if err := w.stream(); err != nil {
		return w.out, explain(err, c.offset(), nil)
	}
	if c.r != c.w {
		return w.out, explain(damagedf("%d bytes follow the value", c.w-c.r), c.offset(), nil)
	}
	return w.out, nil
}

// newest returns the last type of a kind that the server reads, and 0 if it reads none.
func (e Encoder) newest(kind keyspace.Type) (newest byte) {
	for number, t := range Types {
		if t.Of == kind && t.ReadBy(e.Version) {
			newest = number
		}
	}
	return newest
}

// streamWriter copies a stream, leaving out the parts for which the older form has no place.
type streamWriter struct {
	c        *cursor
	out      []byte
	from, to *stream
}

// copied appends the bytes that f moves past.
func (w *streamWriter) copied(f func() error) error {
	from := w.c.r
	if err := f(); err != nil {
		return err
	}
	w.out = append(w.out, w.c.buf[from:w.c.r]...)
	return nil
}

func (w *streamWriter) count() (uint64, error) {
	n, err := w.c.count()
	w.out = appendLength(w.out, n)
	return n, err
}

func (w *streamWriter) each(one func() error) error {
	n, err := w.count()
	for ; err == nil && n > 0; n-- {
		err = one()
	}
	return err
}

func (w *streamWriter) stream() error {
	if err := w.copied(func() error { return w.c.skipPer(2) }); err != nil { // nodes
		return err
	}
	keep, had := w.to.metaCounts(), w.from.metaCounts()
	if err := w.copied(func() error { return w.c.skipCounts(keep) }); err != nil {
		return err
	}
	if err := w.c.skipCounts(had - keep); err != nil {
		return err
	}
	return w.each(w.group)
}

func (w *streamWriter) group() error {
	c := w.c
	if err := w.copied(func() error { // name and last ID
		if err := c.skipString(); err != nil {
			return err
		}
		return c.skipCounts(2)
	}); err != nil {
		return err
	}
	if w.from.counters { // entries read
		n, err := c.count()
		if err != nil {
			return err
		}
		if w.to.counters {
			w.out = appendLength(w.out, n)
		}
	}
	if err := w.copied(func() error { return c.skipEach(c.skipPending) }); err != nil {
		return err
	}
	return w.each(w.consumer)
}

func (w *streamWriter) consumer() error {
	c := w.c
	if err := w.copied(func() error { // name and last seen
		if err := c.skipString(); err != nil {
			return err
		}
		return c.skip(8)
	}); err != nil {
		return err
	}
	if w.from.active { // last active
		if err := c.skip(8); err != nil {
			return err
		}
	}
	return w.copied(func() error { return c.skipEach(c.skipID) })
}
