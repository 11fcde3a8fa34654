package resp

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"surecut/internal/rdb/fixtures"
)

// The streams of real servers parse to their last byte, and the bytes counted are those
// that the server counted itself.
func TestRecordedStreams(t *testing.T) {
	for _, f := range fixtures.All(t) {
		t.Run(f.Version, func(t *testing.T) {
			var offset int64
			if _, err := fmt.Sscanf(f.Meta.PsyncReply, "FULLRESYNC %40s %d", new(string), &offset); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("master_repl_offset:%d\r\n", offset+int64(f.Meta.StreamBytes))
			if !strings.Contains(f.Meta.InfoReplicate, want) {
				t.Fatalf("the fixture contradicts itself: no %q", want)
			}
			for reads, src := range differentReads(t, string(f.Stream())) {
				got, rest, err := readAll(NewReader(src))
				var sum int64
				for _, c := range got {
					sum += c.n
				}
				if err != nil || sum+rest != int64(f.Meta.StreamBytes) || len(got) < 20 {
					t.Errorf("%s: %d commands, %d + %d of %d bytes, %v", reads, len(got), sum, rest, f.Meta.StreamBytes, err)
				}
			}
			rebuild(t, f.Stream())
		})
	}
}

// rebuild writes the commands again: real servers use the canonical form only.
func rebuild(t *testing.T, stream []byte) {
	var again []byte
	for r := NewReader(bytes.NewReader(stream)); ; {
		args, _, err := r.ReadCommand()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		again = AppendCommand(again, args...)
	}
	if !bytes.Equal(again, stream) {
		t.Error("the commands, written again, are not the stream")
	}
}
