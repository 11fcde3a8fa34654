package command

// elements says how the elements of a command stand among its arguments: behind so many arguments, in units of step. Such a command does with
// each element what it does without the others, and in the same order.
type elements struct{ behind, step int }

var elementsOf = map[string]elements{
	"RPUSH": {2, 1}, "LPUSH": {2, 1}, "RPUSHX": {2, 1}, "LPUSHX": {2, 1},
	"SADD": {2, 1}, "SREM": {2, 1}, "HDEL": {2, 1}, "ZREM": {2, 1}, "XDEL": {2, 1}, "PFADD": {2, 1}, "PFMERGE": {2, 1},
	"XACK": {3, 1}, "HSET": {2, 2}, "HMSET": {2, 2}, "ZADD": {2, 2}, "GEOADD": {2, 3},
	"DEL": {1, 1}, "UNLINK": {1, 1}, "TOUCH": {1, 1}, "MSET": {1, 2},
}

// Pieces cuts a command of more than most arguments, its name included, into commands that have the same effect if they run one behind the
// other, as in a transaction. It returns nil for a command that cannot be cut. The pieces share the bytes of args.
func Pieces(args [][]byte, most int) (pieces [][][]byte) {
	s, known := Lookup(args)
	if !known {
		return nil
	}
	e, cut := elementsOf[s.Name]
	for cut && (s.Name == "ZADD" || s.Name == "GEOADD") && e.behind < len(args) && isAddFlag(args[e.behind]) {
		e.behind++
	}
	if !cut || len(args) < e.behind+e.step || (len(args)-e.behind)%e.step != 0 || most < e.behind+e.step {
		return nil
	}
	head, rest := args[:e.behind:e.behind], args[e.behind:]
	fit := (most - e.behind) / e.step * e.step
	for len(rest) > 0 {
		n := min(fit, len(rest))
		pieces = append(pieces, append(head, rest[:n]...))
		rest = rest[n:]
	}
	return pieces
}

// isAddFlag says whether an argument of ZADD or GEOADD is a flag that holds for each element. INCR allows one element only.
func isAddFlag(p []byte) bool {
	for _, flag := range [...]string{"NX", "XX", "GT", "LT", "CH"} {
		if isWord(p, flag) {
			return true
		}
	}
	return false
}
