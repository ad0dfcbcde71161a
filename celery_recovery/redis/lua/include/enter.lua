local OPEN = {failed = true, review = true, retry = true, replayed = true}

-- Fields that `enter` and `leave` need of a letter.
local FILED_BY = {'task', 'error_type', 'fingerprint', 'queue', 'parent', 'reason', 'died_at', 'size'}

-- One more or one less in a hash of counts; a count of nothing is no field.
local function count(key, value, step)
  if redis.call('HINCRBY', key, value, step) <= 0 then redis.call('HDEL', key, value) end
end

-- Puts a letter into every index and counter.
local function enter(id, letter)
  redis.call('ZADD', ALL, letter.died_at, id)
  redis.call('ZADD', index_key('state', letter.state), letter.died_at, id)
  for _, dimension in ipairs(INDEXED) do
    local value = letter[dimension] or ''
    if value ~= '' or dimension ~= 'parent' then redis.call('ZADD', index_key(dimension, value), letter.died_at, id) end
  end
  for _, dimension in ipairs(COUNTED) do
    count(kept_key(dimension), letter[dimension], 1)
    if OPEN[letter.state] then count(open_key(dimension), letter[dimension], 1) end
  end
  redis.call('HINCRBY', TOTALS, 'bytes', letter.size)
end

-- Takes a letter out of every index and counter: the reverse of `enter`.
local function leave(id, letter)
  redis.call('ZREM', ALL, id)
  redis.call('ZREM', index_key('state', letter.state), id)
  for _, dimension in ipairs(INDEXED) do
    redis.call('ZREM', index_key(dimension, letter[dimension]), id)
  end
  for _, dimension in ipairs(COUNTED) do
    count(kept_key(dimension), letter[dimension], -1)
    if OPEN[letter.state] then count(open_key(dimension), letter[dimension], -1) end
  end
  redis.call('HINCRBY', TOTALS, 'bytes', -(tonumber(letter.size) or 0))
end
