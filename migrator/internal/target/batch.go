package target

// Batch is a number of values for one node.
type Batch struct {
	Addr    string
	Keys    []Value
	Payload []byte // the payloads of all keys, one behind the other
	Weight  int64
	Over    Overwrite
}

// Value is the payload of a key.
func (b *Batch) Value(k *Value) []byte { return b.Payload[k.From:k.To] }

// Value is the key of a value, and what goes with it.
type Value struct {
	DB         int
	Name       string
	Kind       byte
	From, To   int // in payload
	ExpireAt   int64
	Idle, Freq int64
	Attempts   int
	restored   bool // the value is written, but not its exact expiry, which takes a command of its own before 5.0 (no ABSTTL)
}

// Overwrite says whether a value takes the place of a key that the target has already.
type Overwrite struct {
	First bool // at any attempt
	Later bool // at a later attempt, since an earlier one may have written the key
}

// At says whether an attempt overwrites. The first attempt has the number 1.
func (o Overwrite) At(attempt int) bool { return o.First || o.Later && attempt > 1 }
