--[[
  Keeps an outcome that the result backend does not have yet, in place of an older one of the same task.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the task
  ARGV[2]  seconds until it may be claimed
  ARGV[3]  seconds that it is kept
  ARGV[4]  most outcomes to keep
  ARGV[5…] field-value pairs

  Returns  'owed'  kept
           'full'  there are too many
]]
-- include now

local id, delay, expires, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('ZCARD', OWED) >= limit and not redis.call('ZSCORE', OWED, id) then return 'full' end

local pairs_of_fields = {}
for i = 5, #ARGV do pairs_of_fields[#pairs_of_fields + 1] = ARGV[i] end
redis.call('DEL', owed_key(id))
redis.call('HSET', owed_key(id), unpack(pairs_of_fields))
redis.call('EXPIRE', owed_key(id), expires)
redis.call('ZADD', OWED, string.format('%.6f', tonumber(now()) + delay), id)
return 'owed'
