--[[
  Parks a task until it is due or, where it has a circuit, until that lets it go. Safe to repeat: what is parked already
  stays as it is.

  KEYS[1]  root of the store's keys

  ARGV[1]  key: names this one publication of the task
  ARGV[2]  when it is due, unix seconds
  ARGV[3]  the rest of its message as JSON: headers, properties and so on
  ARGV[4]  the raw body
  ARGV[5]  of one with a circuit: seconds after which it goes back whatever the circuit says
  ARGV[6]  of one with a circuit: when it expires, unix seconds, and goes back then if that is sooner; '' if it does not
  ARGV[7…] field-value pairs of the hash that it is filtered by; sizes in bytes

  Returns  'parked'  it is there now
           'known'   it was there already
]]
-- include now parked

local key, due, about, body = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('EXISTS', parked_key(key)) == 1 then return 'known' end

local longest, expires = tonumber(ARGV[5]), tonumber(ARGV[6])
local fields, parked = {}, {due = due, circuit = ''}
for i = 7, #ARGV, 2 do
  fields[#fields + 1], fields[#fields + 2] = ARGV[i], ARGV[i + 1]
  parked[ARGV[i]] = ARGV[i + 1]
end
local at = tonumber(now())
if parked.circuit ~= '' then
  -- A second at least, and by this clock: a worker whose own is wrong must not have it go back at once, for ever.
  parked.latest = string.format('%.6f', math.max(at + 1, math.min(at + longest, expires or math.huge)))
  parked.parked_at = string.format('%.6f', math.min(at, tonumber(parked.parked_at)))
  for _, name in ipairs({'latest', 'parked_at'}) do fields[#fields + 1], fields[#fields + 2] = name, parked[name] end
end
redis.call('HSET', parked_key(key), 'due', due, unpack(fields))
redis.call('HSET', parked_message_key(key), 'about', about, 'body', body)
place_parked(key, parked)
count_parked(parked, 1)
if parked.circuit ~= '' and not redis.call('ZSCORE', PARKED_CIRCUITS, parked.circuit) then look_at(parked.circuit, at) end
return 'parked'
