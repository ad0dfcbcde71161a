--[[
  Writes happenings down for one sink: gathered by event until they are due, as a number and the first of them.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the sink
  ARGV[2]  the event
  ARGV[3]  how many happenings
  ARGV[4]  seconds from the first on after which they are due
  ARGV[5]  seconds that they are kept from now on
  ARGV[6]  most happenings that are told of one by one
  ARGV[7…] the first of the happenings, as JSON

  Returns  how many are gathered now
]]
-- include now

local sink, event, count, kept = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local window, most = tonumber(ARGV[4]), tonumber(ARGV[6])
local at, key, due = now(), alert_gathering_key(sink, event), alert_due_key(sink)
local before = tonumber(redis.call('HGET', key, 'count') or 0)
for i = 7, #ARGV do
  local place = before + i - 6
  if place <= most then redis.call('HSET', key, 'n' .. place, ARGV[i]) end
end
redis.call('HSETNX', key, 'at', at)
redis.call('EXPIRE', key, kept)
redis.call('ZADD', due, 'NX', string.format('%.6f', tonumber(at) + window), event)
redis.call('EXPIRE', due, kept)
return redis.call('HINCRBY', key, 'count', count)
