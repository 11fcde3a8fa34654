package verifier

import (
	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

const (
	usualString = 1 << 10 // assumed until some strings have been read
	usualOther  = 64 << 10

	// sinceMemoryUsage is the first version that has MEMORY USAGE.
	sinceMemoryUsage = 40000
	// sizeSamples is how many elements, or nodes of a list, MEMORY USAGE looks at. A collection with no more elements is measured
	// exactly, and a value that takes no more than wholeBytes has no more.
	sizeSamples = 1024
	// unknownSize is the size of a value for which the server does not say what it takes.
	unknownSize = -1
)

// weights estimates how many bytes the replies about values take, from what the server says of its memory and from earlier replies.
type weights struct {
	unsized bool                         // the server lacks MEMORY USAGE or refuses it
	usual   [keyspace.Module + 1]int64   // by type: bytes of recent first reads, where sizes are not known
	swell   [keyspace.Module + 1]float64 // by type: bytes of a reply per byte that the server says the value takes
}

func newWeights(n *node) *weights {
	w := &weights{unsized: n.facts.Number < sinceMemoryUsage}
	for t := range w.usual {
		w.usual[t], w.swell[t] = usualOther, 1
	}
	w.usual[keyspace.String], w.usual[keyspace.None] = usualString, 0
	return w
}

// expect returns how many bytes the first read of a collection is expected to bring.
func (w *weights) expect(t keyspace.Type, size int64) int64 {
	if size == unknownSize {
		return w.usual[t]
	}
	return headBytes + int64(float64(size)*w.swell[t])
}

// take reads a reply of MEMORY USAGE. Where the command is refused, the read goes on without sizes: if the value itself cannot
// be read, the commands that read it will say why.
func (w *weights) take(result rueidis.RedisResult) int64 {
	n, err := result.AsInt64()
	if err == nil {
		return n
	}
	if !endpoint.IsNil(err) { // nil: the key is gone, and the next read will show it
		w.unsized = w.unsized || forbids("MEMORY", err)
	}
	return unknownSize
}

// tookStrings takes in how many bytes the first reads of some strings had.
func (w *weights) tookStrings(strings, bytes int64) {
	if strings > 0 {
		w.usual[keyspace.String] = max(bytes/strings, w.usual[keyspace.String]/2)
	}
}

// learn takes in how many bytes the replies of a pipeline had.
func (w *weights) learn(f *flight, out []reading, sizes []int64, asked []int, results []rueidis.RedisResult) {
	var bytes, keys, told, replies [keyspace.Module + 1]int64
	for j, i := range asked {
		m, _ := results[j].ToMessage() // the error is in the message
		t, got := out[i].Type, weight(&m)
		f.saw(t, got)
		if sizes[i] == unknownSize {
			bytes[t], keys[t] = bytes[t]+got, keys[t]+1
		} else {
			told[t], replies[t] = told[t]+max(sizes[i], 1), replies[t]+got
		}
	}
	for t := range keys {
		if keys[t] > 0 {
			w.usual[t] = max(bytes[t]/keys[t], w.usual[t]/2)
		}
		if told[t] > 0 {
			w.swell[t] = max(float64(replies[t])/float64(told[t]), w.swell[t]/2, 1)
		}
	}
}

// weight returns about how many bytes a reply takes.
func weight(m *rueidis.RedisMessage) int64 {
	text, err := m.ToString()
	if err == nil {
		return int64(len(text)) + 16
	}
	parts, err := m.ToArray()
	if err != nil {
		return 16
	}
	bytes := int64(16)
	for i := range parts {
		bytes += weight(&parts[i])
	}
	return bytes
}
