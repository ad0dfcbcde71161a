--[[
  Notes on letters what a person has to say, and whose they are from now on.

  KEYS[1]  root of the store's keys

  ARGV[1]  who says it
  ARGV[2]  the note, or ''
  ARGV[3]  whose they are to be: a name; '-' nobody's; '' as it is
  ARGV[4]  '1': also those that are somebody else's, else '0'
  ARGV[5]  states they may be in, joined by commas; of these, failed ones that are somebody's come into review
  ARGV[6]  id of the operation that it is part of, or ''
  ARGV[7…] ids of letters

  Returns  one status per id
           'noted'    done
           'unknown'  there is no such letter
           'passed'   it is in another state
           'taken'    it is somebody else's
]]
-- include now number read enter move outcome

local by, note, owner, is_forced, operation = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[6]
local from, MOST_NOTES = {}, 100
for name in string.gmatch(ARGV[5], '[^,]+') do from[name] = true end
local at = now()

local function set(id)
  local letter = read(id, {'died_at', 'assignee'})
  if not letter then return 'unknown' end
  if not from[letter.state] then return 'passed' end
  if owner ~= '' then
    if letter.assignee ~= '' and letter.assignee ~= owner and not is_forced then return 'taken' end
    if owner == '-' then redis.call('HDEL', letter_key(id), 'assignee')
    else redis.call('HSET', letter_key(id), 'assignee', owner) end
    if letter.state == 'failed' and owner ~= '-' then move(id, letter, 'review', at) end
  end
  if note ~= '' then
    redis.call('RPUSH', notes_key(id), cjson.encode({at = tonumber(at), by = by, text = note}))
    redis.call('LTRIM', notes_key(id), -MOST_NOTES, -1)
  end
  if operation ~= '' then tell(operation, 'done') end
  return 'noted'
end

local replies = {}
for i = 7, #ARGV do replies[#replies + 1] = set(ARGV[i]) end
return replies
