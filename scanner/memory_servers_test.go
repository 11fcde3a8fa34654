//go:build servers

package scanner

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"surecut/e2e/servers"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/rdb"
)

// encodings fills a server with keys of one type and encoding: what OBJECT ENCODING says is not looked at, since it differs from
// version to version, but the commands that lead to it.
var encodings = []struct {
	name  string
	since int // Redis version
	keys  int
	fill  func(r *rand.Rand, key string, do func(...string))
}{
	{name: "string, integer", keys: 50, fill: func(r *rand.Rand, key string, do func(...string)) {
		do("SET", key, strconv.FormatInt(10_000+r.Int64N(1<<60), 10))
	}},
	{name: "string, up to 44 bytes", keys: 50, fill: func(r *rand.Rand, key string, do func(...string)) { do("SET", key, word(r, 1, 44)) }},
	{name: "string, longer", keys: 50, fill: func(r *rand.Rand, key string, do func(...string)) { do("SET", key, word(r, 45, 5000)) }},
	{name: "list, short", keys: 50, fill: func(r *rand.Rand, key string, do func(...string)) {
		do(append([]string{"RPUSH", key}, words(r, 5, 3, 40)...)...)
	}},
	{name: "list, long", keys: 5, fill: func(r *rand.Rand, key string, do func(...string)) {
		do(append([]string{"RPUSH", key}, words(r, 5000, 3, 100)...)...)
	}},
	{name: "list, large elements", keys: 5, fill: func(r *rand.Rand, key string, do func(...string)) {
		do(append([]string{"RPUSH", key}, words(r, 20, 5000, 20000)...)...)
	}},
	{name: "set, integers", keys: 50, fill: func(r *rand.Rand, key string, do func(...string)) {
		args := []string{"SADD", key}
		for range 50 + r.IntN(100) {
			args = append(args, strconv.Itoa(r.IntN(1<<30)))
		}
		do(args...)
	}},
	{name: "set, short", keys: 50, fill: func(r *rand.Rand, key string, do func(...string)) {
		do(append([]string{"SADD", key}, words(r, 30, 3, 40)...)...)
	}},
	{name: "set, long", keys: 5, fill: func(r *rand.Rand, key string, do func(...string)) {
		do(append([]string{"SADD", key}, words(r, 3000, 8, 100)...)...)
	}},
	{name: "sorted set, short", keys: 50, fill: func(r *rand.Rand, key string, do func(...string)) {
		do(append([]string{"ZADD", key}, scored(r, 30, 3, 40)...)...)
	}},
	{name: "sorted set, long", keys: 5, fill: func(r *rand.Rand, key string, do func(...string)) {
		do(append([]string{"ZADD", key}, scored(r, 3000, 8, 60)...)...)
	}},
	{name: "hash, short", keys: 50, fill: func(r *rand.Rand, key string, do func(...string)) {
		do(append([]string{"HSET", key}, words(r, 40, 3, 40)...)...)
	}},
	{name: "hash, long", keys: 5, fill: func(r *rand.Rand, key string, do func(...string)) {
		do(append([]string{"HSET", key}, words(r, 6000, 8, 100)...)...)
	}},
	{name: "hash, large values", keys: 5, fill: func(r *rand.Rand, key string, do func(...string)) {
		do(append([]string{"HSET", key}, words(r, 40, 100, 5000)...)...)
	}},
	{name: "hash with expiring fields, short", since: 80000, keys: 50, fill: func(r *rand.Rand, key string, do func(...string)) {
		do(append([]string{"HSET", key}, words(r, 40, 3, 40)...)...)
		do("HSET", key, "f", "v")
		do("HEXPIRE", key, "100000", "FIELDS", "1", "f")
	}},
	{name: "hash with expiring fields, long", since: 80000, keys: 5, fill: func(r *rand.Rand, key string, do func(...string)) {
		fields := words(r, 4000, 8, 60)
		do(append([]string{"HSET", key}, fields...)...)
		args := []string{"HEXPIRE", key, "100000", "FIELDS", "2000"}
		for i := 0; i < len(fields); i += 2 {
			args = append(args, fields[i])
		}
		do(args...)
	}},
	{name: "stream, short", since: 50000, keys: 50, fill: func(r *rand.Rand, key string, do func(...string)) { entries(r, key, 5, do) }},
	{name: "stream, long", since: 50000, keys: 2, fill: func(r *rand.Rand, key string, do func(...string)) { entries(r, key, 5000, do) }},
	{name: "stream with groups", since: 50000, keys: 2, fill: func(r *rand.Rand, key string, do func(...string)) {
		entries(r, key, 2000, do)
		for _, group := range []string{"mail", "audit"} {
			do("XGROUP", "CREATE", key, group, "0")
			for i := range 10 {
				do("XREADGROUP", "GROUP", group, fmt.Sprintf("worker-%d", i), "COUNT", "100", "STREAMS", key, ">")
			}
		}
	}},
}

