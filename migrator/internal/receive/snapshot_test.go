package receive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSnapshot(t *testing.T) {
	const size = 300000
	data := bytes.Repeat([]byte("0123456789"), size/10)
	for _, c := range []struct {
		name  string
		limit int64
		end   error
	}{
		{"whole", size, nil}, {"cut off", size, io.ErrUnexpectedEOF}, {"over its limit", size / 2, ErrFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := CreateSnapshot(filepath.Join(t.TempDir(), "s"), c.limit, true)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var wg sync.WaitGroup
			wg.Go(func() {
				for rest := data; len(rest) > 0; rest = rest[min(7001, len(rest)):] {
					if _, err := s.Write(rest[:min(7001, len(rest))]); err != nil {
						if !errors.Is(err, ErrFull) {
							t.Error(err)
						}
						s.Finish(err)
						return
					}
				}
				s.Finish(c.end)
				s.Finish(context.Canceled) // after its end, nothing changes a whole one
			})
			got, err := io.ReadAll(s.Reader())
			wg.Wait()
			if c.end == nil && (err != nil || !bytes.Equal(got, data)) || c.end != nil && err == nil {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			if !bytes.HasPrefix(data, got) {
				t.Error("other bytes than were written")
			}
		})
	}
	s, err := CreateSnapshot(filepath.Join(t.TempDir(), "s"), size, true)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	var disk *DiskError
	if _, err := s.Write(data[:10]); !errors.As(err, &disk) || !strings.Contains(err.Error(), "Config.StateDir") {
		t.Errorf("a file that cannot be written: %v", err)
	}
}

// TestSnapshotIsSyncedWhileItArrives: the end of a large snapshot must not wait for the disk to take all of it.
func TestSnapshotIsSyncedWhileItArrives(t *testing.T) {
	for _, durable := range []bool{true, false} {
		s, err := CreateSnapshot(filepath.Join(t.TempDir(), "s"), 2*syncBytes, durable)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for range 2 {
			if _, err := s.Write(make([]byte, syncBytes)); err != nil {
				t.Fatal(err)
			}
			s.behind.Wait()
		}
		if durable && s.synced != s.size || !durable && s.synced > 0 {
			t.Errorf("durable %v: %d of %d bytes are synced", durable, s.synced, s.size)
		}
		s.syncErr = io.ErrShortWrite
		if err := s.Finish(nil); durable != errors.Is(err, io.ErrShortWrite) {
			t.Errorf("durable %v: %v, after bytes were lost", durable, err)
		}
	}
}
