--[[
  Changes what is told of a letter, if nobody has changed it, and nothing has happened to it, since it was read.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the letter
  ARGV[2]  when it died (unix seconds, six digits behind the point), as it was read
  ARGV[3]  its edits, as they were read
  ARGV[4]  its message from now on, as `packing.py` writes it
  ARGV[5]  who changes it
  ARGV[6]  their note
  ARGV[7]  bytes of its body from now on
  ARGV[8]  id of the operation that it is part of, or ''
  ARGV[9]  id of the operation that must have changed it last, or '': whoever did

  Returns  'edited'; 'ours': this operation has changed it already; 'unknown': there is no such letter; 'passed': it is neither failed nor in review; 'changed': it is
           not what was read, or was changed by another operation since
]]
-- include now outcome

local id, died_at, edits, message, by, note = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local size, operation, last, MOST_VERSIONS = ARGV[7], ARGV[8], ARGV[9], 20
local known = redis.call('HMGET', letter_key(id), 'state', 'died_at', 'edits', 'size', 'edited_by')
if not known[1] then return 'unknown' end
if known[1] ~= 'failed' and known[1] ~= 'review' then return 'passed' end
if operation ~= '' and known[5] == operation then return 'ours' end
if known[2] ~= died_at or (known[3] or '0') ~= edits then return 'changed' end
if last ~= '' and known[5] ~= last then return 'changed' end
local at = now()
local about = {number = tonumber(edits), at = tonumber(at), by = by, note = note}
redis.call('RPUSH', versions_key(id), cjson.encode(about), redis.call('GET', message_key(id)))
redis.call('LTRIM', versions_key(id), -2 * MOST_VERSIONS, -1)
redis.call('SET', message_key(id), message)
if operation ~= '' then tell(operation, 'done') end
redis.call('HSET', letter_key(id), 'edits', tonumber(edits) + 1, 'edited_by', operation, 'by', by, 'note', note,
  'size', size, 'changed_at', at)
redis.call('HINCRBY', TOTALS, 'bytes', tonumber(size) - tonumber(known[4] or 0))
return 'edited'
