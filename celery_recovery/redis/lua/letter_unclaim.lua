--[[
  Gives claimed letters back to the state they were claimed from. The next claim gives the same token, so that a copy
  which was published after all, and the next one, cannot both run.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the operation that claimed them
  ARGV[2…] ids of letters

  Returns  how many were given back
]]
-- include now number read enter move

local operation, at, given_back = ARGV[1], now(), 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local letter = read(id, {'operation', 'claimed_from', 'died_at'})
  if letter and letter.state == 'retry' and letter.operation == operation then
    redis.call('HDEL', letter_key(id), 'lease')
    move(id, letter, letter.claimed_from == 'review' and 'review' or 'failed', at)
    given_back = given_back + 1
  end
end
return given_back
