package dataset

// fits says what data and commands a side may be given: what its own version has and, where its data is to go to another one,
// what that one has too.
type fits struct{ side, to *Side }

// command tells whether both know a command.
func (f fits) command(name string) bool {
	return f.side.Has(name) && (f.to == nil || f.to.Has(name))
}

// since tells whether both are of a Redis-compatible version or later, 70000 for 7.0.0.
func (f fits) since(number int) bool {
	return f.side.Number >= number && (f.to == nil || f.to.Number >= number)
}

// payloads tells whether what DUMP gives on the side may be restored on the other.
func (f fits) payloads() bool {
	return f.since(30000) && (f.to == nil || f.to.Number/100 >= f.side.Number/100)
}

// or gives the first of two commands where both sides know it.
func (f fits) or(name, otherwise string) string {
	if f.command(name) {
		return name
	}
	return otherwise
}

// zeroes tells whether a new string of zeros holds nothing else on both. Valkey 8.0 leaves a random byte at the end of some of about 250
// bytes, and another one on its replicas.
func (f fits) zeroes() bool {
	random := func(s *Side) bool { return s != nil && s.Valkey && s.Own/100 == 800 }
	return !random(f.side) && !random(f.to)
}
