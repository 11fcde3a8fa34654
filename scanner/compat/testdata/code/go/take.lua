-- redis.call('GET', 'commented')
local k = KEYS[1]
local n = redis.call('GET', k)
if n then
  redis.call("DEL", "lock:" .. ARGV[1])
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, 60)
end
return n
