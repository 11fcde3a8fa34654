package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzReadCommand: no input panics; the sizes add up; how reads cut the input changes
// nothing; what was read, written again, reads the same.
func FuzzReadCommand(f *testing.F) {
	for _, seed := range []string{
		"*1\r\n$4\r\nPING\r\n", "\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n\n", "PING\r\n", "set \"\\x41\" 'b'\n",
		"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n", "#TS:1\r\n*0\r\n", "*1\r\n$536870912\r\n", "*-1\r\n-ERR\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		type read struct {
			words [][]byte
			n     int64
		}
		readAll := func(src io.Reader) (cmds []read, sum int64, err error) {
			r := NewReader(src)
			for {
				args, n, err := r.ReadCommand()
				sum += n
				if err != nil {
					return cmds, sum, err
				}
				c := read{n: n}
				for _, arg := range args {
					c.words = append(c.words, bytes.Clone(arg))
				}
				cmds = append(cmds, c)
			}
		}
		whole, sum, err := readAll(bytes.NewReader(stream))
		bytewise, _, errBytewise := readAll(iotest.OneByteReader(bytes.NewReader(stream)))
		if fmt.Sprint(whole) != fmt.Sprint(bytewise) || (err == io.EOF) != (errBytewise == io.EOF) {
			t.Fatalf("whole: %v %v; byte by byte: %v %v", whole, err, bytewise, errBytewise)
		}
		var broken, brokenBytewise *ProtocolError
		if errors.As(err, &broken) && errors.As(errBytewise, &brokenBytewise) && broken.Offset != brokenBytewise.Offset {
			t.Fatalf("breaks at %d, byte by byte at %d", broken.Offset, brokenBytewise.Offset)
		}
		if err == io.EOF && sum != int64(len(stream)) {
			t.Fatalf("sizes add up to %d of %d", sum, len(stream))
		}
		var again []byte
		for _, c := range whole {
			again = AppendCommand(again, c.words...)
		}
		reread, sum, err := readAll(bytes.NewReader(again))
		if err != io.EOF || sum != int64(len(again)) || len(reread) != len(whole) {
			t.Fatalf("round trip: %v, %d of %d bytes", err, sum, len(again))
		}
		for i := range whole {
			if fmt.Sprint(reread[i].words) != fmt.Sprint(whole[i].words) {
				t.Fatalf("round trip: %q became %q", whole[i].words, reread[i].words)
			}
		}
	})
}
