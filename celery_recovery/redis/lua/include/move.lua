-- Brings a letter from its state to another, with indexes, counters and the record of when it was finished.
-- `letter` holds at least state and died_at.
local function move(id, letter, state, at)
  if letter.state ~= state then
    redis.call('ZREM', index_key('state', letter.state), id)
    redis.call('ZADD', index_key('state', state), letter.died_at, id)
    local was_open, is_open = OPEN[letter.state], OPEN[state]
    if was_open ~= is_open then
      local filed = read(id, FILED_BY)
      for _, dimension in ipairs(COUNTED) do
        count(open_key(dimension), filed[dimension], is_open and 1 or -1)
      end
      if is_open then redis.call('ZREM', FINISHED, id) else redis.call('ZADD', FINISHED, at, id) end
    end
  end
  redis.call('HSET', letter_key(id), 'state', state, 'changed_at', at)
end
