--[[
  Notes that a replay has succeeded. Any copy counts: the work is done.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the letter
  ARGV[2]  copy that succeeded
  ARGV[3]  seconds it ran
  ARGV[4]  node name of the worker
  ARGV[5]  how long and how many finished letters are kept, as in '604800/-1'; -1: no limit

  Returns  'recovered'  noted
           'finished'   it was recovered or discarded before
           'unknown'    there is no such letter
]]
-- include now number read enter move sweep outcome

local id, copy, runtime, worker, kept = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local SWEEP_LIMIT = 5
local at = now()
sweep(tonumber(at), kept, SWEEP_LIMIT)

local letter = read(id, {'died_at', 'operation'})
if not letter then return 'unknown' end
if not OPEN[letter.state] then return 'finished' end

tell_end(letter, 'recovered')
redis.call('HSET', letter_key(id), 'outcome', 'recovered', 'copy', copy, 'runtime', runtime, 'replayed_by', worker)
redis.call('HDEL', letter_key(id), 'lease')
move(id, letter, 'recovered', at)
redis.call('HINCRBY', TOTALS, 'recovered', 1)
return 'recovered'
