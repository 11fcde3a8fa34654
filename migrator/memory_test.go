package migrator

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"surecut/internal/keyspace"
)

// TestParserWaits: of what lies in the spool no more is parsed ahead than memory allows, however large its commands are.
func TestParserWaits(t *testing.T) {
	const values, size = 20, 1 << 20
	log := spoolOf(t, bytes.Repeat(encode("SET a "+strings.Repeat("v", size)), values), 4<<20)
	p, err := newParser(t.Context(), log, &keyspace.Filter{}, 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	out, over := make(chan group, 1024), make(chan error, 1)
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
	for g := range out {
		if err := d.step(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if err := <-over; err != nil || n != values {
		t.Errorf("%d of %d commands, %v", n, values, err)
	}
}
