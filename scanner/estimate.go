package scanner

import (
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

const (
	leastSamples  = 5  // number of elements that an estimate looks at if Config.Samples is 0
	guessedLength = 16 // the length of an element about which nothing is known
)

// sampleCommand returns the command that reads the first few elements of a value. Of a packed value, a server returns all elements.
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

// sampleLengths returns the lengths of the strings of a sample, and for a stream one sum per entry. It returns nil if the command
// was refused.
func sampleLengths(t keyspace.Type, reply rueidis.RedisResult) (lengths []int64) {
	list, err := reply.ToArray()
	if err != nil {
		return nil
	}
	switch t {
	case keyspace.Set, keyspace.ZSet, keyspace.Hash: // a cursor precedes the elements
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

// estimate returns the size of a key according to the model, given its encoding, the number of its elements and the lengths of some
// of their strings.
func (m memoryModel) estimate(r reading, n int64, sample []int64) int64 {
	s := rdb.Shape{Elements: n, Length: n, Type: heldAs(r)}
	strings, length := n, mean(sample)
	switch s.Type {
	case rdb.TypeString:
		if s.Int = r.encoding == "int"; !s.Int {
			s.Strings = repeated(1, n)
		}
		return m.usage(len(r.name), r.ttlMs >= 0, &s)
	case rdb.TypeSetIntset:
		s.Blobs = repeated(1, 8+n*intWidth(sample))
		return m.usage(len(r.name), r.ttlMs >= 0, &s)
	}
	switch r.typ {
	case keyspace.Hash:
		strings *= 2
	case keyspace.ZSet:
		if s.Type == rdb.TypeZSet2 {
			length = mean(everySecond(sample)) // scores are not strings
		} else {
			strings *= 2
		}
	}
	s.Strings = repeated(strings, length)
	if r.typ != keyspace.Stream && len(sample) > 0 { // the mean of rounded lengths is not the rounded mean
		s.Strings.Held = int64(float64(strings) * meanHeld(sample, s.Type == rdb.TypeZSet2))
	}
	m.pack(&s, strings, length)
	return m.usage(len(r.name), r.ttlMs >= 0, &s)
}

// heldAs returns an RDB type whose values a server holds in the same way as a key's encoding. One type stands for all packed
// encodings.
func heldAs(r reading) byte {
	switch {
	case r.typ == keyspace.String:
		return rdb.TypeString
	case r.typ == keyspace.Module:
		return rdb.TypeModule
	case r.typ == keyspace.List && r.encoding == "linkedlist":
		return rdb.TypeList
	case r.typ == keyspace.List:
		return rdb.TypeQuicklist2
	case r.typ == keyspace.Stream:
		return rdb.TypeStream3
	case r.encoding == "intset":
		return rdb.TypeSetIntset
	case isWhole(topKey{reading: r}):
		return rdb.TypeSetListpack
	case r.typ == keyspace.Set:
		return rdb.TypeSet
	case r.typ == keyspace.Hash:
		return rdb.TypeHash
	case r.typ == keyspace.ZSet:
		return rdb.TypeZSet2
	}
	return rdb.TypeSetListpack
}

// pack computes the nodes of a packed value.
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

// repeated returns the allocations of n strings of the same length.
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

// everySecond returns the members from a list of members and scores.
func everySecond(lengths []int64) (odd []int64) {
	for i := 0; i < len(lengths); i += 2 {
		odd = append(odd, lengths[i])
	}
	return odd
}

// intWidth returns the width of the integers of an intset, judging by the number of their digits.
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

// serialized estimates how many bytes a value takes in an RDB, from its size in memory.
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
		const overhead = 8 // for a string: header, NUL and rounding, less the length that precedes it in the RDB
		left -= m.structure(&rdb.Shape{Type: heldAs(r), Elements: n})
		switch r.typ {
		case keyspace.Set, keyspace.List:
			left -= overhead * n
		case keyspace.Hash:
			left -= 2 * overhead * n
		case keyspace.ZSet: // in the RDB, the score takes as many bytes as the overhead
		}
	}
	return max(left, 2*n, 1)
}
