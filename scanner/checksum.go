package scanner

import (
	"context"
	"errors"
	"io"

	"surecut/internal/rdb"
)

// checksum computes the CRC64 of a file while it is parsed, because that takes as long as everything else. It covers all but the
// last eight bytes, where an RDB that ends with the file has its own checksum.
type checksum struct {
	file io.ReaderAt
	to   int64
	sum  uint64
	err  error
	done chan struct{}
}

const (
	sumPiece     = 1 << 20
	checksumSize = 8
)

func startChecksum(ctx context.Context, file io.ReaderAt, size int64) *checksum {
	c := &checksum{file: file, to: max(size-checksumSize, 0), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.sum, c.err = sumOf(ctx, file, c.to)
	}()
	return c
}

// verify waits for the sum, and compares it with the checksum of the RDB, which must have been read to its end.
func (c *checksum) verify(ctx context.Context, r *rdb.Reader) error {
	<-c.done
	to := r.Summed()
	if to > 0 && to != c.to { // other data follows the RDB
		c.sum, c.err = sumOf(ctx, c.file, to)
	}
	switch {
	case to == 0:
		return nil
	case c.err != nil:
		return c.err
	}
	return r.Verify(c.sum)
}

// sumOf returns the CRC64 of the first bytes of a file.
func sumOf(ctx context.Context, file io.ReaderAt, to int64) (sum uint64, err error) {
	buf := make([]byte, sumPiece)
	for at := int64(0); at < to && err == nil; {
		n, readErr := file.ReadAt(buf[:min(sumPiece, to-at)], at)
		sum = rdb.CRC64(sum, buf[:n])
		at += int64(n)
		if err = ctx.Err(); readErr != nil && (!errors.Is(readErr, io.EOF) || at < to) {
			err = errors.Join(err, readErr)
		}
	}
	return sum, err
}
