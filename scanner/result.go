package scanner

import "surecut/internal/keyspace"

// BigKeys is the result of a big-key scan.
type BigKeys struct {
	Totals       BigTotals     `json:"totals"`
	ByType       []Group       `json:"by_type"`
	ByEncoding   []Group       `json:"by_encoding"` // under their names in OBJECT ENCODING, after the type: "hash/listpack"
	ByDB         []Group       `json:"by_db"`
	ByNode       []Group       `json:"by_node"`   // servers by address; files by path
	ByPrefix     []Group       `json:"by_prefix"` // folded, the largest first; the rest in one group "(other)"
	PrefixTree   []PrefixNode  `json:"prefix_tree"`
	BySlot       []SlotSize    `json:"by_slot"` // only slots that hold keys, in slot order
	TTL          []TTLBucket   `json:"ttl"`
	Cutover      Cutover       `json:"cutover"`
	Sizes        []SizeBucket  `json:"sizes"`          // only buckets that hold keys, the smallest first
	Top          []BigKey      `json:"top"`            // by bytes, the largest first
	TopElements  []BigKey      `json:"top_elements"`   // by elements
	TopLargest   []BigKey      `json:"top_largest"`    // by the largest element
	TargetShards []TargetShard `json:"target_shards"`  // distribution of the keys on a cluster of so many shards; empty unless asked for
	OutputBuffer []Buffer      `json:"output_buffers"` // what the full phase of a replica needs, by node; empty for files
	Uncounted    []Uncounted   `json:"uncounted"`      // the first expired keys and keys of foreign slots
	Notes        []string      `json:"notes,omitempty"`

	Selection *keyspace.Selection `json:"selection,omitempty"` // the part of the keys that was scanned; nil: all
}

// These say where the sizes of a scan come from.
const (
	SizeByMemoryUsage = "memory_usage" // MEMORY USAGE of a live server
	SizeByModel       = "model"        // what MEMORY USAGE would return, from the encoding of each value in an RDB
	SizeByEstimate    = "estimate"     // from the numbers of elements, where a server refuses MEMORY USAGE
)

// BigTotals are the sums over all scanned keys. SizeBy says where sizes come from; it is estimate if those of a single node are. A
// string or a module value counts as one element.
type BigTotals struct {
	Keys       int64  `json:"keys"`
	Bytes      int64  `json:"bytes"`
	Serialized int64  `json:"serialized"` // bytes of the values in an RDB or a DUMP; for live servers an estimate
	Elements   int64  `json:"elements"`
	NoTTL      int64  `json:"no_ttl"`
	Expired    int64  `json:"expired"`  // keys that had expired already; not counted elsewhere
	Foreign    int64  `json:"foreign"`  // keys on a node that does not own their slot; not counted elsewhere
	Vanished   int64  `json:"vanished"` // keys that were deleted between SCAN and reading
	Errors     int64  `json:"errors"`
	SizeBy     string `json:"size_by"`
}

// Group sums up the keys of one type, database, node or prefix.
type Group struct {
	Name       string `json:"name"`
	Keys       int64  `json:"keys"`
	Bytes      int64  `json:"bytes"`
	Serialized int64  `json:"serialized"`
	Elements   int64  `json:"elements"`
	NoTTL      int64  `json:"no_ttl"`
}

// PrefixNode is one node of the tree of prefixes. The parts of folded names are below the parts that precede them. The tree
// contains only nodes whose share is worth drawing, so the children of a node need not add up to it.
type PrefixNode struct {
	Name   string `json:"name"`   // the whole prefix
	Parent int    `json:"parent"` // index of the parent in the list, which is lower than this node's; -1: a top-level part
	Keys   int64  `json:"keys"`
	Bytes  int64  `json:"bytes"`
}

// SlotSize sums up the keys of one slot.
type SlotSize struct {
	Slot  uint16 `json:"slot"`
	Keys  int64  `json:"keys"`
	Bytes int64  `json:"bytes"`
}

