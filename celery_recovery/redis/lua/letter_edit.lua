--[[
  Changes what is told of a letter, if nobody has changed it, and nothing has happened to it, since it was read.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the letter
  ARGV[2]  its death, as it was read
  ARGV[3]  its edits, as they were read
  ARGV[4]  its message from now on, as `packing.py` writes it
  ARGV[5]  who changes it
  ARGV[6]  their note

  Returns  'edited'; 'unknown': there is no such letter; 'passed': it is neither failed nor in review; 'changed': it is
           not what was read
]]
-- include now

local id, death, edits, message, by, note = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local known = redis.call('HMGET', letter_key(id), 'state', 'death', 'edits')
if not known[1] then return 'unknown' end
if known[1] ~= 'failed' and known[1] ~= 'review' then return 'passed' end
if known[2] ~= death or (known[3] or '0') ~= edits then return 'changed' end
redis.call('SET', message_key(id), message)
redis.call('HSET', letter_key(id), 'edits', tonumber(edits) + 1, 'by', by, 'note', note, 'changed_at', now())
return 'edited'
