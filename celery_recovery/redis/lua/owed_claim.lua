--[[
  Claims owed outcomes that are due, the longest due first. Those whose record has expired are dropped on the way.

  KEYS[1]  root of the store's keys

  ARGV[1]  most to claim
  ARGV[2]  seconds for which nobody else may claim them

  Returns  one list of fields and values per outcome
]]
-- include now

local count, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
local at = now()
local claimed = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', OWED, '-inf', at, 'LIMIT', 0, count)) do
  local row = redis.call('HGETALL', owed_key(id))
  if #row == 0 then
    redis.call('ZREM', OWED, id)
  else
    redis.call('ZADD', OWED, string.format('%.6f', tonumber(at) + lease), id)
    claimed[#claimed + 1] = row
  end
end
return claimed
