-- The named fields of a parked task as a table; nil if there is no such task. Fields that are not set are ''.
local function read_parked(key, names)
  local values = redis.call('HMGET', parked_key(key), 'due', unpack(names))
  if not values[1] then return nil end
  local parked = {due = values[1]}
  for i, name in ipairs(names) do parked[name] = values[i + 1] or '' end
  return parked
end

-- One more or one less of it in every counter; a count of nothing is no field.
local function count_parked(parked, step)
  for _, dimension in ipairs(PARKED_COUNTED) do
    local key, value = parked_count_key(dimension), parked[dimension]
    if redis.call('HINCRBY', key, value, step) <= 0 then redis.call('HDEL', key, value) end
  end
end

-- Fields that `place_parked` needs of a parked task, beside `due`.
local PLACED_BY = {'circuit', 'latest', 'parked_at'}

-- Puts a parked task where it is looked at next: at its time, or in the line of its circuit, in which it keeps its place,
-- and `latest`, when it goes back whatever the circuit says. Not before `earliest`, if that is given: until then it is
-- claimed, or no queue takes it.
local function place_parked(key, parked, earliest)
  local function not_before(moment) return string.format('%.6f', math.max(tonumber(moment), earliest or 0)) end
  if parked.circuit == '' then
    redis.call('ZADD', PARKED_DUE, earliest and not_before(0) or parked.due, key)
  else
    redis.call('ZADD', PARKED_DUE, not_before(parked.latest), key)
    redis.call('ZADD', parked_circuit_key(parked.circuit), not_before(parked.parked_at), key)
  end
end

-- When the circuit is next asked how many of its tasks may go back. (ZREM, because a Redis that is full refuses to begin
-- with a write that takes memory.)
local function look_at(circuit, moment)
  redis.call('ZREM', PARKED_CIRCUITS, circuit)
  redis.call('ZADD', PARKED_CIRCUITS, string.format('%.6f', moment), circuit)
end

-- Takes a key out of the line of a circuit, and the circuit out of the list when nobody is left in its line.
local function leave_circuit(key, circuit)
  redis.call('ZREM', parked_circuit_key(circuit), key)
  if redis.call('EXISTS', parked_circuit_key(circuit)) == 0 then redis.call('ZREM', PARKED_CIRCUITS, circuit) end
end

-- A whole parked task as a short list: its hash as one JSON object, the rest of its message as JSON, the body. Empty if
-- it is not there.
local function parked_row(key)
  local flat = redis.call('HGETALL', parked_key(key))
  local message = redis.call('HMGET', parked_message_key(key), 'about', 'body')
  if #flat == 0 or not message[1] then return {} end
  local parked = {}
  for i = 1, #flat, 2 do parked[flat[i]] = flat[i + 1] end
  return {cjson.encode(parked), message[1], message[2] or ''}
end

-- Takes a parked task away, with all that belongs to it; `parked` holds its circuit and what it is counted by.
local function forget_parked(key, parked)
  redis.call('DEL', parked_key(key), parked_message_key(key))
  redis.call('ZREM', PARKED_DUE, key)
  redis.call('ZREM', PARKED_REFUSED, key)
  if parked.circuit ~= '' then leave_circuit(key, parked.circuit) end
  count_parked(parked, -1)
end
