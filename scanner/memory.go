package scanner

import (
	"math"
	"math/bits"

	"surecut/internal/endpoint"
	"surecut/internal/rdb"
)

// memoryModel says what MEMORY USAGE with SAMPLES 0 would say of a key, from the shape of its value: the structures of
// a server of 64 bit with jemalloc. docs/memory-model.md has its errors as measured.
type memoryModel struct {
	strings  bool // since 6.0 strings count in the allocator's size classes
	blobs    bool // since 7.0 packed values too
	listpack bool // since 7.2 a list of one node is that node
	valkey   bool // since Valkey 8.1: tables of buckets, names inside objects (and not counted)
}

// modelOf gives the model of a server by its flavor (redis or valkey) and version. An unknown version counts as the newest.
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

// What structures take, in bytes.
const (
	objectBytes    = 16 // robj
	entryBytes     = 24 // dictEntry
	pointerBytes   = 8
	dictBytes      = 56
	listBytes      = 48
	listNode       = 24
	quicklistBytes = 40
	quicklistNode  = 32
	zsetBytes      = 16 + 32 + 640 // with the skiplist's header of 32 levels
	skiplistNode   = 53            // on average: a fourth of the nodes has a second level, and so on
	expiringField  = 18            // beyond that of one that stays
	listpackEx     = 24
	embeddedMost   = 44 // longer strings have an allocation of their own
	streamNodeFull = 4096
	raxElement     = 16
	raxNode        = 4 + 8*30 // as the server reckons
	streamGroup    = 56
	streamConsumer = 32
	streamNACK     = 24
	bucketBytes    = 64
	bucketEntries  = 7
)

// usage is the memory of a key.
func (m memoryModel) usage(name int, expires bool, s *rdb.Shape) int64 {
	if s.Type == rdb.TypeString {
		return m.str(int64(name), expires, s)
	}
	return m.name(int64(name)) + objectBytes + m.value(s)
}

// name is what the table of keys takes for a key.
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
	if m.valkey { // with the name, in one cache line
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
	case s.Length <= embeddedMost: // the shape may have left it out as an integer
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

// value is the memory of a value that is no string, without its object.
func (m memoryModel) value(s *rdb.Shape) int64 {
	switch s.Type {
	case rdb.TypeList: // before 3.2 of objects
		return listBytes + s.Elements*(listNode+objectBytes) + m.held(s.Strings)
	case rdb.TypeQuicklist, rdb.TypeQuicklist2, rdb.TypeListZiplist:
		if m.listpack && s.Blobs.Count == 1 {
			return m.packed(s)
		}
		return quicklistBytes + quicklistNode*s.Blobs.Count + m.packed(s)
	case rdb.TypeSet:
		return m.table(s.Elements) + m.held(s.Strings)
	case rdb.TypeHash, rdb.TypeHashMetadata, rdb.TypeValkeyHash2:
		return m.table(s.Elements) + m.held(s.Strings) + expiringField*s.Expiring
	case rdb.TypeZSet, rdb.TypeZSet2:
		return zsetBytes + m.table(s.Elements) + skiplistNode*s.Elements + m.held(s.Strings)
	case rdb.TypeHashListpackEx:
		return listpackEx + m.packed(s)
	case rdb.TypeStream, rdb.TypeStream2, rdb.TypeStream3:
		return m.stream(s)
	case rdb.TypeModule: // opaque
		return s.Bytes
	}
	return m.packed(s)
}

// table is a hash table of n elements, without what its entries point to.
func (m memoryModel) table(n int64) int64 {
	if m.valkey {
		return m.buckets(n)
	}
	return dictBytes + pointerBytes*powerOfTwo(max(n, 4)) + entryBytes*n
}

// buckets is a table of Valkey: buckets for five parts in 32 of its elements, and one more behind each that overflows.
func (m memoryModel) buckets(n int64) int64 {
	buckets := powerOfTwo(max(1, (n*5+31)/32))
	load := float64(n) / float64(buckets)
	fits, p := 0.0, math.Exp(-load) // elements fall into buckets as Poisson has it
	for i := 1; i <= bucketEntries+1; i++ {
		fits += p
		p *= load / float64(i)
	}
	return dictBytes + int64(float64(buckets)*(2-fits)*bucketBytes)
}

// powerOfTwo is the least that is not below n.
func powerOfTwo(n int64) int64 { return 1 << bits.Len64(uint64(n-1)) }

func (m memoryModel) stream(s *rdb.Shape) int64 {
	n := m.packed(s) + s.Groups*streamGroup + s.Consumers*streamConsumer + s.Pending*streamNACK + s.Strings.Bytes
	if m.blobs { // the last node has the room of a full one
		n += max(0, streamNodeFull-rdb.Allocated(s.LastBlob))
	}
	if i := s.Index; m.valkey { // counts what is allocated
		n += 16*i.Elements + 32*i.Chains + 16*i.Branches + pointerBytes*(i.Elements+i.Branches)
	} else {
		n += raxElement*i.Elements + raxNode*(i.Elements+i.Branches+i.Chains)
	}
	return n
}

// encoding is what OBJECT ENCODING would say; "" where that cannot be told.
func (m memoryModel) encoding(s *rdb.Shape) string {
	switch s.Type {
	case rdb.TypeString:
		return m.stringEncoding(s)
	case rdb.TypeList:
		return "linkedlist"
	case rdb.TypeSet, rdb.TypeHash, rdb.TypeHashMetadata, rdb.TypeValkeyHash2:
		return "hashtable"
	case rdb.TypeZSet, rdb.TypeZSet2:
		return "skiplist"
	case rdb.TypeSetIntset:
		return "intset"
	case rdb.TypeHashZipmap:
		return "zipmap"
	case rdb.TypeListZiplist, rdb.TypeHashZiplist, rdb.TypeZSetZiplist:
		return "ziplist"
	case rdb.TypeSetListpack, rdb.TypeHashListpack, rdb.TypeZSetListpack:
		return "listpack"
	case rdb.TypeHashListpackEx:
		return "listpackex"
	case rdb.TypeQuicklist, rdb.TypeQuicklist2:
		if m.listpack && s.Blobs.Count == 1 {
			return "listpack"
		}
		return "quicklist"
	case rdb.TypeStream, rdb.TypeStream2, rdb.TypeStream3:
		return "stream"
	}
	return ""
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
