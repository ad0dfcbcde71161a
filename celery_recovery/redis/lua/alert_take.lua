--[[
  Takes what is due for one sink, for some time: an alert whose last try failed, or whose worker was killed; or what was
  gathered, which is frozen into an alert of its own, unless the sink has had its share.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the sink
  ARGV[2]  seconds for which nobody else may take it
  ARGV[3]  most alerts that the sink gets
  ARGV[4]  in so many seconds
  ARGV[5]  id for a new alert
  ARGV[6]  seconds that an alert is kept from now on

  Returns  fields and values of the alert; none: nothing is due
]]
-- include now

local sink, new, kept = ARGV[1], ARGV[5], ARGV[6]
local lease, most, span = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local at = tonumber(now())
local due, shares = alert_due_key(sink), alert_sent_key(sink)

local function later(member, seconds) redis.call('ZADD', due, string.format('%.6f', at + seconds), member) end

local function taken(id)
  local key = alert_key(id)
  later('=' .. id, lease)
  redis.call('HINCRBY', key, 'tries', 1)
  redis.call('HSET', key, 'state', 'sending', 'changed_at', string.format('%.6f', at))
  redis.call('EXPIRE', key, kept)
  redis.call('EXPIRE', due, kept)
  return redis.call('HGETALL', key)
end

local function has_its_share()
  redis.call('ZREMRANGEBYSCORE', shares, '-inf', string.format('%.6f', at - span))
  return redis.call('ZCARD', shares) >= most
end

if redis.call('EXISTS', alert_key(new)) == 1 then return taken(new) end  -- asked again: the reply was lost
for _, member in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', string.format('%.6f', at), 'LIMIT', 0, 100)) do
  if string.sub(member, 1, 1) == '=' then
    local id = string.sub(member, 2)
    if redis.call('EXISTS', alert_key(id)) == 1 then return taken(id) end
    redis.call('ZREM', due, member)
  elseif redis.call('EXISTS', alert_gathering_key(sink, member)) == 0 then
    redis.call('ZREM', due, member)
  elseif has_its_share() then
    local oldest = tonumber(redis.call('ZRANGE', shares, 0, 0, 'WITHSCORES')[2])
    later(member, math.max(oldest + span - at, 0.1))
  else
    redis.call('RENAME', alert_gathering_key(sink, member), alert_key(new))
    redis.call('HSET', alert_key(new), 'id', new, 'sink', sink, 'event', member)
    redis.call('ZREM', due, member)
    redis.call('ZADD', shares, string.format('%.6f', at), new)
    redis.call('EXPIRE', shares, math.ceil(span))
    redis.call('ZADD', ALERTS, string.format('%.6f', at), new)
    redis.call('ZREMRANGEBYRANK', ALERTS, 0, -1001)
    redis.call('EXPIRE', ALERTS, kept)
    return taken(new)
  end
end
return {}
