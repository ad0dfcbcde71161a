--[[
  One part of a batch that was fanned out says how far it is; what all parts say together is kept as a checkpoint.

  KEYS[1]  root of the store's keys

  ARGV[1]  name of the checkpoint of the whole
  ARGV[2]  number of the part
  ARGV[3]  items of it that are done
  ARGV[4]  of these succeeded
  ARGV[5]  failed
  ARGV[6]  discarded
  ARGV[7]  items of the whole
  ARGV[8]  whose it is, as a flat JSON object: task, id, worker, attempt
  ARGV[9]  seconds after which it is dropped unless somebody says more

  Returns  what they say together, as a JSON object
]]
-- include now

local name, part, total, who, ttl = ARGV[1], ARGV[2], tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
local key, at = checkpoint_key(name), now()
redis.call('HSETNX', key, 'begun_at', at)
redis.call('HSET', key, 'part-' .. part, ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[6])

local done, succeeded, failed, discarded, begun = 0, 0, 0, 0, tonumber(at)
local flat = redis.call('HGETALL', key)
for i = 1, #flat, 2 do
  if flat[i] == 'begun_at' then begun = tonumber(flat[i + 1]) end
  if string.sub(flat[i], 1, 5) == 'part-' then
    local d, s, f, x = string.match(flat[i + 1], '(%d+) (%d+) (%d+) (%d+)')
    done, succeeded, failed, discarded = done + d, succeeded + s, failed + f, discarded + x
  end
end
local spent = tonumber(at) - begun
local state = cjson.encode({batch = 'fan_out', done = done, succeeded = succeeded, failed = failed,
  discarded = discarded, total = total, era = 0, rate = spent > 0 and done / spent or cjson.null})
redis.call('HSET', key, 'state', state, 'saved_at', at, 'size', #state, 'who', who)
redis.call('HSETNX', key, 'opened_at', at)
redis.call('HINCRBY', key, 'saves', 1)
redis.call('EXPIRE', key, ttl)
redis.call('ZADD', CHECKPOINTS, at, name)
return state
