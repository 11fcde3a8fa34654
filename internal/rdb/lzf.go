package rdb

const errLZF = damaged("LZF data is damaged")

// lzfMaxRatio is the most bytes that one byte of LZF data can stand for: three bytes repeat 264.
const lzfMaxRatio = 88

// decompressLZF gives the n bytes that src stands for, in dst's memory if that is large enough.
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
		for ; length > 0; length-- { // the copy overlaps itself: a run
			dst = append(dst, dst[from])
			from++
		}
	}
	if len(dst) != end {
		return dst, errLZF
	}
	return dst, nil
}

// beginLZF gives the first n bytes or a few more of what src stands for, in dst's memory if that is large enough; less where src is damaged.
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
