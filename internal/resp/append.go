package resp

import "strconv"

// AppendCommand appends a command in multibulk form, as clients and replication streams send it.
func AppendCommand[A ~[]byte | ~string](dst []byte, args ...A) []byte {
	dst = AppendHeader(dst, len(args))
	for _, arg := range args {
		dst = AppendArg(dst, arg)
	}
	return dst
}

// AppendHeader appends the beginning of a command with n arguments, its name included. AppendArg appends them, one by one.
func AppendHeader(dst []byte, n int) []byte { return appendCount(dst, '*', n) }

// AppendArg appends one argument of a command.
func AppendArg[A ~[]byte | ~string](dst []byte, arg A) []byte {
	dst = appendCount(dst, '$', len(arg))
	dst = append(dst, arg...)
	return append(dst, '\r', '\n')
}

// CommandSize returns how many bytes AppendCommand appends.
func CommandSize(args [][]byte) int {
	n := CountSize(len(args))
	for _, a := range args {
		n += CountSize(len(a)) + len(a) + 2
	}
	return n
}

// CountSize returns how many bytes the number of arguments takes in a command, or the length of one before its bytes.
func CountSize(n int) int {
	size := 4
	for ; n > 9; n /= 10 {
		size++
	}
	return size
}

// AppendInt appends one argument of a command, a decimal number.
func AppendInt(dst []byte, n int64) []byte {
	var digits [20]byte
	return AppendArg(dst, strconv.AppendInt(digits[:0], n, 10))
}

func appendCount(dst []byte, marker byte, n int) []byte {
	dst = append(dst, marker)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\r', '\n')
}
