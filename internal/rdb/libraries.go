package rdb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Libraries returns the code of each function library in a payload of FUNCTION DUMP, which is the part of an RDB that holds them. Its error
// is a *FormatError if the payload is none.
func Libraries(payload []byte) (codes []string, err error) {
	const trailer = 2 + 8 // the RDB version and a checksum
	if len(payload) < trailer {
		return nil, explain(damagedf("a payload of %d bytes is too short for function libraries", len(payload)), 0, nil)
	}
	whole := slices.Concat([]byte("REDIS0010"), payload[:len(payload)-trailer], []byte{opEOF}, make([]byte, 8)) // 8 zeros: no checksum
	for r := NewReader(bytes.NewReader(whole), Options{}); ; {
		e, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return codes, nil
		case err != nil:
			return nil, fmt.Errorf("function libraries: %w", err)
		case e.Kind != KindFunction:
			return nil, explain(damagedf("a payload of function libraries holds something else"), 0, nil)
		}
		codes = append(codes, string(e.Value))
	}
}
