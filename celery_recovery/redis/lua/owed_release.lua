--[[
  Gives a claimed outcome back, to be claimed again later.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the task
  ARGV[2]  mark of the record
  ARGV[3]  seconds until it may be claimed
  ARGV[4]  '1': it failed for a reason of its own, which is counted

  Returns  'released'  given back
           'stale'     a newer outcome of the same task has taken its place, or there is none
]]
-- include now

local id, mark, delay, failed = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if redis.call('HGET', owed_key(id), 'mark') ~= mark then return 'stale' end
if failed == '1' then redis.call('HINCRBY', owed_key(id), 'tries', 1) end
redis.call('ZADD', OWED, string.format('%.6f', tonumber(now()) + delay), id)
return 'released'