func word(r *rand.Rand, low, high int) string {
	b := make([]byte, low+r.IntN(high-low+1))
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

func words(r *rand.Rand, n, low, high int) (out []string) {
	for range n {
		out = append(out, word(r, low, high))
	}
	return out
}

func scored(r *rand.Rand, n, low, high int) (out []string) {
	for range n {
		out = append(out, strconv.FormatFloat(r.Float64()*1000, 'g', -1, 64), word(r, low, high))
	}
	return out
}

func entries(r *rand.Rand, key string, n int, do func(...string)) {
	id := int64(1_700_000_000_000)
	for range n {
		id += r.Int64N(20) + 1
		do("XADD", key, strconv.FormatInt(id, 10)+"-0", "user", word(r, 5, 20), "text", word(r, 10, 80))
	}
}

// In per cent of MEMORY USAGE. An estimate has seen a part of the elements.
const (
	modelTolerance    = 10
	estimateTolerance = 20
)

// withoutMemoryUsage scans as a user who may not ask for MEMORY USAGE.
func withoutMemoryUsage(t *testing.T, s *servers.Server) *BigKeys {
	t.Helper()
	s.Must("ACL", "SETUSER", "limited", "on", ">pw", "~*", "+@all", "-memory")
	o := DefaultConfig()
	o.Samples, o.Top = 200, 10_000
	b, err := ScanLive(t.Context(), endpointtest.Open(t, strings.Replace(s.URL(), "redis://", "redis://limited:pw@", 1)), o)
	if err != nil {
		t.Fatal(err)
	}
	if b.Totals.SizeBy != SizeByEstimate {
		t.Errorf("sizes are by %s", b.Totals.SizeBy)
	}
	return b
}

// TestMemoryModel holds the model against MEMORY USAGE, for every type and encoding. SURECUT_MEMORY_TABLE names a file to
// which the lines of docs/memory-model.md are appended.
func TestMemoryModel(t *testing.T) {
	for _, image := range servers.Must() {
		t.Run(image, func(t *testing.T) {
			s := servers.Standalone(t, image)
			server, err := endpointtest.Open(t, s.URL()).Server(t.Context(), s.Addr)
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 2)) // #nosec: a fixed sample
			of := map[string]int{}
			for i, e := range encodings {
				if server.Number < e.since || s.Flavor == "valkey" && e.since == 80000 {
					continue
				}
				for n := range e.keys {
					key := fmt.Sprintf("%s:%d:%d", strings.Repeat("k", r.IntN(30)), i, n)
					of[key] = i
					e.fill(r, key, func(args ...string) { s.Must(args...) })
				}
			}
			type sums struct{ real, model, keys, worst, estimate int64 }
			by := make([]sums, len(encodings))
			for _, k := range withoutMemoryUsage(t, s).Top {
				by[of[k.Key]].estimate += k.Bytes
			}
			eachShape(t, snapshotOf(t, s), func(e *rdb.Entry) {
				real, err := s.Do("MEMORY", "USAGE", string(e.Key), "SAMPLES", "0").AsInt64()
				if err != nil {
					t.Fatal(err)
				}
				model := modelOf(s.Flavor, s.Version).usage(len(e.Key), false, e.Shape)
				b := &by[of[string(e.Key)]]
				b.real, b.model, b.keys = b.real+real, b.model+model, b.keys+1
				b.worst = max(b.worst, 100*max(model-real, real-model)/real)
			})
			var table strings.Builder
			for i, e := range encodings {
				b := by[i]
				if b.keys == 0 {
					continue
				}
				off := 100 * float64(b.model-b.real) / float64(b.real)
				fmt.Fprintf(&table, "| %s %s | %s | %d | %+.1f %% | %d %% |\n", s.Flavor, s.Version, e.name, b.real/b.keys, off, b.worst)
				if est := 100 * float64(b.estimate-b.real) / float64(b.real); e.name != "stream with groups" && (est > estimateTolerance || est < -estimateTolerance) { // which it does not see
					t.Errorf("%s: MEMORY USAGE says %d bytes a key, the estimate %d: %+.1f %%, want at most %d %%", e.name, b.real/b.keys, b.estimate/b.keys, est, estimateTolerance)
				}
				if off > modelTolerance || off < -modelTolerance {
					t.Errorf("%s: MEMORY USAGE says %d bytes a key, the model %d: %+.1f %%, want at most %d %%", e.name, b.real/b.keys, b.model/b.keys, off, modelTolerance)
				}
			}
			t.Logf("mean bytes by MEMORY USAGE, error of the model, largest of one key:\n%s", table.String())
			if path := os.Getenv("SURECUT_MEMORY_TABLE"); path != "" {
				f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := f.WriteString(table.String()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// eachShape calls do for every key of an RDB, with the shape of its value.
func eachShape(t *testing.T, path string, do func(*rdb.Entry)) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := rdb.NewReader(f, rdb.Options{ShapesOnly: true}); ; {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == rdb.KindKey {
			do(e)
		}
	}
}
