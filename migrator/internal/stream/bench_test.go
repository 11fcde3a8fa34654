package stream

import (
	"bytes"
	"context"
	"fmt"
	"syscall"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/spool"
	"surecut/migrator/internal/target"
)

// taking is a committer that takes everything at once.
type taking struct{}

func (taking) Commit(context.Context, []*target.Transaction) error { return nil }
func (taking) Close()                                              {}

// BenchmarkStream measures what a SET costs on its way from the spool to the writers of four lanes, by the CPU of the whole process.
func BenchmarkStream(b *testing.B) {
	var one bytes.Buffer
	for i := range 1000 {
		one.Write(encode(fmt.Sprintf("SET key:%012d value-of-16-byte", i*7919%100_000)))
	}
	log, err := spool.Open(b.TempDir(), spool.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	if err := log.Start("id", 100); err != nil {
		b.Fatal(err)
	}
	n := 0
	for ; n < b.N; n += 1000 {
		if err := log.Append(1, one.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
	from, err := NewSpoolFeed(log, &keyspace.Filter{}, Mark{Offset: 100}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer from.Close()
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
	s := New(newTestStream(b).Config, 4, func() Committer { return taking{} }, &target.Checkpoint{Offset: 100})
	before := cpu()
	b.ResetTimer()
	if err := s.Run(b.Context(), from, func(context.Context) error { return nil }); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpu()-before)/float64(n), "cpu-ns/op")
}

// cpu returns the CPU time of the process, in ns.
func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
