package target

// Batch is a number of values for one node.
type Batch struct {
	Addr    string // of the node, as Target.AddrOf returns it
	Keys    []Value
	Payload []byte // the payloads of all keys, one behind the other
	Weight  int64  // bytes that the batch takes up in memory, for whoever bounds them
	Over    Overwrite
}

// Value returns the payload of a key.
func (b *Batch) Value(k *Value) []byte { return b.Payload[k.From:k.To] }

// Value is a value of a snapshot that is to be written: its key, and what goes with it. The payload is in its Batch.
type Value struct {
	DB         int // of the target
	Name       string
	Kind       byte  // RDB type
	From, To   int   // place of the payload in Batch.Payload
	ExpireAt   int64 // Unix ms; 0: never
	Idle, Freq int64 // how the source's server has seen the key used, as RESTORE takes it; -1: not known
	Attempts   int   // how often the value was sent
	restored   bool  // the value is written, but not its exact expiry, which takes a command of its own before 5.0 (no ABSTTL)
}

// Overwrite says whether a value takes the place of a key that the target has already.
type Overwrite struct {
	First bool // at any attempt
	Later bool // at a later attempt, since an earlier one may have written the key
}

// At says whether an attempt overwrites. The first attempt has the number 1.
func (o Overwrite) At(attempt int) bool { return o.First || o.Later && attempt > 1 }
