package verifier

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"
	"golang.org/x/sync/semaphore"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

const (
	nodeBytes   = 4 << 20  // bytes of replies that one node is asked for at a time, over all connections
	askBytes    = 1 << 20  // bytes of replies that one pipeline asks for
	leastBytes  = 64 << 10 // what the bytes of a pipeline may shrink to
	windowShare = 2        // a window of one value takes the bytes of a pipeline divided by this
)

// flight bounds the bytes that a node is asked for at one time. A server builds its replies in the memory that also holds its data:
// requests without a bound would make it evict keys or refuse its clients.
type flight struct {
	room *semaphore.Weighted
	most atomic.Int64 // bytes that the node may be asked for at a time: nodeBytes, or less where it is close to its maxmemory
	ask  atomic.Int64 // bytes of one pipeline: less where the server closes connections that have more to send

	small [keyspace.Module + 1]atomic.Int64 // by type: how many keys in a row had small values
	tight atomic.Bool                       // the node is close to its maxmemory, or does not tell whether it is
	looks atomic.Int64

	first  sync.Mutex  // held while the node is looked at for the first time
	looked atomic.Bool // it has been: until then nothing is known of its room, and nobody asks for values
}

func newFlight() *flight {
	f := &flight{room: semaphore.NewWeighted(nodeBytes)}
	f.most.Store(nodeBytes)
	f.ask.Store(askBytes)
	f.tight.Store(true)
	return f
}

// window returns how many bytes of one value are read at a time.
func (f *flight) window() int64 { return f.ask.Load() / windowShare }

// fits returns how many of n keys, at least one, may be asked for at a time, given how many bytes each is expected to take.
func (f *flight) fits(n int, expect func(i int) int64) int {
	room := f.ask.Load()
	for i := range n {
		if room -= expect(i); room < 0 && i > 0 {
			return i
		}
	}
	return n
}

// shrink halves the bytes that a pipeline asks for, and says whether it could.
func (f *flight) shrink() bool {
	ask := f.ask.Load()
	return ask > leastBytes && f.ask.CompareAndSwap(ask, ask/2)
}

const (
	littleBytes = 4 << 10   // a value of no more bytes is small
	calmKeys    = 4096      // after so many small values in a row, a type is assumed to have no others
	spareMemory = 256 << 20 // a node with less room than this up to its maxmemory is close to it
	lookEvery   = 64        // how many pipelines pass between two looks at the memory
	lookOften   = 8         // the same where the node is close to its maxmemory
)

// isCalm says that keys of a type are read without asking first how large they are. So many of its values in a row were small that
// a large one is rare (SCAN does not order keys by size), and the server has room for the first elements of one.
func (f *flight) isCalm(t keyspace.Type) bool {
	return !f.tight.Load() && f.small[t].Load() >= calmKeys
}

// saw takes in how many bytes the value of one key took.
func (f *flight) saw(t keyspace.Type, bytes int64) {
	if bytes > littleBytes {
		f.small[t].Store(0)
		return
	}
	f.small[t].Add(1)
}

// look asks the node now and then how close it is to its maxmemory. Nobody passes before it has answered for the first time.
func (c *conn) look(ctx context.Context) error {
	f := c.node.flight
	if !f.looked.Load() {
		f.first.Lock()
		defer f.first.Unlock()
		if f.looked.Load() {
			return nil
		}
		return c.measureRoom(ctx)
	}
	every := int64(lookEvery)
	if f.tight.Load() {
		every = lookOften
	}
	if f.looks.Add(1)%every != 0 {
		return nil
	}
	return c.measureRoom(ctx)
}

// measureRoom asks the node how far it is from its maxmemory, and has it be asked for as much as fits.
func (c *conn) measureRoom(ctx context.Context) error {
	f := c.node.flight
	results, err := c.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		return rueidis.Commands{b.Info().Section("memory").Build()}
	})
	if err != nil {
		return err
	}
	text, _ := results[0].ToString()
	info := endpoint.ParseInfo(text)
	f.tight.Store(isTight(info["used_memory"], info["maxmemory"]))
	f.fit(info["used_memory"], info["maxmemory"])
	f.looked.Store(true)
	return nil
}

// shareOfSpare divides the room that is left up to a node's maxmemory; replies may take one such part. Their buffers take more
// memory than the replies themselves, and so do connections.
const shareOfSpare = 8

// fit lowers the bytes that a node is asked for at a time where it is close to its maxmemory. The limit of one pipeline is only
// ever lowered.
func (f *flight) fit(used, most string) {
	u, err1 := strconv.ParseInt(used, 10, 64)
	m, err2 := strconv.ParseInt(most, 10, 64)
	if err1 != nil || err2 != nil || m <= 0 {
		return
	}
	bytes := min(max((m-u)/shareOfSpare, leastBytes), nodeBytes)
	f.most.Store(bytes)
	for ask := f.ask.Load(); ask > max(bytes/2, leastBytes); ask = f.ask.Load() {
		f.ask.CompareAndSwap(ask, max(bytes/2, leastBytes))
	}
}

// weight returns how much of the semaphore's room a reply takes: all of it where the reply is larger than what the node may be
// asked for.
func (f *flight) weight(bytes int64) int64 {
	return min(max(bytes, 1)*nodeBytes/f.most.Load(), nodeBytes)
}

// isTight says that a server is close to its maxmemory, or does not tell whether it is.
func isTight(used, most string) bool {
	u, err1 := strconv.ParseInt(used, 10, 64)
	m, err2 := strconv.ParseInt(most, 10, 64)
	return err1 != nil || err2 != nil || m > 0 && m-u < spareMemory
}

// ask sends commands as one pipeline whose replies are expected to have the given number of bytes. It waits until the node's other
// replies leave room for them. A pipeline that is larger than all of the room goes alone.
func (c *conn) ask(ctx context.Context, bytes int64, build func(b rueidis.Builder) rueidis.Commands) ([]rueidis.RedisResult, error) {
	bytes = c.node.flight.weight(bytes)
	if err := c.node.flight.room.Acquire(ctx, bytes); err != nil {
		return nil, context.Cause(ctx)
	}
	defer c.node.flight.room.Release(bytes)
	return c.do(ctx, build)
}

// askOne sends a single command whose reply is expected to have the given number of bytes.
func (c *conn) askOne(ctx context.Context, bytes int64, args ...string) (rueidis.RedisMessage, error) {
	bytes = c.node.flight.weight(bytes)
	if err := c.node.flight.room.Acquire(ctx, bytes); err != nil {
		return rueidis.RedisMessage{}, context.Cause(ctx)
	}
	defer c.node.flight.room.Release(bytes)
	return c.one(ctx, args...)
}

// page returns a page of a large value.
func (c *conn) page(ctx context.Context, args ...string) ([]rueidis.RedisMessage, error) {
	m, err := c.askOne(ctx, c.node.flight.window(), args...)
	if err != nil {
		return nil, err
	}
	return arrayOf(&m)
}
