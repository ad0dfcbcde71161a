-- The named fields of a letter as a table; nil if there is no such letter. Fields that are not set are ''.
local function read(id, names)
  local values = redis.call('HMGET', letter_key(id), 'state', unpack(names))
  if not values[1] then return nil end
  local letter = {state = values[1]}
  for i, name in ipairs(names) do letter[name] = values[i + 1] or '' end
  return letter
end
