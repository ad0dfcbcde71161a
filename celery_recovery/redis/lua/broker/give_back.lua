--[[
  Move one message from what a worker holds back to a queue, if it is still there and the worker may be robbed.

  KEYS[1]  hash of what the worker holds
  KEYS[2]  the life's heartbeat
  KEYS[3]  set of the tokens that were taken from it
  KEYS[4]  the queue
  ARGV[1]  token
  ARGV[2]  the message as it goes back
  ARGV[3]  end of the queue: `RPUSH`, to run next, or `LPUSH`
  ARGV[4]  1: whatever the heartbeat says; 0: only where there is none
  ARGV[5]  ms that is remembered that it was taken from the worker; 0: the worker itself gives it back
  Returns  1: moved; 0: it was not there; -1: the worker lives
]]

if ARGV[4] == '0' and redis.call('EXISTS', KEYS[2]) == 1 then
  return -1
end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call(ARGV[3], KEYS[4], ARGV[2]) -- first: a queue's key of another type ends the script here
redis.call('HDEL', KEYS[1], ARGV[1])
if ARGV[5] ~= '0' then
  redis.call('SADD', KEYS[3], ARGV[1])
  redis.call('PEXPIRE', KEYS[3], ARGV[5])
end
return 1
