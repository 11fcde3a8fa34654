package stream

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/semaphore"

	"surecut/internal/keyspace"
	"surecut/internal/resp"
	"surecut/migrator/internal/target"
)

// cutFeed feeds bytes in parts of a size, and sends what it has after each of them.
type cutFeed struct {
	data []byte
	size int
	p    *parser
}

func (f *cutFeed) Read(p []byte) (int, error) {
	if err := f.p.flush(context.Background()); err != nil {
		return 0, err
	}
	n := copy(p, f.data[:min(f.size, len(f.data))])
	if f.data = f.data[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *cutFeed) Close() error { return nil }

func (f *cutFeed) run(ctx context.Context, out chan<- stretch) error {
	defer close(out)
	f.p = &parser{r: resp.NewReader(f), blank: make(chan stretch, mostBlank), room: semaphore.NewWeighted(ParsedBytes), filter: &keyspace.Filter{},
		received: func() int64 { return 1 }, offset: 100, out: out}
	return f.p.run(ctx)
}

// keeper keeps the calls of all lanes, as whoever looks into a failure does.
type keeper struct {
	mu    *sync.Mutex
	calls *[]target.Call
	said  *[]string
}

func (k keeper) Commit(_ context.Context, txs []*target.Transaction) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, x := range txs {
		x.Expand()
		for _, c := range x.Calls {
			*k.calls = append(*k.calls, c)
			*k.said = append(*k.said, strings.Join(c.Args, " "))
		}
	}
	return nil
}

func (keeper) Close() {}

// TestMemoryIsUsedAgain: what held one command is used for others only when nobody looks at the first any more, wherever the source's bytes
// were cut, and a copy of a call stays what it is.
func TestMemoryIsUsedAgain(t *testing.T) {
	want := map[string][]string{}
	var lines []string
	add := func(key, line string) {
		lines = append(lines, line)
		want[key] = append(want[key], line)
	}
	for i := range 8000 {
		key := fmt.Sprintf("k%d", i%97)
		switch {
		case i%7 == 0: // of one lane
			lines = append(lines, "MULTI")
			for j := range i % 5 {
				add(key, fmt.Sprintf("INCRBY %s %d%d", key, i, j))
			}
			lines = append(lines, "EXEC")
		case i%31 == 0: // of several lanes
			lines = append(lines, "MULTI")
			for j := range 3 {
				key := fmt.Sprintf("k%d", (i+j)%97)
				add(key, fmt.Sprintf("APPEND %s %d%d", key, i, j))
			}
			lines = append(lines, "EXEC")
		default:
			add(key, fmt.Sprintf("SET %s value%d", key, i))
		}
	}
	for _, size := range []int{50, 777, 20_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			k := keeper{&sync.Mutex{}, &[]target.Call{}, &[]string{}}
			s := New(newTestStream(t).Config, 3, func() Committer { return k }, &target.Checkpoint{Offset: 100})
			from := &cutFeed{data: encode(lines...), size: size}
			if err := s.Run(t.Context(), from, func(context.Context) error { return nil }); err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			for i, c := range *k.calls {
				line := strings.Join(c.Args, " ")
				if line != (*k.said)[i] || c.Key.Name != c.Args[1] {
					t.Fatalf("%q was committed, and became %q of key %s", (*k.said)[i], line, c.Key.Name)
				}
				got[c.Key.Name] = append(got[c.Key.Name], line)
			}
			for _, key := range slices.Sorted(maps.Keys(want)) {
				if !slices.Equal(got[key], want[key]) {
					t.Fatalf("key %s: %d commands arrived, %d were sent, or in another order", key, len(got[key]), len(want[key]))
				}
			}
		})
	}
}

// TestRoomThatIsKept: every item carries the largest transaction of the source one day, and must not keep room for it. A stretch that comes
// back without its lists must not let the next ones grow from nothing, since those that grew are too large to be kept.
func TestRoomThatIsKept(t *testing.T) {
	it := &item{calls: make([]target.Call, 60)}
	if it.blank(); cap(it.calls) > mostSpareCalls {
		t.Errorf("an item keeps room for %d calls", cap(it.calls))
	}
	p := &parser{out: make(chan stretch, 1), blank: make(chan stretch, 1), room: semaphore.NewWeighted(ParsedBytes), open: []group{{end: 1}}}
	p.blank <- stretch{}
	if err := p.flush(t.Context()); err != nil || cap(p.open) != stretchGroups {
		t.Errorf("room for %d groups, %v", cap(p.open), err)
	}
}
