--[[
  Does what a person asked for with a group: resolve, ignore, open again.

  KEYS[1]  root of the store's keys

  ARGV[1]  fingerprint
  ARGV[2]  state it comes to: 'open', 'resolved' or 'ignored'
  ARGV[3]  who asked
  ARGV[4]  why, in their words
  ARGV[5]  of a resolved one: the version of the code that mends it, or ''
  ARGV[6]  of an ignored one: until when, unix s, or ''
  ARGV[7]  of an ignored one: for how many more deaths, or ''

  Returns  'done'     it is
           'unknown'  there is no such group
]]
-- include now

local fingerprint, state, by, note, version, over, more = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local key, at = group_key(fingerprint), now()
local total = redis.call('HGET', key, 'total')
if not total then return 'unknown' end
redis.call('HDEL', key, 'until', 'quota', 'old_versions')
redis.call('HSET', key, 'state', state, 'by', by, 'note', note, 'at', at, 'version', version)
if over ~= '' then redis.call('HSET', key, 'until', over) end
if more ~= '' then redis.call('HSET', key, 'quota', tonumber(total) + tonumber(more)) end
if state == 'resolved' then
  local old = {}
  for _, field in ipairs(redis.call('HKEYS', group_parts_key(fingerprint))) do
    local seen = string.match(field, '^version (.+)$')
    if seen and seen ~= version then old[seen] = true end
  end
  if next(old) then redis.call('HSET', key, 'old_versions', cjson.encode(old)) end
end
return 'done'
