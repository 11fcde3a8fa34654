package command

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// keyRule is a key specification as COMMAND describes it since Redis 7.0: where the search begins, and how keys are found from
// there. Or it is a rule with a name, which is written by hand.
//
// As text: "1" is the key at index 1; "1/r-1,2,0" is a range from index 1 to the last argument in steps of 2; "1/n0,1,1" reads a
// count at index 1 and takes that many keys, beginning at the next index; "STREAMS>4/r-1,1,2" begins after the first word STREAMS
// at or after index 4; "@sort" is a rule with a name.
type keyRule struct {
	index   int    // where the search for keys begins, or where the search for the keyword does
	keyword string // "": the search begins at index
	count   bool   // an argument tells the number of keys; otherwise they are a range

	last, step, limit int // range: last counts from begin, negative from the end (-1: last argument); limit n > 1: only the first 1/n
	countAt, firstAt  int // count: both relative to the beginning

	special func(s *Spec, args [][]byte, dst []int) ([]int, error)
}

func parseRule(text string) (keyRule, error) {
	if name, ok := strings.CutPrefix(text, "@"); ok {
		f := specialRules[name]
		if f == nil {
			return keyRule{}, fmt.Errorf("unknown rule")
		}
		return keyRule{special: f}, nil
	}
	begin, find, hasFind := strings.Cut(text, "/")
	r := keyRule{step: 1}
	if word, from, ok := strings.Cut(begin, ">"); ok {
		r.keyword, begin = word, from
	}
	var err error
	if r.index, err = strconv.Atoi(begin); err != nil || r.index < 1 {
		return keyRule{}, fmt.Errorf("begin %q is no index", begin)
	}
	if !hasFind {
		return r, nil
	}
	if len(find) == 0 || find[0] != 'r' && find[0] != 'n' {
		return keyRule{}, fmt.Errorf("unknown way to find keys")
	}
	parts := strings.Split(find[1:], ",")
	if len(parts) != 3 {
		return keyRule{}, fmt.Errorf("%d numbers, want 3", len(parts))
	}
	var n [3]int
	for i, p := range parts {
		if n[i], err = strconv.Atoi(p); err != nil {
			return keyRule{}, err
		}
	}
	if find[0] == 'r' {
		r.last, r.step, r.limit = n[0], n[1], n[2]
	} else {
		r.count, r.countAt, r.firstAt, r.step = true, n[0], n[1], n[2]
	}
	if r.step < 1 {
		return keyRule{}, fmt.Errorf("step %d", r.step)
	}
	return r, nil
}

// Keys appends to dst the indexes in args of every key that the command names, in the order of its rules. It does not return the
// undeclared keys of a script, nor the keys that SORT BY and GET read. Arguments that fit no form of the command are
// an error, and dst is returned as it was.
func (s *Spec) Keys(args [][]byte, dst []int) ([]int, error) {
	if s.container && len(args) > 1 {
		return dst, s.malformed(args, "unknown subcommand")
	}
	if s.Arity >= 0 && len(args) != s.Arity || len(args) < -s.Arity {
		return dst, s.malformed(args, "wrong number of arguments")
	}
	had := len(dst)
	out := dst
	var err error
	for i := range s.rules {
		if out, err = s.rules[i].find(s, args, out); err != nil {
			return dst[:had], err
		}
	}
	if len(out) == had && len(s.rules) > 0 && s.Class != Script {
		return dst[:had], s.malformed(args, "there is no key")
	}
	return out, nil
}

// MalformedError says that arguments fit no form of their command. It never contains the arguments.
type MalformedError struct {
	Command string
	Args    int
	Why     string
}

func (e *MalformedError) Error() string {
	return fmt.Sprintf("%s with %d arguments: %s", e.Command, e.Args-1, e.Why)
}

func (s *Spec) malformed(args [][]byte, why string) error {
	return &MalformedError{Command: s.Name, Args: len(args), Why: why}
}

func (r *keyRule) find(s *Spec, args [][]byte, dst []int) ([]int, error) {
	if r.special != nil {
		return r.special(s, args, dst)
	}
	begin := r.index
	if r.keyword != "" {
		for begin < len(args) && !isWord(args[begin], r.keyword) {
			begin++
		}
		if begin++; begin >= len(args) {
			if begin == len(args) {
				return dst, s.malformed(args, "nothing follows "+r.keyword)
			}
			return dst, nil // the keyword is optional; Keys makes sure that there is some key
		}
	}
	if r.count {
		return r.counted(s, args, begin, dst)
	}
	if begin == len(args) && begin == -s.Arity {
		return dst, nil // the rest is optional, as the sources of PFMERGE
	}
	if begin >= len(args) {
		return dst, s.malformed(args, "the key is missing")
	}
	last := begin + r.last
	if r.last < 0 {
		last = len(args) + r.last
		if rest := last - begin + 1; r.limit > 1 && rest > 0 {
			if rest%r.limit != 0 {
				return dst, s.malformed(args, "keys and their arguments do not pair up")
			}
			last = begin + rest/r.limit - 1
		}
	}
	if last >= len(args) || last < begin || r.last == -1 && (len(args)-begin)%r.step != 0 {
		return dst, s.malformed(args, "keys and their arguments do not pair up")
	}
	for i := begin; i <= last; i += r.step {
		dst = append(dst, i)
	}
	return dst, nil
}

