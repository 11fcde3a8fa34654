package command

import "strconv"

// script returns an EVAL of a fixed text, which servers since 2.6 accept, or Copied where the server has no EVAL. The texts read
// before they write and use no random command, so that every version replicates them.
func (d *Dialect) script(dst [][][]byte, text string, keys [][]byte, args ...[]byte) ([][][]byte, Outcome) {
	if !d.Knows("EVAL") {
		return dst, Copied
	}
	cmd := append([][]byte{word("EVAL"), word(text), word(strconv.Itoa(len(keys)))}, keys...)
	return append(dst, append(cmd, args...)), Changed
}

// SwapDB returns SWAPDB for a server of the dialect, to be sent in database home. Before 4.0 it is a script, which blocks the
// server until it has moved every key of both databases. SwapDB returns nil where the server has no EVAL either.
func (d *Dialect) SwapDB(first, second, home int) []string {
	a, b := strconv.Itoa(first), strconv.Itoa(second)
	switch {
	case d.Knows("SWAPDB"):
		return []string{"SWAPDB", a, b}
	case d.Knows("EVAL"):
		return []string{"EVAL", swapScript, "0", a, b, strconv.Itoa(home)}
	}
	return nil
}

const (
	// swapScript moves every key of two databases to the other one. Keys that exist in both are moved aside first, under a name that
	// nobody uses.
	swapScript = `redis.call('SELECT',ARGV[2])
local theirs={}
local second=redis.call('KEYS','*')
for _,k in ipairs(second) do theirs[k]=true end
redis.call('SELECT',ARGV[1])
local first=redis.call('KEYS','*')
local aside='__surecut:swap:'
for _,k in ipairs(first) do if theirs[k] then redis.call('RENAME',k,aside..k) end end
redis.call('SELECT',ARGV[2])
for _,k in ipairs(second) do redis.call('MOVE',k,ARGV[1]) end
redis.call('SELECT',ARGV[1])
for _,k in ipairs(first) do redis.call('MOVE',theirs[k] and aside..k or k,ARGV[2]) end
redis.call('SELECT',ARGV[2])
for _,k in ipairs(first) do if theirs[k] then redis.call('RENAME',aside..k,k) end end
redis.call('SELECT',ARGV[3])
return #first+#second`

	// keepTTLScript sets a string and keeps its expiry to the millisecond by overwriting the value in place with SETRANGE. It fails
	// where the value becomes shorter, because no command shortens a value in place.
	keepTTLScript = `if redis.call('PTTL',KEYS[1])<0 then return redis.call('SET',KEYS[1],ARGV[1]) end
if redis.call('STRLEN',KEYS[1])>string.len(ARGV[1]) then return redis.error_reply('ERR a shorter value cannot keep its expiry') end
return redis.call('SETRANGE',KEYS[1],0,ARGV[1])`

	// listMoveScript pops with the first command and pushes with the second.
	listMoveScript = `local v=redis.call(ARGV[1],KEYS[1])
if v then redis.call(ARGV[2],KEYS[2],v) end
return v`

	// zaddScript adds the members whose conditions are met: GT, LT or "", and NX, XX or "".
	zaddScript = `local n=0
for i=3,#ARGV,2 do
local old=redis.call('ZSCORE',KEYS[1],ARGV[i+1])
local ok=true
if old then
if ARGV[2]=='NX' then ok=false end
if ARGV[1]=='GT' and not(tonumber(ARGV[i])>tonumber(old)) then ok=false end
if ARGV[1]=='LT' and not(tonumber(ARGV[i])<tonumber(old)) then ok=false end
elseif ARGV[2]=='XX' then ok=false end
if ok then n=n+redis.call('ZADD',KEYS[1],ARGV[i],ARGV[i+1]) end
end
return n`

	// geoStoreScript deletes the first key and then runs a command that stores its result there.
	geoStoreScript = `redis.call('DEL',KEYS[1]) return redis.call(unpack(ARGV))`

	// claimScript claims an entry that exists, and drops the pending entry of one that does not.
	claimScript = `if #redis.call('XRANGE',KEYS[1],ARGV[4],ARGV[4])>0 then return redis.call('XCLAIM',KEYS[1],unpack(ARGV)) end
return redis.call('XACK',KEYS[1],ARGV[1],ARGV[4])`

	// minIDScript deletes the entries of a stream below an ID.
	minIDScript = `local n=0
while true do
local ids={}
for _,e in ipairs(redis.call('XRANGE',KEYS[1],'-',ARGV[1],'COUNT',100)) do if e[1]~=ARGV[1] then ids[#ids+1]=e[1] end end
if #ids==0 then return n end
n=n+redis.call('XDEL',KEYS[1],unpack(ids))
end`
)
