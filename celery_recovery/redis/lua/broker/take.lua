--[[
  Take one message from the first queue that has one, and hold it for the worker: it is never in neither.
  When all are empty they are read, so that a client with tracking switched on hears of the next message.

  KEYS[1]  hash of what the worker holds
  KEYS[2…] queues, the most important first
  ARGV[1]  on which connection it is asked for
  Returns  {index of the queue from 0, token, message}; nil: all empty; -1: the worker is not registered, nothing taken
]]

for i = 2, #KEYS do
  local message = redis.call('RPOP', KEYS[i])
  if message then
    local number = redis.call('HINCRBY', KEYS[1], 'next', 1)
    if number == 1 then
      redis.call('HDEL', KEYS[1], 'next')
      redis.call('RPUSH', KEYS[i], message)
      return -1
    end
    local token = string.format('%.0f', number) .. '.' .. ARGV[1]
    redis.call('HSET', KEYS[1], token, #KEYS[i] .. ':' .. KEYS[i] .. message)
    return {i - 2, token, message}
  end
end
redis.call('EXISTS', unpack(KEYS, 2))
return nil
