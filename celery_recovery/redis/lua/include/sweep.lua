-- Removes up to `most` finished letters: those finished longer ago than is kept, then the oldest of those beyond the number
-- that is kept; returns how many. `kept` is '<seconds>/<letters>', -1 for no limit. Letters that are not finished are never
-- removed.
local function sweep(at, kept, most)
  local max_age, max_count = string.match(kept, '^(.+)/(.+)$')
  max_age, max_count = tonumber(max_age), tonumber(max_count)
  local ids = {}
  if max_age >= 0 then
    ids = redis.call('ZRANGEBYSCORE', FINISHED, '-inf', string.format('%.6f', at - max_age), 'LIMIT', 0, most)
  end
  if #ids == 0 and max_count >= 0 then
    local beyond = math.min(redis.call('ZCARD', FINISHED) - max_count, most)
    if beyond > 0 then ids = redis.call('ZRANGE', FINISHED, 0, beyond - 1) end
  end
  for _, id in ipairs(ids) do
    local letter = read(id, FILED_BY)
    if letter then leave(id, letter) end
    redis.call('DEL', letter_key(id), message_key(id), versions_key(id), notes_key(id))
    redis.call('ZREM', FINISHED, id)
    redis.call('HINCRBY', TOTALS, 'expired', 1)
  end
  if #ids > 0 and redis.call('EXISTS', ALL) == 0 then redis.call('DEL', TOTALS) end
  return #ids
end
