--[[
  A worker tells that it lives, and registers where it is not registered.

  KEYS[1]  hash of all lives
  KEYS[2]  the life's heartbeat
  KEYS[3]  hash of what the worker holds
  ARGV[1]  name of the life
  ARGV[2]  what is known of it, as JSON
  ARGV[3]  lease, in ms
  ARGV[4]  a number above all tokens given so far
  Returns  1 if it was registered, plus 2 if its heartbeat was still there
]]

local known = redis.call('HEXISTS', KEYS[1], ARGV[1])
local alive = redis.call('EXISTS', KEYS[2])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[3])
if known == 0 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
local next_token = redis.call('HGET', KEYS[3], 'next')
if not next_token or tonumber(next_token) < tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[3], 'next', ARGV[4])
end
return known + 2 * alive
