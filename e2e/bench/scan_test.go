//go:build bench

package bench

import (
	"bufio"
	le "encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// jones is the polynomial of the CRC64 of an RDB, bits reversed.
var jones = crc64.MakeTable(0x95ac9329ac4bc9b5)

// addCRC goes on with a CRC64 without complement.
func addCRC(sum uint64, p []byte) uint64 { return ^crc64.Update(^sum, jones, p) }

// Types of values in an RDB.
const (
	typeString = 0
	typeSet    = 2
	typeHash   = 4
	typeZSet2  = 5
)

// scanning compares scan bigkeys of an RDB with reading the file and summing its CRC64.
func (b *bench) scanning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dump.rdb")
	keys := writeRDB(t, path, int64(size("SURECUT_BENCH_RDB_MIB", 1024))<<20)
	readAndSum(t, path) // into the page cache
	var plain, ours []time.Duration
	var peak int64
	for round := range b.rounds {
		start := time.Now()
		bytes := readAndSum(t, path)
		plain = append(plain, time.Since(start))
		start = time.Now()
		s := startSurecut(t, "scan", "bigkeys", "--source", "rdb:"+path, "--progress", "none")
		s.wait(t)
		ours = append(ours, time.Since(start))
		peak = max(peak, s.peak.Load())
		t.Logf("scan of %d MiB with %d keys, round %d: reading and CRC64 %v, surecut %v, its peak %d MiB", bytes>>20, keys, round+1,
			plain[round].Round(time.Millisecond), ours[round].Round(time.Millisecond), s.peak.Load()>>20)
	}
	b.add(ratio("scan bigkeys of an RDB / reading and CRC64", ours, plain, 1.5, 1.2, 0), peakRow("scan bigkeys", peak, 256, 128))
}

func readAndSum(t *testing.T, path string) (bytes int64) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf, sum := make([]byte, 1<<20), uint64(0)
	for {
		n, err := f.Read(buf)
		sum = addCRC(sum, buf[:n])
		bytes += int64(n)
		if errors.Is(err, io.EOF) {
			return bytes
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// writeRDB writes an RDB of so many bytes: strings of 1 KiB on average, and hashes, sets and sorted sets of 20 elements.
func writeRDB(t *testing.T, path string, bytes int64) (keys int) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &rdbWriter{w: bufio.NewWriterSize(f, 1<<20), r: rand.New(rand.NewPCG(1, 1))}
	w.text = make([]byte, 1<<16)
	for i := range w.text {
		w.text[i] = byte('a' + w.r.IntN(26))
	}
	w.put([]byte("REDIS0011"))
	for ; w.n < bytes; keys++ {
		switch keys % 10 {
		default:
			w.key(typeString, fmt.Sprintf("user:%d:profile", keys))
			w.str(48, 2000)
		case 7:
			w.key(typeHash, fmt.Sprintf("cart:%d", keys))
			w.elements(2, 20)
		case 8:
			w.key(typeSet, fmt.Sprintf("tags:%d:%d", keys%100, keys))
			w.elements(1, 20)
		case 9:
			w.key(typeZSet2, fmt.Sprintf("board:%d", keys))
			w.length(20)
			for range 20 {
				w.str(8, 40)
				w.put(le.LittleEndian.AppendUint64(nil, math.Float64bits(w.r.Float64())))
			}
		}
	}
	w.put([]byte{0xff})
	w.put(le.LittleEndian.AppendUint64(nil, w.sum))
	if err := errors.Join(w.w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return keys
}

type rdbWriter struct {
	w    *bufio.Writer
	r    *rand.Rand
	text []byte
	n    int64
	sum  uint64
}

func (w *rdbWriter) put(p []byte) {
	w.sum = addCRC(w.sum, p)
	w.n += int64(len(p))
	w.w.Write(p) // Flush tells the error
}

func (w *rdbWriter) length(n int) {
	w.put([]byte{0x40 | byte(n>>8), byte(n)})
}

func (w *rdbWriter) key(rdbType byte, name string) {
	w.put([]byte{rdbType})
	w.length(len(name))
	w.put([]byte(name))
}

func (w *rdbWriter) str(low, high int) {
	n := low + w.r.IntN(high-low)
	at := w.r.IntN(len(w.text) - n)
	w.length(n)
	w.put(w.text[at : at+n])
}

func (w *rdbWriter) elements(strings, n int) {
	w.length(n)
	for range strings * n {
		w.str(8, 60)
	}
}
