--[[
  Notes how a replay ended when it neither succeeded nor died into a letter of its own: ignored, rejected, revoked …

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the letter
  ARGV[2]  copy that ended
  ARGV[3]  state it comes to: 'failed', 'review', 'discarded', 'recovered'
  ARGV[4]  outcome, in a word or a sentence
  ARGV[5]  how long and how many finished letters are kept, as in '604800/-1'; -1: no limit

  Returns  'settled'  noted
           'stale'    that copy is not the one the letter waits for
           'unknown'  there is no such letter
]]
-- include now number read enter move sweep outcome

local id, copy, state, outcome, kept = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local SWEEP_LIMIT = 5
local at = now()
sweep(tonumber(at), kept, SWEEP_LIMIT)

local letter = read(id, {'copy', 'died_at', 'operation'})
if not letter then return 'unknown' end
if letter.copy ~= copy or letter.state ~= 'replayed' then return 'stale' end

tell(letter.operation, state == 'recovered' and 'recovered' or 'ended')
redis.call('HSET', letter_key(id), 'outcome', outcome)
move(id, letter, state, at)
if not OPEN[state] then redis.call('HINCRBY', TOTALS, state, 1) end
return 'settled'
