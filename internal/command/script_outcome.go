package command

import "slices"

// SameOutcome says whether a script provably writes the same on every server that holds the same keys, whatever its version. Before 5.0,
// servers replicate a script as it was called, and see to it that it does the same there: the elements of SMEMBERS, HKEYS and the like come
// sorted, and random numbers from a fixed seed. Since 5.0 they replicate what a script has written, and do neither (a setting of 5.0 to 6.2
// brings the old way back). Where a script uses anything of that, or may use what it does not write out, SameOutcome returns false.
func SameOutcome(script string) bool {
	tokens, ok := luaTokens(script)
	if !ok {
		return false
	}
	for i, t := range tokens {
		if t.kind != luaName {
			continue
		}
		member := i > 0 && (tokens[i-1].is(".") || tokens[i-1].is(":"))
		switch {
		case slices.Contains(luaVarying, t.text),
			!member && slices.Contains(luaEscapes, t.text),
			!member && t.text == "math" && (i+1 == len(tokens) || !tokens[i+1].is(".")),
			!member && t.text == "redis" && !luaSteady(tokens[i+1:]):
			return false
		}
	}
	return true
}

// luaVarying are names in Lua's libraries whose results differ from server to server, or from call to call.
var luaVarying = []string{"random", "randomseed", "os", "next", "pairs"}

// luaSteady does for the tokens after the name redis what SameOutcome does for a script.
func luaSteady(rest []luaToken) bool {
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
	if !ok || len(args[0]) != 1 || args[0][0].kind != luaString {
		return false
	}
	spec, known := Lookup([][]byte{[]byte(args[0][0].text)})
	return known && !spec.container && !spec.Movable && spec.Class != Script && !slices.Contains(unsteady, spec.Name)
}

// unsteady are commands whose replies, or what they write, are not the same on all servers that hold the same keys.
var unsteady = []string{
	"SMEMBERS", "SINTER", "SUNION", "SDIFF", "HKEYS", "HVALS", "HGETALL", "KEYS", // the order of the elements
	"SPOP", "SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER", "RANDOMKEY", "SCAN", "SSCAN", "HSCAN", "ZSCAN", // chance, or the order
	"SORT", "SORT_RO", "XADD", "TIME", "LASTSAVE", "DUMP", "INFO", // the order, the clock, or what the server is
}
