package verifier

import (
	"fmt"
	"slices"
	"sync"

	"surecut/internal/endpoint"
)

// shortfall says why the enumeration of one side may not be complete.
type shortfall struct {
	of endpoint.Side

	mu     sync.Mutex
	why    []string // guarded by mu
	margin int64    // guarded by mu: how many more keys were scanned than DBSIZE requires
	twice  int64    // guarded by mu: keys that were scanned more than once
}

// mostReasons bounds how many reasons are kept.
const mostReasons = 20

// add notes a reason.
func (f *shortfall) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.why) < mostReasons {
		f.why = append(f.why, fmt.Sprintf(format, args...))
	}
}

// spare takes in how many more keys a scan returned than DBSIZE requires.
func (f *shortfall) spare(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.margin += n
}

// repeated takes in how many keys the scan returned twice: the side holds that many fewer than were counted.
func (f *shortfall) repeated(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.twice += n
}

// reasons returns why the enumeration may not be complete, and nil where it is.
func (f *shortfall) reasons() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Sorted(slices.Values(f.why)) // nodes are scanned concurrently
	if f.twice > f.margin {
		out = append(out, fmt.Sprintf("%s: SCAN returned %d keys twice, so that %d fewer keys were listed than DBSIZE reports", f.of, f.twice, f.twice-f.margin))
	}
	return out
}
