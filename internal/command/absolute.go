package command

// absoluteRules hold the commands of which some calls only assign constants to a key, to elements of it, or to its expiry.
//
// HDEL, SREM and ZREM are not among them: with the last element goes the key and its expiry, and which element is the last one depends on
// what else is there.
var absoluteRules = map[string]func(args [][]byte) bool{
	"SET":       absoluteSet,
	"MSET":      always,
	"DEL":       always,
	"UNLINK":    always,
	"HSET":      always,
	"HMSET":     always,
	"SADD":      always,
	"ZADD":      absoluteZAdd,
	"SETRANGE":  always,
	"SETBIT":    always,
	"PEXPIREAT": withoutOptions(3),
	"EXPIREAT":  withoutOptions(3),
	"PERSIST":   withoutOptions(2),
	"RESTORE":   absoluteRestore,
}

// Absolute says whether a call of s may be applied again, together with every later call for its keys up to where it had come, without a
// change of the outcome. A sequence of calls that are all absolute ends in the same state, whatever part of it was applied before, as long
// as all of it is applied in the end, in order. It is no matter whether a call found its key: PEXPIREAT and PERSIST are in a stream only if
// the source had the key.
//
// A key that expires in between is the caller's business.
func (s *Spec) Absolute(args [][]byte) bool { return s.absolute != nil && s.absolute(args) }

func always([][]byte) bool { return true }

func withoutOptions(n int) func([][]byte) bool {
	return func(args [][]byte) bool { return len(args) == n }
}

// absoluteSet accepts SET key value [KEEPTTL | PXAT ms | EXAT s].
func absoluteSet(args [][]byte) bool {
	switch len(args) {
	case 3:
		return true
	case 4:
		return isWord(args[3], "KEEPTTL")
	case 5:
		return isWord(args[3], absoluteMillis) || isWord(args[3], absoluteSeconds)
	}
	return false
}

// absoluteZAdd accepts ZADD key score member ...: with options it compares or adds.
func absoluteZAdd(args [][]byte) bool {
	if len(args) < 4 {
		return false
	}
	for _, option := range [...]string{"NX", "XX", "GT", "LT", "CH", "INCR"} {
		if isWord(args[2], option) {
			return false
		}
	}
	return true
}

// absoluteRestore accepts RESTORE with REPLACE whose expiry is none or absolute.
func absoluteRestore(args [][]byte) bool {
	if len(args) < 5 {
		return false
	}
	replaces, fixed := false, len(args[2]) == 1 && args[2][0] == '0'
	for _, a := range args[4:] {
		replaces = replaces || isWord(a, "REPLACE")
		fixed = fixed || isWord(a, "ABSTTL")
	}
	return replaces && fixed
}