func (r *keyRule) counted(s *Spec, args [][]byte, begin int, dst []int) ([]int, error) {
	at, first := begin+r.countAt, begin+r.firstAt
	if at >= len(args) {
		return dst, s.malformed(args, "the number of keys is missing")
	}
	n, ok := parseInt(args[at])
	if !ok || n < 0 || n == 0 && s.Class != Script {
		return dst, s.malformed(args, "the number of keys is not a positive number")
	}
	if n > int64(len(args)) || int64(first)+n*int64(r.step) > int64(len(args)) {
		return dst, s.malformed(args, "there are fewer keys than their number says")
	}
	for i := range int(n) {
		dst = append(dst, first+i*r.step)
	}
	return dst, nil
}

var specialRules = map[string]func(s *Spec, args [][]byte, dst []int) ([]int, error){
	"sort":    sortKeys,
	"migrate": migrateKeys,
	"store":   storeKeys,
}

// sortKeys finds the keys of SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC|DESC] [ALPHA] [STORE key]. The
// options come in any order, and the last STORE counts.
func sortKeys(s *Spec, args [][]byte, dst []int) ([]int, error) {
	store := 0
	for i := 2; i < len(args); i++ {
		a := args[i]
		switch {
		case isWord(a, "ASC"), isWord(a, "DESC"), isWord(a, "ALPHA"):
		case isWord(a, "LIMIT"):
			i += 2
		case isWord(a, "BY"), isWord(a, "GET"):
			i++
		case isWord(a, "STORE"):
			i++
			store = i
		default:
			return dst, s.malformed(args, "unknown option")
		}
		if i >= len(args) {
			return dst, s.malformed(args, "an option lacks its argument")
		}
	}
	dst = append(dst, 1)
	if store > 0 {
		dst = append(dst, store)
	}
	return dst, nil
}

// migrateKeys finds the keys of MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH p | AUTH2 user p] [KEYS key ...].
func migrateKeys(s *Spec, args [][]byte, dst []int) ([]int, error) {
	for i := 6; i < len(args); i++ {
		switch {
		case isWord(args[i], "AUTH"):
			i++
		case isWord(args[i], "AUTH2"):
			i += 2
		case isWord(args[i], "KEYS"):
			if len(args[3]) != 0 || i+1 == len(args) {
				return dst, s.malformed(args, "KEYS needs an empty key argument and at least one key")
			}
			for k := i + 1; k < len(args); k++ {
				dst = append(dst, k)
			}
			return dst, nil
		}
	}
	return append(dst, 3), nil
}

// SortsByKeys says whether a SORT reads other keys than those it names: by GET, or by BY, whose argument is a pattern if it
// contains a *.
func SortsByKeys(args [][]byte) bool {
	for i := 2; i+1 < len(args); i++ {
		switch a := args[i]; {
		case isWord(a, "LIMIT"):
			i += 2
		case isWord(a, "STORE"):
			i++
		case isWord(a, "BY"), isWord(a, "GET"):
			if i++; isWord(a, "BY") && bytes.ContainsRune(args[i], '*') || isWord(a, "GET") && string(args[i]) != "#" {
				return true
			}
		}
	}
	return false
}

// storeKeys finds the destination of GEORADIUS and GEORADIUSBYMEMBER: the key of the last STORE or STOREDIST among the options.
func storeKeys(s *Spec, args [][]byte, dst []int) ([]int, error) {
	store := 0
	for i := -s.Arity; i < len(args); i++ {
		if isWord(args[i], "STORE") || isWord(args[i], "STOREDIST") {
			if i++; i == len(args) {
				return dst, s.malformed(args, "an option lacks its argument")
			}
			store = i
		}
	}
	if store > 0 {
		dst = append(dst, store)
	}
	return dst, nil
}

// isWord compares p with a word in upper case ASCII, ignoring the case of p.
func isWord(p []byte, word string) bool {
	if len(p) != len(word) {
		return false
	}
	for i, c := range p {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// parseInt reads a decimal number as servers do (no "+", no spaces), without allocating.
func parseInt(p []byte) (int64, bool) {
	if len(p) == 0 || len(p) > 20 || p[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(p), 10, 64)
	return n, err == nil
}
