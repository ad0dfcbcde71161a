--[[
  A run takes a checkpoint over: from now on only it can save, and it is given what was saved.

  KEYS[1]  root of the store's keys

  ARGV[1]  name of the checkpoint
  ARGV[2]  life of the run; '': not known
  ARGV[3]  step of the run in that life
  ARGV[4]  who runs, as a flat JSON object: task, id, worker, attempt
  ARGV[5]  seconds after which it is dropped unless it is saved again
  ARGV[6]  '1': what one message of the task has done, no other does again; else '0'

  Returns  a list: the fence, '0' if a later step of the same life has it; the saved state, nil if there is none
]]
-- include now

local name, life, step, who, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local key, at = checkpoint_key(name), now()
local known = redis.call('HMGET', key, 'fence', 'life', 'step', 'finished', 'state')
local fence, state = tonumber(known[1] or 0), known[5]
if life ~= '' and known[2] == life and tonumber(known[3]) > step then return {'0', false} end
if known[4] and ARGV[6] ~= '1' and (life == '' or known[4] ~= life) then
  redis.call('HDEL', key, 'finished', 'state', 'saved_at', 'saves', 'size') -- of a run that has succeeded
  state = false
end
fence = string.format('%.0f', math.max(fence + 1, math.floor(tonumber(at) * 1000000)))
redis.call('HSET', key, 'fence', fence, 'life', life, 'step', step, 'who', who, 'opened_at', at)
redis.call('HSETNX', key, 'begun_at', at)
redis.call('EXPIRE', key, ttl)
redis.call('ZADD', CHECKPOINTS, at, name)
redis.call('ZREMRANGEBYSCORE', CHECKPOINTS, '-inf', string.format('%.6f', tonumber(at) - ttl))
return {fence, state}
