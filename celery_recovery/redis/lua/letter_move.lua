--[[
  Does what a person asked for: discard, take into review, put back.

  KEYS[1]  root of the store's keys

  ARGV[1]  state they come to: 'discarded', 'review' or 'failed'
  ARGV[2]  states they may come from, joined by commas
  ARGV[3]  who asked
  ARGV[4]  why, in their words
  ARGV[5]  how long and how many finished letters are kept, as in '604800/-1'; -1: no limit
  ARGV[6]  id of the operation that it is part of, or ''
  ARGV[7…] ids of letters

  Returns  the ids that were moved
]]
-- include now number read enter move sweep outcome

local state, by, note, kept, operation = ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local from = {}
for name in string.gmatch(ARGV[2], '[^,]+') do from[name] = true end

local at, moved = now(), {}
for i = 7, #ARGV do
  local id = ARGV[i]
  local letter = read(id, {'died_at', 'operation'})
  if letter and from[letter.state] and letter.state ~= state then
    if letter.state == 'replayed' then tell(letter.operation, 'ended') end
    tell(operation, 'done')
    redis.call('HSET', letter_key(id), 'by', by, 'note', note)
    redis.call('HDEL', letter_key(id), 'lease')
    move(id, letter, state, at)
    if state == 'discarded' then redis.call('HINCRBY', TOTALS, 'discarded', 1) end
    moved[#moved + 1] = id
  end
end
sweep(tonumber(at), kept, #ARGV)
return moved
