--[[
  Parks a task until it is due. Safe to repeat: what is parked already stays as it is.

  KEYS[1]  root of the store's keys

  ARGV[1]  key: names this one publication of the task
  ARGV[2]  when it is due, unix seconds
  ARGV[3]  the rest of its message as JSON: headers, properties and so on
  ARGV[4]  the raw body
  ARGV[5…] field-value pairs of the hash that it is filtered by; sizes in bytes

  Returns  'parked'  it is there now
           'known'   it was there already
]]
-- include parked

local key, due, about, body = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('EXISTS', parked_key(key)) == 1 then return 'known' end

local fields, parked = {}, {}
for i = 5, #ARGV, 2 do
  fields[#fields + 1], fields[#fields + 2] = ARGV[i], ARGV[i + 1]
  parked[ARGV[i]] = ARGV[i + 1]
end
redis.call('HSET', parked_key(key), 'due', due, unpack(fields))
redis.call('HSET', parked_message_key(key), 'about', about, 'body', body)
redis.call('ZADD', PARKED_DUE, due, key)
count_parked(parked, 1)
return 'parked'
