--[[
  Counts the groups that have open letters by what people have said of them.

  KEYS[1]  root of the store's keys

  ARGV[1]  most groups that are looked at, those that died last

  Returns  a flat list of state and number of groups
]]

local open, counts = open_key('fingerprint'), {}
for _, fingerprint in ipairs(redis.call('ZREVRANGE', GROUPS, 0, tonumber(ARGV[1]) - 1)) do
  if redis.call('HEXISTS', open, fingerprint) == 1 then
    local state = redis.call('HGET', group_key(fingerprint), 'state') or 'open'
    counts[state] = (counts[state] or 0) + 1
  end
end

local reply = {}
for state, count in pairs(counts) do
  reply[#reply + 1], reply[#reply + 2] = state, count
end
return reply
