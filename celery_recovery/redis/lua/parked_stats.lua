--[[
  Figures about the parked tasks; the cost does not grow with them, only with the circuits that they wait for.

  KEYS[1]  root of the store's keys

  Returns  a list: parked; of these due by now and not claimed by anybody; refused by the broker; when the first of
           them goes back by time, unix seconds as text, '' without any; a flat list of circuit and how many wait for
           it; then a flat list of value and count for each counter
]]
-- include now

local at = now()
local oldest = ''
local function older(key)
  local times = key and redis.call('HMGET', parked_key(key), 'latest', 'due') or {}
  local due = times[1] or times[2]
  if due and (oldest == '' or tonumber(due) < tonumber(oldest)) then oldest = due end
end
older(redis.call('ZRANGE', PARKED_DUE, 0, 0)[1])
older(redis.call('ZRANGE', PARKED_REFUSED, 0, 0)[1])

local circuits = {}
for _, circuit in ipairs(redis.call('ZRANGE', PARKED_CIRCUITS, 0, -1)) do
  circuits[#circuits + 1], circuits[#circuits + 2] = circuit, redis.call('ZCARD', parked_circuit_key(circuit))
end
local reply = {
  redis.call('ZCARD', PARKED_DUE), redis.call('ZCOUNT', PARKED_DUE, '-inf', at), redis.call('ZCARD', PARKED_REFUSED),
  oldest, circuits,
}
for _, dimension in ipairs(PARKED_COUNTED) do
  reply[#reply + 1] = redis.call('HGETALL', parked_count_key(dimension))
end
return reply
