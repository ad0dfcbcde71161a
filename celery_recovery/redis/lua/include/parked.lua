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

-- Takes a parked task away, with all that belongs to it.
local function forget_parked(key, parked)
  redis.call('DEL', parked_key(key), parked_message_key(key))
  redis.call('ZREM', PARKED_DUE, key)
  redis.call('ZREM', PARKED_REFUSED, key)
  if parked then count_parked(parked, -1) end
end
