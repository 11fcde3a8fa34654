package compat

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"surecut/internal/profile"
)

// luaLanguage describes the strings and comments of Lua.
var luaLanguage = &language{Name: "Lua", Comments: []string{"dashes"}, Strings: []string{`"`, "'"}}

var (
	luaCall    = regexp.MustCompile(`\bredis\.p?call\s*(\()`)
	luaKeys    = regexp.MustCompile(`\bKEYS\b`)
	luaLocal   = regexp.MustCompile(`\b(?:local\s+)?(\w+)\s*=\s*([^\n]*)`)
	luaForKeys = regexp.MustCompile(`\bfor\s+\w+\s*,\s*(\w+)\s+in\s+i?pairs\s*\(\s*KEYS\b`)
)

// scripts finds Lua code in strings.
func (f *codeFile) scripts() {
	if !strings.Contains(f.text, "redis.call") && !strings.Contains(f.text, "redis.pcall") {
		return
	}
	for i := 0; i < len(f.text); {
		quote := f.lang.quoteAt(f.text[i:])
		if quote == "" || f.code[i] != f.text[i] {
			i++
			continue
		}
		end := stringEnd(f.text, i+len(quote), quote)
		if script := f.text[i+len(quote) : end]; strings.Contains(script, "redis.call") || strings.Contains(script, "redis.pcall") {
			f.c.lua(script, f.name, f.line(i)-1)
		}
		i = end + len(quote)
	}
}

// lua checks each call in a script: its keys must come from KEYS.
func (c *codeScan) lua(text, file string, lineBefore int) {
	s := lex(text, luaLanguage)
	declared := map[string]bool{}
	for _, m := range luaForKeys.FindAllStringSubmatch(s.code, -1) {
		declared[m[1]] = true
	}
	for _, m := range luaLocal.FindAllStringSubmatch(s.code, -1) {
		if luaKeys.MatchString(m[2]) && !strings.Contains(m[2], "..") && !strings.Contains(m[2], "redis.") {
			declared[m[1]] = true
		}
	}
	for _, m := range luaCall.FindAllStringSubmatchIndex(s.code, -1) {
		args, _ := s.arguments(m[2])
		c.e.Calls++
		if key, stray := strayKey(args, declared); stray {
			o := c.t.observe(c.e, profile.UndeclaredKey, "EVAL", "EVAL", time.Time{}, "")
			if o == nil {
				continue
			}
			o.affected++
			o.templates.add(template(key))
			o.clients.add(fmt.Sprintf("%s:%d", file, s.line(m[0])+lineBefore))
		}
	}
}

// strayKey returns a key that does not come from KEYS, but is a constant, is composed, or comes from ARGV. A variable may hold any
// key, and is accepted.
func strayKey(args []string, declared map[string]bool) (string, bool) {
	if len(args) < 2 {
		return "", false
	}
	name, ok := luaLanguage.keyOf(args[0])
	if !ok {
		return "", false
	}
	var words [][]byte
	words = append(words, []byte(name))
	for _, a := range args[1:] {
		word, ok := luaLanguage.keyOf(a)
		if !ok {
			word = "1" // stands for any value, including a number of keys
		}
		words = append(words, []byte(word))
	}
	spec, known := NewTally(Config{Profile: profile.All()[0]}).lookup(words)
	if !known {
		return "", false
	}
	at, err := spec.Keys(words, nil)
	if err != nil {
		return "", false
	}
	for _, i := range at {
		if i >= len(args) {
			continue
		}
		arg := strings.TrimSpace(args[i])
		if luaKeys.MatchString(arg) && !strings.Contains(arg, "..") || declared[arg] || arg == "unpack(KEYS)" {
			continue
		}
		if key, written := luaLanguage.keyOf(arg); written {
			return key, true
		}
		if strings.HasPrefix(arg, "ARGV") {
			return "*", true
		}
	}
	return "", false
}
