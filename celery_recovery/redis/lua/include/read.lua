-- The named fields of a letter as a table; nil if there is no such letter, or but half of one: without a time of death it
-- is in no index. Fields that are not set are ''.
local function read(id, names)
  local values = redis.call('HMGET', letter_key(id), 'state', unpack(names))
  if not values[1] then return nil end
  local letter = {state = values[1]}
  for i, name in ipairs(names) do letter[name] = values[i + 1] or '' end
  if letter.died_at and not is_number(letter.died_at) then return nil end
  return letter
end
