--[[
  Claims letters for a replay: each gets a token (one per life: claimed again after a crash, it is the same) and a lease.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the operation that claims
  ARGV[2]  lease in seconds: how long nobody else may claim them
  ARGV[3]  most replays that a letter may have; -1: any number
  ARGV[4]  states to claim from, joined by commas: failed, review, retry, replayed
  ARGV[5…] ids of letters

  Returns  one list per id: id, status, detail …
           'claimed', row        the letter hash as JSON, then the message (see letter_read)
           'unknown'             there is no such letter
           'leased', seconds     another operation has it for so long
           'exhausted', replays  it has been replayed often enough
           'ours'                this operation has replayed it already
           'passed', state       it is in a state that was not asked for
]]
-- include now number read enter move row outcome

local operation, lease, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local from = {}
for state in string.gmatch(ARGV[4], '[^,]+') do from[state] = true end

-- A life that was claimed but never started keeps its number, and so its token.
local function next_number(letter)
  local unstarted = letter.copy == '' and (letter.state == 'retry' or letter.state == 'replayed')
  return unstarted and tonumber(letter.number) or (tonumber(letter.replays) or 0) + 1
end

local at = now()

local function claim(id)
  local letter = read(id, {'operation', 'lease', 'number', 'replays', 'copy', 'died_at', 'claimed_from'})
  if not letter or redis.call('EXISTS', message_key(id)) == 0 then return {id, 'unknown'} end
  local is_sent = letter.copy ~= '' or letter.state == 'replayed'
  if is_sent and letter.state ~= 'retry' and letter.operation == operation then return {id, 'ours'} end
  if not from[letter.state] then return {id, 'passed', letter.state} end
  local left = (tonumber(letter.lease) or 0) - tonumber(at)
  if letter.state == 'retry' and letter.operation ~= operation and left > 0 then
    return {id, 'leased', string.format('%.3f', left)}
  end
  local number = next_number(letter)
  if most >= 0 and number > most then return {id, 'exhausted', letter.replays} end

  if letter.state == 'replayed' and letter.operation ~= operation then tell(letter.operation, 'ended') end
  if letter.state ~= 'retry' then
    redis.call('HSET', letter_key(id), 'claimed_from', letter.state == 'review' and 'review' or 'failed')
  end
  redis.call('HSET', letter_key(id), 'operation', operation, 'number', number, 'token', id .. ':' .. number,
    'copy', '', 'outcome', '', 'lease', string.format('%.6f', tonumber(at) + lease))
  move(id, letter, 'retry', at)
  return {id, 'claimed', row(id)}
end

local replies = {}
for i = 5, #ARGV do replies[#replies + 1] = claim(ARGV[i]) end
return replies
