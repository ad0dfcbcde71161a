--[[
  Asks that an operation pause, end, or go on. Whoever runs it follows; one that nobody runs is changed here.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the operation
  ARGV[2]  'paused', 'cancelled' or 'running'
  ARGV[3]  who asks, in a sentence

  Returns  'asked'    whoever runs it will follow
           'changed'  nobody runs it: it is as asked now
           'ended'    it is done or cancelled already
           'unknown'  there is no such operation
]]
-- include now

local id, wanted, message = ARGV[1], ARGV[2], ARGV[3]
local key = operation_key(id)
local state = redis.call('HGET', key, 'state')
if not state then return 'unknown' end
if state == 'done' or state == 'cancelled' then return 'ended' end
if state == 'running' and redis.call('EXISTS', operation_runner_key(id)) == 1 then
  redis.call('HSET', key, 'wanted', wanted == 'running' and '' or wanted, 'message', message)
  return 'asked'
end
redis.call('HSET', key, 'wanted', '', 'state', wanted, 'message', message, 'changed_at', now())
if wanted == 'cancelled' then redis.call('HSET', key, 'ended_at', now()) end
return 'changed'
