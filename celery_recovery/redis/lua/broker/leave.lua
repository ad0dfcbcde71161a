--[[
  Strike a life off the register, once it holds nothing.

  KEYS[1]  hash of all lives
  KEYS[2]  the life's heartbeat
  KEYS[3]  hash of what the worker holds
  ARGV[1]  name of the life
  ARGV[2]  1: whatever the heartbeat says; 0: only where there is none
  Returns  1: struck off; 0: it holds messages, or lives
]]

if ARGV[2] == '0' and redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
if redis.call('HLEN', KEYS[3]) > redis.call('HEXISTS', KEYS[3], 'next') then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
return 1
