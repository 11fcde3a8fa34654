package migrator

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/internal/keyspace"
)

// TestParserWaits: of what lies in the spool no more is parsed ahead than memory allows, however large its commands are.
func TestParserWaits(t *testing.T) {
	const values, size = 20, 1 << 20
	log := spoolOf(t, bytes.Repeat(encode("SET a "+strings.Repeat("v", size)), values), 4<<20)
	p := feedOf(t, log, &keyspace.Filter{}, 0)
	out, over := make(chan stretch, 1024), make(chan error, 1)
	go func() { over <- p.run(t.Context(), out) }()
	for deadline := time.Now().Add(10 * time.Second); len(out) < parsedBytes/size-1 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	if n := len(out); n == 0 || n > parsedBytes/size {
		t.Errorf("%d commands of 1 MiB are waiting", n)
	}
	d, n := newTestDispatcher(newTestLink(t), &checkpoint{offset: 100}), 0
	go func() {
		for _, lane := range d.lanes {
			for lane.take() != nil {
			}
		}
	}()
	defer d.lane(keyspace.Slot("a")).stop()
	for s := range out {
		for d.open, d.at = s, 0; d.pending(); n++ {
			if err := d.step(t.Context(), d.take()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := <-over; err != nil || n != values {
		t.Errorf("%d of %d commands, %v", n, values, err)
	}
}

// TestPassFences: where many keys were copied ahead of the stream, it is followed to where none is.
func TestPassFences(t *testing.T) {
	l := newTestLink(t)
	l.m.cfg.RetryFor = time.Minute
	d := newTestDispatcher(l, &checkpoint{offset: 100})
	stretches := make(chan stretch, mostFenced)
	d.stretches = stretches
	l.positions.setDispatched(mark{offset: 100})
	for i := range mostFenced - 1 {
		d.ahead.fences[keyspace.Key{Name: strconv.Itoa(i)}] = int64(101 + i%3)
		stretches <- stretch{groups: []group{{start: int64(100 + i), end: int64(101 + i)}}}
	}
	if err := d.releases.passFences(t.Context()); err != nil || len(d.ahead.fences) != mostFenced-1 || l.positions.dispatchedTo().offset != 100 {
		t.Fatalf("%d fences, at %d: %v", len(d.ahead.fences), l.positions.dispatchedTo().offset, err)
	}
	d.ahead.fences[keyspace.Key{Name: "one more"}] = 102
	if err := d.releases.passFences(t.Context()); err != nil || len(d.ahead.fences) != 0 || l.positions.dispatchedTo().offset != 103 {
		t.Fatalf("%d fences, at %d: %v", len(d.ahead.fences), l.positions.dispatchedTo().offset, err)
	}
	close(stretches)
	for range stretches {
	}
	for i := range mostFenced {
		d.ahead.fences[keyspace.Key{Name: strconv.Itoa(i)}] = 900
	}
	if err := d.releases.passFences(t.Context()); err != nil {
		t.Errorf("at the end of the stream: %v", err)
	}
}
