--[[
  Finds a circuit that is to be asked now how many of the tasks that wait for it may go back. For a while nobody else is
  told to ask it.

  KEYS[1]  root of the store's keys

  ARGV[1]  that while, in seconds

  Returns  a list: the circuit, '' if none is to be asked now; how many of its tasks nobody has claimed; seconds until
           the next one is to be asked, as text, '' if no task waits for a circuit
]]
-- include now parked

local pause, at = tonumber(ARGV[1]), now()
local found, waiting = '', 0
for _, circuit in ipairs(redis.call('ZRANGEBYSCORE', PARKED_CIRCUITS, '-inf', at, 'LIMIT', 0, 50)) do
  local line = parked_circuit_key(circuit)
  if redis.call('EXISTS', line) == 0 then -- nothing is left of its tasks (a store that evicts)
    redis.call('ZREM', PARKED_CIRCUITS, circuit)
  else
    look_at(circuit, tonumber(at) + pause)
    waiting = redis.call('ZCOUNT', line, '-inf', at)
    if waiting > 0 then
      found = circuit
      break
    end
  end
end
local first = redis.call('ZRANGE', PARKED_CIRCUITS, 0, 0, 'WITHSCORES')
return {found, waiting, first[2] and string.format('%.6f', tonumber(first[2]) - tonumber(at)) or ''}
