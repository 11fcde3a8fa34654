package spool

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// To a real disk, with syncing once a second behind it.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := open(b, b.TempDir(), Options{SyncEvery: time.Second})
			must(b, l.Start("id", 0))
			p := pattern(0, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				must(b, l.Append(1, p))
				if l.Size() > 2<<30 {
					must(b, l.TrimBefore(l.End()))
				}
			}
		})
	}
}

// A reader that follows the writer.
func BenchmarkFollow(b *testing.B) {
	const size = 64 << 10
	l := open(b, b.TempDir(), Options{SyncEvery: time.Second})
	must(b, l.Start("id", 0))
	r, err := l.NewReader(0)
	must(b, err)
	ended := make(chan error)
	total := int64(b.N) * size
	b.SetBytes(size)
	b.ResetTimer()
	go func() {
		defer r.Close()
		for r.Offset() < total {
			if _, _, _, err := r.Next(context.Background()); err != nil {
				ended <- err
				return
			}
			if err := l.TrimBefore(r.Offset()); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	p := pattern(0, size)
	for range b.N {
		must(b, l.Append(1, p))
	}
	must(b, <-ended)
}
