--[[
  Asks whether a copy of a replayed letter may run. The first copy of a life wins; it may come again, redelivered or as
  its own retry. Coming again as fresh as the first time, it was published twice: the first reply of the broker was lost.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the letter
  ARGV[2]  token, as the message has it
  ARGV[3]  copy, as the message has it
  ARGV[4]  node name of the worker
  ARGV[5]  '1' for a first delivery of a first attempt, else '0'
  ARGV[6]  names this question: asked again because the answer was lost, it is answered as before

  Returns  'run'   go on
           'twin'  another copy has started, or this one's end is known: drop it
           'gone'  the letter was discarded meanwhile: drop it
]]
-- include now number read enter move outcome

local id, token, copy, worker, is_fresh, asked = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1', ARGV[6]
local letter = read(id, {'token', 'number', 'replays', 'copy', 'died_at', 'asked', 'operation'})
if not letter then return 'run' end -- Redis lost its data; the task must not be lost with it
if letter.state == 'discarded' then return 'gone' end

local number = tonumber(string.match(token, ':(%d+)$')) or 0
-- The life that is on: the one claimed last; or one whose claim Redis has lost.
local is_current = token == letter.token
local is_newer = number > math.max(tonumber(letter.number) or 0, tonumber(letter.replays))
if not is_current and not is_newer then return 'twin' end

if is_current and letter.copy ~= '' then
  local is_dead = letter.state == 'failed' or letter.state == 'review'
  is_fresh = is_fresh and letter.asked ~= asked
  return letter.copy == copy and not is_dead and not is_fresh and 'run' or 'twin'
end
if is_current and letter.state == 'recovered' then return 'twin' end

if letter.state ~= 'replayed' then
  redis.call('HINCRBY', TOTALS, 'replayed', 1)
  if is_current then tell(letter.operation, 'done') end
end
redis.call('HSET', letter_key(id), 'token', token, 'number', number, 'replays', number,
  'copy', copy, 'replayed_by', worker, 'asked', asked)
redis.call('HDEL', letter_key(id), 'lease')
move(id, letter, 'replayed', now())
return 'run'
