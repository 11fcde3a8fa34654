package scanner

import (
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

const (
	leastSamples  = 5  // elements that an estimate looks at, where --samples says 0
	guessedLength = 16 // of an element of which nothing is known
)

// sampleCommand reads the first few elements of a value. A server gives all of a packed one.
func sampleCommand(t keyspace.Type, name string, n int) []string {
	count := strconv.Itoa(n)
	switch t {
	case keyspace.List:
		return []string{"LRANGE", name, "0", strconv.Itoa(n - 1)}
	case keyspace.Set:
		return []string{"SSCAN", name, "0", "COUNT", count}
	case keyspace.ZSet:
		return []string{"ZSCAN", name, "0", "COUNT", count}
	case keyspace.Hash:
		return []string{"HSCAN", name, "0", "COUNT", count}
	case keyspace.Stream:
		return []string{"XRANGE", name, "-", "+", "COUNT", count}
	}
	return []string{"TYPE", name}
}

// sampleLengths returns the lengths of the strings of a sample, those of a stream entry in one; nothing where it was refused.
func sampleLengths(t keyspace.Type, reply rueidis.RedisResult) (lengths []int64) {
	list, err := reply.ToArray()
	if err != nil {
		return nil
	}
	switch t {
	case keyspace.Set, keyspace.ZSet, keyspace.Hash: // a cursor before them
		if len(list) != 2 {
			return nil
		}
		if list, err = list[1].ToArray(); err != nil {
			return nil
		}
	case keyspace.Stream:
		for _, entry := range list {
			parts, err := entry.ToArray()
			if err != nil || len(parts) != 2 {
				return nil
			}
			fields, err := parts[1].AsStrSlice()
			if err != nil {
				return nil
			}
			sum := int64(0)
			for i := 1; i < len(fields); i += 2 { // names are mostly those of the node
				sum += int64(len(fields[i])) + 2
			}
			lengths = append(lengths, sum)
		}
		return lengths
	}
	for _, m := range list {
		s, err := m.ToString()
		if err != nil {
			return nil
		}
		lengths = append(lengths, int64(len(s)))
	}
	return lengths
}

// estimate is the model's size of a key of which the encoding, the number of elements and the lengths of a few of their strings are known.
func (m memoryModel) estimate(r reading, n int64, sample []int64) int64 {
	s := rdb.Shape{Elements: n, Length: n, Type: rdb.TypeSetListpack}
	if r.typ == keyspace.String {
		s.Type, s.Int = rdb.TypeString, r.encoding == "int"
		if !s.Int {
			s.Strings = repeated(1, n)
		}
		return m.usage(len(r.name), r.ttlMs >= 0, &s)
	}
	strings, length := n, mean(sample)
	switch {
	case r.typ == keyspace.Module:
		s.Type, s.Bytes = rdb.TypeModule, 0
	case r.typ == keyspace.List && r.encoding == "linkedlist":
		s.Type = rdb.TypeList
	case r.typ == keyspace.List:
		s.Type = rdb.TypeQuicklist2
	case r.typ == keyspace.Stream:
		s.Type = rdb.TypeStream3
	case r.encoding == "intset":
		s.Type = rdb.TypeSetIntset
		s.Blobs = repeated(1, 8+n*intWidth(sample))
		return m.usage(len(r.name), r.ttlMs >= 0, &s)
	case isWhole(topKey{reading: r}):
	case r.typ == keyspace.Set:
		s.Type = rdb.TypeSet
	case r.typ == keyspace.Hash:
		s.Type = rdb.TypeHash
	case r.typ == keyspace.ZSet:
		s.Type = rdb.TypeZSet2
	}
	switch r.typ {
	case keyspace.Hash:
		strings *= 2
	case keyspace.ZSet:
		if s.Type == rdb.TypeZSet2 {
			length = mean(everySecond(sample)) // scores are no strings
		} else {
			strings *= 2
		}
	}
	s.Strings = repeated(strings, length)
	if r.typ != keyspace.Stream && len(sample) > 0 { // rounding makes the mean of the parts another one than the part of the mean
		s.Strings.Held = int64(float64(strings) * meanHeld(sample, s.Type == rdb.TypeZSet2))
	}
	m.pack(&s, strings, length)
	return m.usage(len(r.name), r.ttlMs >= 0, &s)
}

// pack fills the nodes of a value that is packed.
func (m memoryModel) pack(s *rdb.Shape, strings, length int64) {
	full, entry := int64(1<<62), length+2
	switch s.Type {
	case rdb.TypeQuicklist2:
		full = 8 << 10
	case rdb.TypeStream3:
		full, entry = streamNodeFull, length+10
		s.Strings = rdb.Allocations{}
	case rdb.TypeSetListpack:
	default:
		return
	}
	if length >= 64 {
		entry += 2
	}
	perNode := max(1, full/entry)
	if s.Type == rdb.TypeStream3 {
		perNode = min(perNode, 100) // stream-node-max-entries
	}
	nodes := (strings + perNode - 1) / perNode
	per := min(strings, perNode)*entry + 7
	s.Blobs = rdb.Allocations{Count: nodes, Bytes: nodes * per, Held: nodes * rdb.Allocated(per)}
	s.LastBlob = per
	if s.Type == rdb.TypeStream3 {
		s.Index = rdb.RaxUse{Elements: nodes, Branches: nodes / 16, Chains: nodes}
	}
}

// repeated is n strings of one length.
func repeated(n, length int64) rdb.Allocations {
	one := rdb.StringBytes(length)
	return rdb.Allocations{Count: n, Bytes: n * one, Held: n * rdb.Allocated(one)}
}

func mean(lengths []int64) int64 {
	if len(lengths) == 0 {
		return guessedLength
	}
	sum := int64(0)
	for _, n := range lengths {
		sum += n
	}
	return sum / int64(len(lengths))
}

func meanHeld(lengths []int64, scored bool) float64 {
	if scored {
		lengths = everySecond(lengths)
	}
	sum := int64(0)
	for _, n := range lengths {
		sum += rdb.Allocated(rdb.StringBytes(n))
	}
	return float64(sum) / float64(len(lengths))
}

// everySecond drops the scores from members and scores.
func everySecond(lengths []int64) (odd []int64) {
	for i := 0; i < len(lengths); i += 2 {
		odd = append(odd, lengths[i])
	}
	return odd
}

// intWidth is the width of the integers of an intset, by their digits.
func intWidth(lengths []int64) int64 {
	longest := int64(0)
	for _, n := range lengths {
		longest = max(longest, n)
	}
	switch {
	case longest <= 4:
		return 2
	case longest <= 10:
		return 4
	}
	return 8
}

// serialized estimates the bytes of a value in an RDB from its memory.
func (m memoryModel) serialized(r reading) int64 {
	name := m.name(int64(len(r.name)))
	if r.typ == keyspace.String {
		if r.elements == unknown || r.length == 0 && r.bytes > 0 {
			return max(1, r.bytes-name-objectBytes)
		}
		return r.length + 2
	}
	left := r.bytes - name - objectBytes
	n := max(r.elements, 0)
	if !isWhole(topKey{reading: r}) {
		const overhead = 8 // of a string: header, NUL and rounding, less the length before it in the RDB
		switch r.typ {
		case keyspace.Set:
			left -= m.table(n) + overhead*n
		case keyspace.Hash:
			left -= m.table(n) + 2*overhead*n
		case keyspace.ZSet:
			left -= zsetBytes + m.table(n) + (skiplistNode+overhead-8)*n
		case keyspace.List:
			left -= listBytes + (listNode+objectBytes+overhead)*n
		}
	}
	return max(left, 2*n, 1)
}
