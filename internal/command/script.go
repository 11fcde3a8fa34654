package command

import (
	"slices"
	"strings"
)

// DeclaresKeys says whether a script provably touches no keys but those in KEYS: it uses redis.call and redis.pcall only under
// these names, writes out each command, and takes each key from KEYS. Where anything else is possible (composed names, calls under
// another name, KEYS passed on), it returns false.
func DeclaresKeys(script string) bool {
	tokens, ok := luaTokens(script)
	if !ok {
		return false
	}
	depth := 0 // depth of nested parentheses and braces
	for i, t := range tokens {
		switch t.text {
		case "(", "{":
			if t.kind == luaSymbol {
				depth++
			}
		case ")", "}":
			if t.kind == luaSymbol {
				depth--
			}
		}
		if t.kind != luaName || i > 0 && (tokens[i-1].is(".") || tokens[i-1].is(":")) {
			continue
		}
		switch {
		case slices.Contains(luaEscapes, t.text),
			t.text == "redis" && !luaRedis(tokens[i+1:]),
			t.text == "KEYS" && !luaReadsKey(tokens, i, depth):
			return false
		}
	}
	return true
}

// luaEscapes are names through which a script can call what it does not write out. The name server is Valkey's alias of redis.
var luaEscapes = []string{"load", "loadstring", "dofile", "require", "_G", "_ENV", "getfenv", "setfenv", "getmetatable", "setmetatable", "rawget", "rawset", "server", "debug"}

// luaHarmless are members of redis that touch no key.
var luaHarmless = []string{"log", "sha1hex", "error_reply", "status_reply", "replicate_commands", "LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"}

// luaRedis checks the tokens after the name redis.
func luaRedis(rest []luaToken) bool {
	if len(rest) < 3 || !rest[0].is(".") || rest[1].kind != luaName {
		return false
	}
	if slices.Contains(luaHarmless, rest[1].text) {
		return true
	}
	if rest[1].text != "call" && rest[1].text != "pcall" || !rest[2].is("(") {
		return false
	}
	args, ok := luaArguments(rest[3:])
	return ok && luaDeclared(args)
}

// luaDeclared says whether all keys of a call come from KEYS.
func luaDeclared(args [][]luaToken) bool {
	words := make([][]byte, len(args))
	for i, a := range args {
		words[i] = []byte("?") // neither a number of keys nor a keyword
		if len(a) == 1 && (a[0].kind == luaString || a[0].kind == luaNumber) {
			words[i] = []byte(a[0].text)
		}
	}
	if len(args) == 0 || len(args[0]) != 1 || args[0][0].kind != luaString {
		return false
	}
	spec, known := Lookup(words)
	switch {
	case !known || spec.Movable || spec.Class == Script:
		return false
	case spec.Class == Keyless:
		return slices.Contains([]string{"TIME", "PING", "ECHO", "PUBLISH"}, spec.Name)
	}
	keys, err := spec.Keys(words, nil)
	if err != nil {
		return false
	}
	if last := args[len(args)-1]; last[len(last)-1].is(")") || last[len(last)-1].is("...") { // it may expand to several values
		more, err := spec.Keys(append(slices.Clone(words), []byte("?"), []byte("?")), nil)
		if err != nil || len(more) > len(keys) {
			return false
		}
	}
	for _, k := range keys {
		a := args[k]
		if a[0].kind != luaName || a[0].text != "KEYS" || len(a) < 4 || luaIndexEnd(a[1:]) != len(a)-2 {
			return false
		}
	}
	return true
}

// luaReadsKey says whether the KEYS at token i is only counted, or read at an index. In an assignment to several variables it
// cannot tell values from variables without a grammar, and returns false.
func luaReadsKey(tokens []luaToken, i, depth int) bool {
	if i > 0 && tokens[i-1].is("#") {
		return true
	}
	end := luaIndexEnd(tokens[i+1:])
	if end < 0 {
		return false
	}
	next := i + 1 + end + 1
	if next == len(tokens) {
		return true
	}
	switch {
	case tokens[next].is("="), tokens[next].is("["), tokens[next].is("."), tokens[next].is(":"), tokens[next].is("("):
		return false
	case tokens[next].is(",") && depth == 0:
		return i > 0 && tokens[i-1].is("=")
	}
	return true
}

