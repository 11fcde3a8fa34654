package command

import "testing"

func TestSameOutcome(t *testing.T) {
	for _, tt := range []struct {
		script, why string
		same        bool
	}{
		{"return redis.call('INCR', KEYS[1])", "", true},
		{"redis.call('set', KEYS[1], ARGV[1]) return redis.call(\"GET\", KEYS[1])", "", true},
		{"if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end", "a lock", true},
		{"return 1", "", true},
		{"for i, k in ipairs(KEYS) do redis.pcall('DEL', k) end", "", true},
		{"-- smembers, math.random\nreturn redis.call('SADD', KEYS[1], 'smembers random')", "only in a comment and a text", true},
		{"redis.log(redis.LOG_NOTICE, 'x') return redis.call('INCR', KEYS[1])", "", true},
		{"return redis.call('SMEMBERS', KEYS[1])", "sorted before 5.0", false},
		{"local m = redis.call('smembers', KEYS[1]) redis.call('set', KEYS[2], m[1])", "", false},
		{"redis.call('rpush', KEYS[2], unpack(redis.call('hkeys', KEYS[1])))", "", false},
		{"redis.call('set', KEYS[1], math.random(1000))", "another seed, another number", false},
		{"local m = math local r = m.random redis.call('set', KEYS[1], r())", "under another name", false},
		{"redis.call('set', KEYS[1], math['random']())", "the name is a text", false},
		{"redis.call(ARGV[1], KEYS[1])", "which command it is, is not known", false},
		{"local call = redis.call call('smembers', KEYS[1])", "", false},
		{"redis['call']('smembers', KEYS[1])", "", false},
		{"redis.call('spop', KEYS[1])", "chance", false},
		{"redis.call('xadd', KEYS[1], '*', 'f', 'v')", "the clock", false},
		{"redis.call('eval', ARGV[1], 0)", "", false},
		{"redis.call('frobnicate', KEYS[1])", "nobody knows what it does", false},
		{"for k, v in pairs(t) do end", "the order of a table", false},
		{"return loadstring(ARGV[1])()", "", false},
		{"return redis.call('INCR', KEYS[1]", "it does not end", false},
		{"return redis.call()", "", false},
	} {
		if got := SameOutcome(tt.script); got != tt.same {
			t.Errorf("%s (%s): %v", tt.script, tt.why, got)
		}
	}
}
