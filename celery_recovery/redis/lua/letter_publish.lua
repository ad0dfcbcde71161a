--[[
  Notes that the broker has confirmed the replays of claimed letters: retry -> replayed.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the operation that claimed them
  ARGV[2…] ids of letters

  Returns  how many were noted. Not noted: those that another operation has taken over since, and those that a worker
           started, or finished, in the meantime (which says more).
]]
-- include now number read enter move outcome

local operation, at, noted = ARGV[1], now(), 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local letter = read(id, {'operation', 'number', 'died_at'})
  if letter and letter.state == 'retry' and letter.operation == operation then
    redis.call('HSET', letter_key(id), 'replays', letter.number)
    redis.call('HDEL', letter_key(id), 'lease')
    move(id, letter, 'replayed', at)
    redis.call('HINCRBY', TOTALS, 'replayed', 1)
    tell(operation, 'done')
    noted = noted + 1
  end
end
return noted
