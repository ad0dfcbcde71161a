--[[
  A run saves its state, unless another has taken the checkpoint over.

  KEYS[1]  root of the store's keys

  ARGV[1]  name of the checkpoint
  ARGV[2]  fence of the run
  ARGV[3]  state; '': none any more
  ARGV[4]  seconds after which it is dropped unless it is saved again
  ARGV[5]  life of the run, where what it saves is progress: dying, it has not died of what it died of before; else ''
  ARGV[6]  its step
  ARGV[7]  seconds that this is remembered

  Returns  '1' if it is saved, '0' if the run is fenced off
]]
-- include now

local name, fence, state, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local key, at = checkpoint_key(name), now()
if redis.call('HGET', key, 'fence') ~= fence then return '0' end
if state == '' then
  redis.call('HDEL', key, 'state', 'saved_at', 'saves', 'size')
else
  redis.call('HSET', key, 'state', state, 'saved_at', at, 'size', #state)
  redis.call('HINCRBY', key, 'saves', 1)
end
redis.call('EXPIRE', key, ttl)
redis.call('ZADD', CHECKPOINTS, at, name)
if ARGV[5] ~= '' then
  redis.call('HSET', attempt_key(ARGV[5]), 'moved', ARGV[6])
  redis.call('EXPIRE', attempt_key(ARGV[5]), tonumber(ARGV[7]))
end
return '1'
