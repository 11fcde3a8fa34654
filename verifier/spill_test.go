package verifier

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// enumerationTold is an enumeration of a server that holds keys named k0, k1 and so on.
func enumerationTold(t *testing.T, keys int) (*enumeration, *endpointtest.Server) {
	t.Helper()
	s := endpointtest.Serve(t, "7.0.15")
	for i := range keys {
		s.Put(fmt.Sprintf("k%d", i), stringOf(fmt.Sprint("value of ", i)))
	}
	c := toldConfig(t)
	c.mapping = keyspace.Filter{}.To(keyspace.Databases{Home: endpoint.AllDBs})
	to, err := newSpill(c.TempDir, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(to.close)
	return &enumeration{toldSide(t, endpoint.Source, s.URL(), c), to}, s
}

// spillOfBlocks is a spill whose first records are in its file.
func spillOfBlocks(t *testing.T) *spill {
	t.Helper()
	s, err := newSpill(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	for i := range 2000 {
		r := record{keyID: keyID{name: fmt.Sprintf("key:%06d", i)}, t: keyspace.Hash, fp: keyspace.Fingerprint{Value: uint64(i), Keyed: 7, Length: 3}, fieldsAt: 1 << 40}
		if err := s.add(&r); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.parts[0].blocks) < 2 {
		t.Fatalf("%d blocks", len(s.parts[0].blocks))
	}
	return s
}

// TestDamagedRecords: a temporary file that does not give back what was written to it ends the run. It never leaves out a record.
func TestDamagedRecords(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		damage    func(s *spill) error
		says      string // part of the error; "": the records are whole
	}{
		{name: "as it was written", damage: func(*spill) error { return nil }},
		{name: "cut off", why: "the disk was full, or somebody emptied the file", damage: func(s *spill) error { return s.file.Truncate(s.end / 2) }, says: "read the temporary file of records: EOF"},
		{name: "emptied", damage: func(s *spill) error { return s.file.Truncate(0) }, says: "read the temporary file of records"},
		{name: "closed", damage: func(s *spill) error { return s.file.Close() }, says: "file already closed"},
		{name: "a name of no end", damage: func(s *spill) error {
			_, err := s.file.WriteAt(bytes.Repeat([]byte{0xff}, 12), 0)
			return err
		}, says: "damaged"},
		{name: "a name longer than the block", damage: func(s *spill) error {
			_, err := s.file.WriteAt([]byte{0xff, 0xff, 0x7f}, 0)
			return err
		}, says: "damaged"},
		{name: "a block that ends within a record", damage: func(s *spill) error {
			s.parts[0].blocks[0].size -= 5
			return nil
		}, says: "damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := spillOfBlocks(t)
			if err := tt.damage(s); err != nil {
				t.Fatal(err)
			}
			n, other := 0, 0
			err := s.each(0, func(records []record) error {
				for _, r := range records {
					if want := fmt.Sprintf("key:%06d", n); r.name != want || r.fp.Value != uint64(n) || r.fieldsAt != 1<<40 {
						other++
					}
					n++
				}
				return nil
			})
			if tt.says == "" {
				if err != nil || n != 2000 || other > 0 || s.count() != 2000 {
					t.Errorf("%d records, %v", n, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.says) || other > 0 {
				t.Errorf("after %d records, %d of them other ones: %v, want %q (%s)", n, other, err, tt.says, tt.why)
			}
		})
	}
}

// TestRecordsThatCannotBeKept: where the temporary file cannot be made or written, the run ends with an error, and no key is left out.
func TestRecordsThatCannotBeKept(t *testing.T) {
	if _, err := newSpill(filepath.Join(t.TempDir(), "nobody"), 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	e, _ := enumerationTold(t, 1000)
	gone := filepath.Join(t.TempDir(), "gone")
	e.to.dir = gone
	if err := e.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if why := strings.Join(e.short.reasons(), " "); !strings.Contains(why, "create the temporary file of records") {
		t.Errorf("%d keys, and nothing is said: %q", e.keys.Load(), why)
	}
	s := spillOfBlocks(t)
	s.file.Close()
	var err error
	for i := 0; err == nil && i < 2000; i++ {
		err = s.add(&record{keyID: keyID{name: fmt.Sprint(i)}})
	}
	if err == nil || !strings.Contains(err.Error(), "write to the temporary file of records") {
		t.Errorf("a file that cannot be written: %v", err)
	}
}
