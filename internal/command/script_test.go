package command

import "testing"

func TestDeclaresKeys(t *testing.T) {
	for _, tt := range []struct {
		name, why, script string
		want              bool
	}{
		{"written out", "", "redis.call('SET', KEYS[2], ARGV[1]) return redis.call('INCRBY', KEYS[1], ARGV[1])", true},
		{"by loop", "whatever the index is, it is a declared key", "for i = 1, #KEYS do redis.call(\"del\", KEYS[i]) end", true},
		{"pcall and an expression", "", "local v = redis.pcall('get', KEYS[#KEYS - 1]) if v == false then return redis.error_reply('gone') end return v", true},
		{"no key", "", "return redis.call('TIME')[1]", true},
		{"nothing", "", "return 1", true},
		{"comments and long strings", "they are no code", "--[[ redis.call('GET', 'x') ]] -- redis.call('GET', 'y')\nlocal s = [==[ redis.call('GET', 'z') ]==] return s", true},
		{"two values", "", "local a = KEYS[1] local b, c = KEYS[2], 1 return redis.call('GET', KEYS[1])", true},
		{"table of keys", "what is made of it cannot be a key", "return {KEYS[1], KEYS[2], redis.call('EXISTS', KEYS[1])}", true},
		{"compared", "", "if KEYS[1] == ARGV[1] then return 0 end", true},

		{"written key", "nobody declared it", "return redis.call('GET', 'counter')", false},
		{"key of ARGV", "", "return redis.call('GET', ARGV[1])", false},
		{"put together", "", "return redis.call('GET', KEYS[1] .. ':x')", false},
		{"put together before", "", "return redis.call('GET', 'x' .. KEYS[1])", false},
		{"variable", "it may hold anything", "local k = KEYS[1] return redis.call('GET', k)", false},
		{"unpacked", "", "return redis.call('DEL', unpack(KEYS))", false},
		{"unpacked values", "only the first argument is a key", "redis.call('RPUSH', KEYS[1], unpack(ARGV))", true},
		{"several values at the end", "MSET may get further keys", "return redis.call('MSET', KEYS[1], f())", false},
		{"varargs", "", "return redis.call('MSET', KEYS[1], ...)", false},
		{"another name", "", "local call = redis.call return call('GET', 'x')", false},
		{"another name of redis", "", "local r = redis return r.call('GET', 'x')", false},
		{"by index", "", "return redis['call']('GET', 'x')", false},
		{"without parentheses", "", "return redis.call'RANDOMKEY'", false},
		{"unknown command", "its keys are not known", "return redis.call('NOSUCH', KEYS[1])", false},
		{"command that is computed", "", "return redis.call(ARGV[1], KEYS[1])", false},
		{"movable keys", "STORE may be an argument", "return redis.call('SORT', KEYS[1], ARGV[1], ARGV[2])", false},
		{"counted keys", "the number may be any", "return redis.call('ZUNIONSTORE', KEYS[1], ARGV[1], KEYS[2])", false},
		{"another database", "", "redis.call('SELECT', 3) return redis.call('GET', KEYS[1])", false},
		{"all keys", "", "return redis.call('FLUSHALL')", false},
		{"no arguments", "", "return redis.call()", false},
		{"KEYS changed", "", "KEYS[1] = 'x' return redis.call('GET', KEYS[1])", false},
		{"KEYS changed among others", "", "a, KEYS[1], b = 1, 'x', 2 return redis.call('GET', KEYS[1])", false},
		{"KEYS changed first", "", "KEYS[1], b = 'x', 2 return redis.call('GET', KEYS[1])", false},
		{"KEYS replaced", "", "local KEYS = {'x'} return redis.call('GET', KEYS[1])", false},
		{"KEYS given away", "", "table.insert(KEYS, 'x') return redis.call('GET', KEYS[2])", false},
		{"KEYS as a parameter", "", "local function f(KEYS) return redis.call('GET', KEYS[1]) end return f({'x'})", false},
		{"loaded", "", "return loadstring(ARGV[1])()", false},
		{"globals", "", "return _G['redis']['call']('GET', 'x')", false},
		{"Valkey's name", "", "return server.call('GET', 'x')", false},
		{"script in a script", "", "return redis.call('EVAL', ARGV[1], 1, KEYS[1])", false},
		{"string that does not end", "", "return 'x", false},
		{"call that does not end", "", "return redis.call('GET', KEYS[1]", false},
		{"redis at the end", "", "return redis", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := DeclaresKeys(tt.script); got != tt.want {
				t.Errorf("%v, want %v: %s\n%s", got, tt.want, tt.script, tt.why)
			}
		})
	}
}

// FuzzDeclaresKeys: no script panics.
func FuzzDeclaresKeys(f *testing.F) {
	f.Add("redis.call('SET', KEYS[2], ARGV[1]) --[==[ x ]==] return [[x]] .. \"\\\"\"")
	f.Fuzz(func(_ *testing.T, script string) { DeclaresKeys(script) })
}
