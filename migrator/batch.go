package migrator

// batch is a number of values for one node.
type batch struct {
	addr    string
	keys    []loadKey
	payload []byte // the payloads of all keys, one behind the other
	weight  int64
	over    overwrite
}

// value is the payload of a key.
func (b *batch) value(k *loadKey) []byte { return b.payload[k.from:k.to] }

// loadKey is the key of a value, and what goes with it.
type loadKey struct {
	db         int
	name       string
	kind       byte
	from, to   int // in payload
	expireAt   int64
	idle, freq int64
	attempts   int
	restored   bool // the value is written, but not its exact expiry, which takes a command of its own before 5.0 (no ABSTTL)
}

// overwrite says whether a value takes the place of a key that the target has already.
type overwrite struct {
	first bool // at any attempt
	later bool // at a later attempt, since an earlier one may have written the key
}

// at says whether an attempt overwrites. The first attempt has the number 1.
func (o overwrite) at(attempt int) bool { return o.first || o.later && attempt > 1 }
