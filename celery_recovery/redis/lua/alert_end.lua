--[[
  Notes how a try to send an alert ended. Whoever took it later has the say, unless it has arrived.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the sink
  ARGV[2]  id of the alert
  ARGV[3]  number of the try
  ARGV[4]  its state from now on: 'sent', 'retrying' or 'given_up'
  ARGV[5]  of 'retrying': seconds until the next try
  ARGV[6]  why it failed, or empty
  ARGV[7]  seconds that it is kept from now on

  Returns  'noted'    done
           'lost'     another worker has taken it since, or it is gone
]]
-- include now

local sink, id, try, state, why, kept = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[6], ARGV[7]
local key, due, at = alert_key(id), alert_due_key(sink), now()
local tries = redis.call('HGET', key, 'tries')
if not tries or (tries ~= try and state ~= 'sent') then return 'lost' end
redis.call('HSET', key, 'state', state, 'error', why, 'changed_at', at)
redis.call('EXPIRE', key, kept)
if state == 'retrying' then
  redis.call('ZADD', due, string.format('%.6f', tonumber(at) + tonumber(ARGV[5])), '=' .. id)
else
  redis.call('ZREM', due, '=' .. id)
end
return 'noted'