// luaIndexEnd returns the index of the bracket that closes the one at the beginning of the tokens, or -1 where there is none.
func luaIndexEnd(tokens []luaToken) int {
	if len(tokens) == 0 || !tokens[0].is("[") {
		return -1
	}
	depth := 0
	for i, t := range tokens {
		switch {
		case t.is("["):
			depth++
		case t.is("]"):
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// luaArguments splits the tokens after an opening parenthesis into arguments, up to the closing parenthesis.
func luaArguments(tokens []luaToken) (args [][]luaToken, ok bool) {
	depth, from := 0, 0
	for i, t := range tokens {
		switch {
		case t.is("("), t.is("["), t.is("{"):
			depth++
		case depth == 0 && (t.is(",") || t.is(")")):
			if i == from {
				return nil, false
			}
			args = append(args, tokens[from:i])
			if from = i + 1; t.is(")") {
				return args, true
			}
		case t.is(")"), t.is("]"), t.is("}"):
			depth--
		}
	}
	return nil, false
}

// luaToken is a token of a script.
type luaToken struct {
	kind luaKind
	text string // of a string: the text between the quotes, with its escapes unchanged
}

type luaKind uint8

const (
	luaName luaKind = iota
	luaNumber
	luaString
	luaSymbol
)

func (t luaToken) is(symbol string) bool { return t.kind == luaSymbol && t.text == symbol }

// luaTokens splits a script of Lua 5.1 into tokens. It returns false where a string or comment does not end.
func luaTokens(s string) (tokens []luaToken, ok bool) {
	for len(s) > 0 {
		c := s[0]
		n := 1
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
		case strings.HasPrefix(s, "--"):
			if n = luaComment(s); n < 0 {
				return nil, false
			}
		case c == '"' || c == '\'':
			if n = luaQuoted(s); n < 0 {
				return nil, false
			}
			tokens = append(tokens, luaToken{luaString, s[1 : n-1]})
		case luaLevel(s) >= 0:
			from := luaLevel(s) + 2
			if n = luaLong(s); n < 0 {
				return nil, false
			}
			tokens = append(tokens, luaToken{luaString, s[from : n-from]})
		case isLetter(c):
			n = luaRun(s, func(c byte) bool { return isLetter(c) || isDigit(c) })
			tokens = append(tokens, luaToken{luaName, s[:n]})
		case isDigit(c):
			n = luaRun(s, func(c byte) bool { return isLetter(c) || isDigit(c) || c == '.' })
			tokens = append(tokens, luaToken{luaNumber, s[:n]})
		default:
			for _, long := range []string{"...", "..", "==", "~=", "<=", ">="} {
				if strings.HasPrefix(s, long) {
					n = len(long)
					break
				}
			}
			tokens = append(tokens, luaToken{luaSymbol, s[:n]})
		}
		s = s[n:]
	}
	return tokens, true
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

func luaRun(s string, part func(byte) bool) int {
	n := 1
	for n < len(s) && part(s[n]) {
		n++
	}
	return n
}

// luaComment returns the length of the comment at the beginning of s, or -1 where it does not end.
func luaComment(s string) int {
	if rest := s[2:]; luaLevel(rest) >= 0 {
		if n := luaLong(rest); n >= 0 {
			return 2 + n
		}
		return -1
	}
	if n := strings.IndexByte(s, '\n'); n >= 0 {
		return n + 1
	}
	return len(s)
}

// luaQuoted returns the length of the quoted string at the beginning of s with its quotes, or -1 where it does not end.
func luaQuoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i + 1
		}
	}
	return -1
}

// luaLevel returns the number of = in the long bracket at the beginning of s, as in [==[, or -1 where there is no long bracket.
func luaLevel(s string) int {
	if len(s) == 0 || s[0] != '[' {
		return -1
	}
	n := 1
	for n < len(s) && s[n] == '=' {
		n++
	}
	if n < len(s) && s[n] == '[' {
		return n - 1
	}
	return -1
}

// luaLong returns the length of a string in long brackets, or -1 where it does not end.
func luaLong(s string) int {
	level := luaLevel(s)
	end := strings.Index(s[level+2:], "]"+strings.Repeat("=", level)+"]")
	if end < 0 {
		return -1
	}
	return level + 2 + end + level + 2
}
