package rdb

const errLZF = damaged("LZF data is damaged")

const (
	lzfMaxRatio = 88      // the most bytes that one byte of LZF data can produce: three bytes repeat 264
	lzfLongest  = 264     // the most bytes that one step produces
	lzfReach    = 1 << 13 // the longest distance back that a step can refer to
)

// decompressLZF returns the n bytes that src decompresses to, in dst's memory if that is large enough.
func decompressLZF(dst, src []byte, n uint64) ([]byte, error) {
	if n > uint64(len(src))*lzfMaxRatio {
		return dst, errLZF
	}
	end := int(n)
	if dst = dst[:0]; cap(dst) < end {
		dst = make([]byte, 0, end)
	}
	for i := 0; i < len(src); {
		ctrl := int(src[i])
		i++
		if ctrl < 32 { // ctrl+1 literal bytes
			if i+ctrl+1 > len(src) || len(dst)+ctrl+1 > end {
				return dst, errLZF
			}
			dst = append(dst, src[i:i+ctrl+1]...)
			i += ctrl + 1
			continue
		}
		length := ctrl >> 5
		if length == 7 {
			if i >= len(src) {
				return dst, errLZF
			}
			length += int(src[i])
			i++
		}
		if i >= len(src) {
			return dst, errLZF
		}
		length += 2
		from := len(dst) - (ctrl&0x1f)<<8 - int(src[i]) - 1
		i++
		if from < 0 || len(dst)+length > end {
			return dst, errLZF
		}
		if from+length <= len(dst) {
			dst = append(dst, dst[from:from+length]...)
			continue
		}
		for ; length > 0; length-- { // the copy overlaps itself, which repeats a run
			dst = append(dst, dst[from])
			from++
		}
	}
	if len(dst) != end {
		return dst, errLZF
	}
	return dst, nil
}

// inflate decompresses the next packed bytes of LZF data to n bytes, and passes these on in pieces of at most pieceSize.
func (c *cursor) inflate(packed, n uint64, emit func([]byte) error) error {
	if n > packed*lzfMaxRatio {
		return errLZF
	}
	out := make([]byte, 0, lzfReach+pieceSize)
	done := 0 // bytes of out that were passed on already
	for packed > 0 {
		if len(out)-done+lzfLongest > pieceSize {
			if err := emit(out[done:]); err != nil {
				return err
			}
			done = copy(out, out[max(0, len(out)-lzfReach):])
			out = out[:done]
		}
		took, next, err := c.inflateStep(out, packed, n)
		if err != nil {
			return err
		}
		packed -= took
		n -= uint64(len(next) - len(out))
		out = next
	}
	if n > 0 {
		return errLZF
	}
	return emit(out[done:])
}

// inflateStep appends to out the result of the next step of LZF data, n bytes of it at most. The result took is the length of the
// step's data, left at most.
func (c *cursor) inflateStep(out []byte, left, n uint64) (took uint64, next []byte, err error) {
	ctrl, err := c.byte()
	if err != nil {
		return 0, nil, err
	}
	if ctrl < 32 { // ctrl+1 literal bytes
		size := uint64(ctrl) + 1
		if 1+size > left || size > n {
			return 0, nil, errLZF
		}
		p, err := c.fixed(int(size))
		return 1 + size, append(out, p...), err
	}
	length, more := int(ctrl>>5), 1
	if length == 7 {
		more = 2
	}
	if uint64(1+more) > left {
		return 0, nil, errLZF
	}
	p, err := c.fixed(more)
	if err != nil {
		return 0, nil, err
	}
	if more == 2 {
		length += int(p[0])
	}
	length += 2
	from := len(out) - int(ctrl&0x1f)<<8 - int(p[more-1]) - 1
	if from < 0 || uint64(length) > n {
		return 0, nil, errLZF
	}
	for ; length > 0; length-- { // the copy may overlap itself, which repeats a run
		out = append(out, out[from])
		from++
	}
	return uint64(1 + more), out, nil
}

// beginLZF returns the first n bytes of what src decompresses to, or a few more, in dst's memory if that is large enough. It
// returns fewer where src is damaged.
func beginLZF(dst, src []byte, n int) []byte {
	dst = dst[:0]
	for i := 0; i < len(src) && len(dst) < n; {
		ctrl := int(src[i])
		i++
		if ctrl < 32 {
			end := min(i+ctrl+1, len(src))
			dst = append(dst, src[i:end]...)
			i = end
			continue
		}
		length := ctrl >> 5
		if length == 7 && i < len(src) {
			length += int(src[i])
			i++
		}
		if i >= len(src) {
			return dst
		}
		from := len(dst) - (ctrl&0x1f)<<8 - int(src[i]) - 1
		i++
		if from < 0 {
			return dst
		}
		for length += 2; length > 0; length-- {
			dst = append(dst, dst[from])
			from++
		}
	}
	return dst
}
