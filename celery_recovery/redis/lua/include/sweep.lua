-- Removes up to `most` letters that were finished longer than `max_age` seconds ago (-1: none); returns how many.
-- Letters that are not finished are never removed by age.
local function sweep(at, max_age, most)
  if max_age < 0 then return 0 end
  local ids = redis.call('ZRANGEBYSCORE', FINISHED, '-inf', string.format('%.6f', at - max_age), 'LIMIT', 0, most)
  for _, id in ipairs(ids) do
    local letter = read(id, FILED_BY)
    if letter then leave(id, letter) end
    redis.call('DEL', letter_key(id), message_key(id))
    redis.call('ZREM', FINISHED, id)
    redis.call('HINCRBY', TOTALS, 'expired', 1)
  end
  if #ids > 0 and redis.call('EXISTS', ALL) == 0 then redis.call('DEL', TOTALS) end
  return #ids
end
