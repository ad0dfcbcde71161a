--[[
  Notes that a circuit is in use, in the index of all circuits. What was not seen for long is dropped, and what is beyond
  the most that are kept.

  KEYS[1]  index: name, scored by when it was seen last

  ARGV[1]  name
  ARGV[2]  seconds after which a name is dropped
  ARGV[3]  most names

  Returns  names that are left
]]
-- include now

local at = tonumber(now())
redis.call('ZADD', KEYS[1], at, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', at - tonumber(ARGV[2])))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
