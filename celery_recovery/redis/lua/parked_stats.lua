--[[
  Figures about the parked tasks; the cost does not grow with them.

  KEYS[1]  root of the store's keys

  Returns  a list: parked; of these due by now and not claimed by anybody; refused by the broker; when the one that is
           due first is due, unix seconds as text, '' without any; then a flat list of value and count for each counter
]]
-- include now

local at = now()
local oldest = ''
local function older(key)
  local due = key and redis.call('HGET', parked_key(key), 'due')
  if due and (oldest == '' or tonumber(due) < tonumber(oldest)) then oldest = due end
end
older(redis.call('ZRANGE', PARKED_DUE, 0, 0)[1])
older(redis.call('ZRANGE', PARKED_REFUSED, 0, 0)[1])

local reply = {
  redis.call('ZCARD', PARKED_DUE), redis.call('ZCOUNT', PARKED_DUE, '-inf', at), redis.call('ZCARD', PARKED_REFUSED),
  oldest,
}
for _, dimension in ipairs(PARKED_COUNTED) do
  reply[#reply + 1] = redis.call('HGETALL', parked_count_key(dimension))
end
return reply
