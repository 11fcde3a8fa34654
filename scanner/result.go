package scanner

// BigKeys is the result of a big-key scan.
type BigKeys struct {
	Totals   BigTotals   `json:"totals"`
	ByType   []Group     `json:"by_type"`
	ByPrefix []Group     `json:"by_prefix"` // digits folded to '#', the largest first; the rest in one group "(other)"
	BySlot   []SlotSize  `json:"by_slot"`   // only slots that hold keys, in slot order
	TTL      []TTLBucket `json:"ttl"`
	Top      []BigKey    `json:"top"`             // by bytes, the largest first
	Notes    []string    `json:"notes,omitempty"` // what limits the figures, in full sentences
}

// Where the bytes of a scan come from.
const (
	SizeByMemoryUsage = "memory_usage" // MEMORY USAGE of a live server
	SizeByRDB         = "rdb"          // serialized size of the values
	SizeByEstimate    = "estimate"     // from element counts, where a server does not give MEMORY USAGE
)

// BigTotals sums what was scanned. SizeBy names where bytes come from; it is estimate as soon as one node's are.
// A string or a module value counts as one element.
type BigTotals struct {
	Keys     int64  `json:"keys"`
	Bytes    int64  `json:"bytes"`
	Elements int64  `json:"elements"`
	NoTTL    int64  `json:"no_ttl"`
	Expired  int64  `json:"expired"`  // met in an RDB though past their expiry; not counted elsewhere
	Vanished int64  `json:"vanished"` // gone between SCAN and reading
	Errors   int64  `json:"errors"`
	SizeBy   string `json:"size_by"`
}

// Group sums the keys of one type or prefix.
type Group struct {
	Name     string `json:"name"`
	Keys     int64  `json:"keys"`
	Bytes    int64  `json:"bytes"`
	Elements int64  `json:"elements"`
}

// SlotSize sums the keys of one slot.
type SlotSize struct {
	Slot  uint16 `json:"slot"`
	Keys  int64  `json:"keys"`
	Bytes int64  `json:"bytes"`
}

// TTLBucket counts the keys whose remaining time to live lies below UpTo and above the bucket before.
type TTLBucket struct {
	UpTo  string `json:"up_to"` // "1m", "10m", "1h", "6h", "1d", "7d", "30d", ">30d", "never"
	Keys  int64  `json:"keys"`
	Bytes int64  `json:"bytes"`
}

// BigKey is one of the largest keys. TTLMs is -1 for a key that never expires.
type BigKey struct {
	DB        int      `json:"db"`
	Key       string   `json:"key"` // printable
	KeyBase64 string   `json:"key_base64"`
	Type      string   `json:"type"`
	Slot      uint16   `json:"slot"`
	Bytes     int64    `json:"bytes"`
	Elements  int64    `json:"elements"`
	TTLMs     int64    `json:"ttl_ms"`
	Risks     []string `json:"risks"`
}