// TTLBucket counts the keys whose remaining time to live is below UpTo and not in the bucket before.
type TTLBucket struct {
	UpTo  string `json:"up_to"` // "1m", "10m", "1h", "6h", "1d", "7d", "30d", ">30d", "never"
	Keys  int64  `json:"keys"`
	Bytes int64  `json:"bytes"`
}

// Cutover counts the keys that will have expired after a given time, unless they are renewed.
type Cutover struct {
	AfterMs int64 `json:"after_ms"`
	Keys    int64 `json:"keys"`
	Bytes   int64 `json:"bytes"`
}

// SizeBucket counts the keys of at most UpTo bytes that are not in the bucket before, which has half of that bound or less.
type SizeBucket struct {
	UpTo  int64 `json:"up_to"`
	Keys  int64 `json:"keys"`
	Bytes int64 `json:"bytes"`
}

// BigKey is one of the largest keys. TTLMs is -1 for a key that never expires; in other fields, -1 means not known.
type BigKey struct {
	DB             int      `json:"db"`
	Key            string   `json:"key"`                  // printable; the beginning of a name of more than 200 bytes
	KeyBase64      string   `json:"key_base64"`           // exact; "" for a name of more than 1 KiB
	KeyLength      int64    `json:"key_length,omitempty"` // length in bytes of such a name
	KeyDigest      string   `json:"key_digest,omitempty"` // xxhash64 of such a name, 16 hexadecimal digits
	Type           string   `json:"type"`
	Encoding       string   `json:"encoding"` // as in OBJECT ENCODING; "": not known
	Slot           uint16   `json:"slot"`
	Node           string   `json:"node"`
	Bytes          int64    `json:"bytes"`
	Serialized     int64    `json:"serialized"`
	Elements       int64    `json:"elements"`
	LargestElement int64    `json:"largest_element"` // bytes
	TTLMs          int64    `json:"ttl_ms"`
	IdleSeconds    int64    `json:"idle_seconds"`
	Frequency      int64    `json:"frequency"` // LFU counter, 0 to 255
	Risks          []string `json:"risks"`
	Remedies       []string `json:"remedies"` // one for each risk
}

// TargetShard is one shard of a cluster that divides the slots evenly.
type TargetShard struct {
	Shard      int     `json:"shard"` // from 1
	FirstSlot  uint16  `json:"first_slot"`
	LastSlot   uint16  `json:"last_slot"`
	Keys       int64   `json:"keys"`
	Bytes      int64   `json:"bytes"`
	Load       float64 `json:"load"` // bytes relative to the mean of all shards: 1 is even
	LargestKey string  `json:"largest_key"`
	Risk       string  `json:"risk"`
	Remedy     string  `json:"remedy"`
}

// These say how a write rate was measured.
const (
	ByStream = "replication_stream"
	ByInput  = "client_input" // an estimate from what clients sent, without reads: the server has no replica, and so no stream
)

// Buffer says what a node's output buffer for a replica must hold while the replica receives a snapshot.
type Buffer struct {
	Node        string  `json:"node"`
	WriteRate   int64   `json:"write_rate"` // bytes per second, as measured during the scan
	MeasuredBy  string  `json:"measured_by"`
	Snapshot    int64   `json:"snapshot"`  // bytes, serialized
	CopyRate    int64   `json:"copy_rate"` // bytes per second that the copy is assumed to take
	Seconds     float64 `json:"seconds"`
	Needed      int64   `json:"needed"`     // bytes
	HardLimit   int64   `json:"hard_limit"` // client-output-buffer-limit for replicas; 0: none, -1: not known
	SoftLimit   int64   `json:"soft_limit"`
	SoftSeconds int64   `json:"soft_seconds"`
	Risk        string  `json:"risk"`
	Remedy      string  `json:"remedy"`
}

// Uncounted is a key that exists but is not counted.
type Uncounted struct {
	DB        int    `json:"db"`
	Key       string `json:"key"`
	KeyBase64 string `json:"key_base64"`
	KeyLength int64  `json:"key_length,omitempty"`
	KeyDigest string `json:"key_digest,omitempty"`
	Type      string `json:"type"`
	Slot      uint16 `json:"slot"`
	Node      string `json:"node"`
	Reason    string `json:"reason"` // "expired", "foreign_slot"
}
