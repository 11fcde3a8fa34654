package scanner

import (
	"math"
	"math/bits"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// memoryModel computes from the shape of a value what MEMORY USAGE with SAMPLES 0 would return for its key. It knows the structures
// of a 64-bit server with jemalloc; the table of package rdb says which structures each type of value has. The measured errors of
// the model are in docs/memory-model.md.
type memoryModel struct {
	strings  bool // strings count in the size classes of the allocator, since 6.0
	blobs    bool // packed values count in the size classes of the allocator, too, since 7.0
	listpack bool // a list with a single node is stored as that node, since 7.2
	valkey   bool // tables consist of buckets, and names are inside objects and not counted, since Valkey 8.1
}

// modelOf returns the model for a server of the given flavor (redis or valkey) and version. An unknown version counts as the
// newest.
func modelOf(flavor, version string) memoryModel {
	number, err := endpoint.ParseVersion(version)
	switch {
	case err != nil:
		number = math.MaxInt
	case flavor == "valkey":
		return memoryModel{strings: true, blobs: true, listpack: true, valkey: number >= 80100}
	}
	return memoryModel{strings: number >= 60000, blobs: number >= 70000, listpack: number >= 70200}
}

// These are the bytes that structures of several types, and those of streams, take.
const (
	objectBytes    = 16 // robj
	entryBytes     = 24 // dictEntry
	pointerBytes   = 8
	dictBytes      = 56
	embeddedMost   = 44 // longer strings are allocated separately
	streamNodeFull = 4096
	raxElement     = 16
	raxNode        = 4 + 8*30 // as the server computes it
	streamGroup    = 56
	streamConsumer = 32
	streamNACK     = 24
	bucketBytes    = 64
	bucketEntries  = 7
)

// usage returns the memory of a key.
func (m memoryModel) usage(name int, expires bool, s *rdb.Shape) int64 {
	if s.Type == rdb.TypeString {
		return m.str(int64(name), expires, s)
	}
	return m.name(int64(name)) + objectBytes + m.value(s)
}

// name returns the bytes that the table of keys takes for a key.
func (m memoryModel) name(n int64) int64 {
	switch n = rdb.StringBytes(n); {
	case m.valkey:
		return 0
	case m.strings:
		return entryBytes + rdb.Allocated(n)
	}
	return entryBytes + n
}

func (m memoryModel) str(name int64, expires bool, s *rdb.Shape) int64 {
	embedded := objectBytes + 3 + s.Length + 1
	if m.valkey { // the name is embedded, too, in one cache line
		embedded += 1 + rdb.StringBytes(name)
		if expires {
			embedded += 8
		}
	}
	switch {
	case s.Int:
		return m.name(name) + objectBytes
	case m.valkey && embedded <= 64, !m.valkey && m.blobs && s.Length <= embeddedMost:
		return m.name(name) + rdb.Allocated(embedded)
	case !m.valkey && s.Length <= embeddedMost:
		return m.name(name) + objectBytes + s.Length + 2
	case s.Length <= embeddedMost: // the shape may have counted the string as an integer
		return objectBytes + rdb.Allocated(rdb.StringBytes(s.Length))
	}
	return m.name(name) + objectBytes + m.held(s.Strings)
}

func (m memoryModel) held(strings rdb.Allocations) int64 {
	if m.strings {
		return strings.Held
	}
	return strings.Bytes
}

func (m memoryModel) packed(s *rdb.Shape) int64 {
	if m.blobs {
		return s.Blobs.Held
	}
	return s.Blobs.Bytes
}

// value returns the memory of a value that is not a string, without its object.
func (m memoryModel) value(s *rdb.Shape) int64 {
	memory := rdb.MemoryOf(s.Type)
	switch kind := rdb.TypeOf(s.Type); {
	case kind == keyspace.Stream:
		return m.stream(s)
	case kind == keyspace.Module: // nothing more is known about module values
		return s.Bytes
	case m.oneNode(s):
		return m.packed(s)
	case memory.Strings:
		return m.structure(s) + m.held(s.Strings)
	}
	return m.structure(s) + m.packed(s)
}

// structure returns the bytes of a value that are not those of its elements.
func (m memoryModel) structure(s *rdb.Shape) int64 {
	memory := rdb.MemoryOf(s.Type)
	n := memory.Fixed + memory.PerElement*s.Elements + memory.PerNode*s.Blobs.Count + memory.PerExpiring*s.Expiring
	if memory.Table {
		n += m.table(s.Elements)
	}
	return n
}

// oneNode says whether a list is a single packed node, and so is stored without a quicklist.
func (m memoryModel) oneNode(s *rdb.Shape) bool {
	return m.listpack && s.Blobs.Count == 1 && rdb.MemoryOf(s.Type).PerNode > 0
}

// table returns the bytes of a hash table of n elements, without the data that its entries point to.
func (m memoryModel) table(n int64) int64 {
	if m.valkey {
		return m.buckets(n)
	}
	return dictBytes + pointerBytes*powerOfTwo(max(n, 4)) + entryBytes*n
}

// buckets returns the bytes of a table of Valkey. The table has buckets for 5/32 of its elements, and another one after each
// bucket that overflows.
func (m memoryModel) buckets(n int64) int64 {
	buckets := powerOfTwo(max(1, (n*5+31)/32))
	load := float64(n) / float64(buckets)
	fits, p := 0.0, math.Exp(-load) // the distribution of elements over buckets is Poisson's
	for i := 1; i <= bucketEntries+1; i++ {
		fits += p
		p *= load / float64(i)
	}
	return dictBytes + int64(float64(buckets)*(2-fits)*bucketBytes)
}

// powerOfTwo returns the least power of two that is not less than n.
func powerOfTwo(n int64) int64 { return 1 << bits.Len64(uint64(n-1)) }

func (m memoryModel) stream(s *rdb.Shape) int64 {
	n := m.packed(s) + s.Groups*streamGroup + s.Consumers*streamConsumer + s.Pending*streamNACK + s.Strings.Bytes
	if m.blobs { // the last node is allocated as large as a full one
		n += max(0, streamNodeFull-rdb.Allocated(s.LastBlob))
	}
	if i := s.Index; m.valkey { // Valkey counts the bytes that are allocated
		n += 16*i.Elements + 32*i.Chains + 16*i.Branches + pointerBytes*(i.Elements+i.Branches)
	} else {
		n += raxElement*i.Elements + raxNode*(i.Elements+i.Branches+i.Chains)
	}
	return n
}

// encoding returns what OBJECT ENCODING would return, and "" where that is not known.
func (m memoryModel) encoding(s *rdb.Shape) string {
	switch encoding := rdb.MemoryOf(s.Type).Encoding; {
	case s.Type == rdb.TypeString:
		return m.stringEncoding(s)
	case encoding == "quicklist" && m.oneNode(s):
		return "listpack"
	default:
		return encoding
	}
}

func (m memoryModel) stringEncoding(s *rdb.Shape) string {
	switch {
	case s.Int:
		return "int"
	case s.Length <= embeddedMost:
		return "embstr"
	}
	return "raw"
}
