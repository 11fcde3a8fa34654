package psync

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// heard is what a source sends, without anybody behind it: what is written to it is dropped.
type heard struct {
	net.Conn
	from io.Reader
}

func (h heard) Read(p []byte) (int, error)       { return h.from.Read(p) }
func (h heard) Write(p []byte) (int, error)      { return len(p), nil }
func (h heard) Close() error                     { return nil }
func (h heard) SetReadDeadline(time.Time) error  { return nil }
func (h heard) SetWriteDeadline(time.Time) error { return nil }

// bites gives at most n bytes a read.
type bites struct {
	from io.Reader
	n    int
}

func (b bites) Read(p []byte) (int, error) { return b.from.Read(p[:min(len(p), b.n)]) }

// outcome is all that a caller sees of a session.
type outcome struct {
	started, copied, streamed bool
	full, legacy              bool
	id                        string
	offset                    int64
	snapshot, stream          string
}

func listenTo(from io.Reader, replID string) (o outcome) {
	s, err := Start(context.Background(), heard{from: from}, Config{ReplID: replID, Offset: 7})
	if err != nil {
		return o
	}
	defer s.Close()
	o.started, o.full, o.legacy, o.id, o.offset = true, s.Full, s.Legacy, s.ReplID, s.Offset
	if s.Full {
		var snapshot bytes.Buffer
		n, err := s.CopySnapshot(context.Background(), &snapshot, nil)
		if o.copied = err == nil && n == int64(snapshot.Len()); !o.copied {
			return o
		}
		o.snapshot = snapshot.String()
	}
	stream, err := io.ReadAll(s)
	o.streamed, o.stream = err == nil, string(stream)
	return o
}

// FuzzSession: nothing that a source sends makes a session panic, and how reads cut it changes nothing. What is delivered was sent,
// in its order and at the end of it.
func FuzzSession(f *testing.F) {
	hello := "+PONG\r\n+OK\r\n+OK\r\n-ERR Unrecognized REPLCONF option: version\r\n"
	full := "+FULLRESYNC " + id + " 100\r\n"
	for _, rest := range []string{
		full + "$5\r\nREDIS" + stream, full + "\n\n$EOF:" + mark + "\r\nREDIS" + mark[:20] + mark + stream, "+CONTINUE\r\n" + stream, "+CONTINUE " + id + "\r\n\n",
		"-ERR unknown command\r\n\n$0\r\n" + stream, full + "-ERR BGSAVE failed\r\n", "-NOMASTERLINK no\r\n", full + "$-1\r\n", full + "$EOF:short\r\n", "\r\n",
	} {
		f.Add([]byte(hello+rest), 1, rest[1] == 'C')
	}
	f.Fuzz(func(t *testing.T, sent []byte, cut int, known bool) {
		replID := ""
		if known {
			replID = strings.Repeat("e", 40)
		}
		whole := listenTo(bytes.NewReader(sent), replID)
		if pieces := listenTo(bites{bytes.NewReader(sent), 1 + (cut&0x7fff)%70}, replID); fmt.Sprint(whole) != fmt.Sprint(pieces) {
			t.Fatalf("whole: %+v\nin pieces: %+v", whole, pieces)
		}
		if !whole.streamed {
			return
		}
		before, ok := bytes.CutSuffix(sent, []byte(whole.stream))
		if !ok || !bytes.Contains(before, []byte(whole.snapshot)) {
			t.Fatalf("what was delivered was not sent: %+v", whole)
		}
	})
}
