package rdb

func (l *stream) shape(m *shaper) error {
	c := m.c
	var nodes raxCount
	if err := c.skipEach(func() error {
		id, err := c.string()
		if err != nil {
			return err
		}
		nodes.add(id)
		size, err := m.peek(listpackHeader, true)
		if err != nil {
			return err
		}
		m.s.Blobs.add(size)
		m.s.LastBlob = size
		if int64(len(m.head)) == size && size > listpackHeader && m.wanted(size) {
			m.s.Largest = max(m.s.Largest, largestOfStreamNode(m.head))
			m.peeks--
		}
		return nil
	}); err != nil {
		return err
	}
	m.s.Index.add(&nodes)
	n, err := c.streamLength()
	if err != nil {
		return err
	}
	m.s.Elements = int64(n)
	if err := c.skipCounts(l.metaCounts() - 1); err != nil {
		return err
	}
	var names raxCount
	if err := c.skipEach(func() error { return l.shapeGroup(m, &names) }); err != nil {
		return err
	}
	m.s.Groups = names.elements
	return nil
}

func (l *stream) shapeGroup(m *shaper, names *raxCount) error {
	c := m.c
	name, err := c.string()
	if err != nil {
		return err
	}
	names.add(name)
	if err := c.skipCounts(l.groupCounts()); err != nil {
		return err
	}
	var pending, consumers raxCount
	if err := c.skipEach(func() error { // pending: ID, delivery time, delivery count
		id, err := c.fixed(16)
		if err != nil {
			return err
		}
		pending.add(id)
		if err := c.skip(8); err != nil {
			return err
		}
		return c.skipCounts(1)
	}); err != nil {
		return err
	}
	m.s.Index.add(&pending)
	m.s.Pending += pending.elements
	err = c.skipEach(func() error { // consumers
		name, err := c.string()
		if err != nil {
			return err
		}
		m.s.Strings.Count++
		m.s.Strings.Bytes += int64(len(name))
		m.s.Strings.Held += int64(len(name))
		consumers.add(name)
		if err := c.skip(l.consumerTimes()); err != nil {
			return err
		}
		var own raxCount
		err = c.skipEach(func() error {
			id, err := c.fixed(16)
			own.add(id)
			return err
		})
		m.s.Index.add(&own)
		return err
	})
	m.s.Consumers += consumers.elements
	return err
}

// largestOfStreamNode returns the size of the largest entry of a stream's node: the sizes of the names and values of all its
// fields.
func largestOfStreamNode(blob []byte) (largest int64) {
	p, err := listpackOf(blob)
	if err != nil {
		return 0
	}
	take := func() (int, int64) {
		e, ok, err := p.take()
		switch {
		case err != nil || !ok:
			p.rest = nil
			return 0, 0
		case e.isInt:
			return digitsOf(e.number), e.number
		}
		return len(e.text), 0
	}
	number := func() int64 {
		_, n := take()
		return n
	}
	number() // valid
	number() // deleted
	fields, names := number(), int64(0)
	for i := int64(0); i < fields && len(p.rest) > 0; i++ {
		n, _ := take()
		names += int64(n)
	}
	number() // the end of the fields
	for len(p.rest) > 1 {
		flags, sum, n := number(), int64(0), fields
		number()
		number()
		if flags&streamSameFields != 0 {
			sum = names
		} else {
			n = 2 * number()
		}
		for i := int64(0); i < n && len(p.rest) > 0; i++ {
			length, _ := take()
			sum += int64(length)
		}
		number() // how many elements the entry takes
		if flags&streamDeleted == 0 {
			largest = max(largest, sum)
		}
	}
	return largest
}
