--[[
  A run has succeeded. Its own message, delivered again because its end was not heard of, still finds the state; any
  other run begins anew.

  KEYS[1]  root of the store's keys

  ARGV[1]  name of the checkpoint
  ARGV[2]  fence of the run
  ARGV[3]  life of the run; '': not known
  ARGV[4]  seconds that the state is kept for that message

  Returns  '1' if it is noted, '0' if the run is fenced off
]]

local name, fence, life, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local key = checkpoint_key(name)
if redis.call('HGET', key, 'fence') ~= fence then return '0' end
redis.call('HSET', key, 'finished', life == '' and '-' or life)
redis.call('EXPIRE', key, ttl)
redis.call('ZREM', CHECKPOINTS, name)
return '1'
