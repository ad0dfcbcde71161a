--[[
  Walks one index by time of death and keeps the ids of letters that agree with the filter. It looks at a bounded number
  of letters and says where to go on, so that a long walk never blocks the server.

  KEYS[1]  root of the store's keys

  ARGV[1]  dimension of the index: 'all', 'state', 'task', 'error_type', 'fingerprint', 'queue',
           'parent'
  ARGV[2]  value in that dimension ('' for 'all')
  ARGV[3]  'newest' or 'oldest' first
  ARGV[4]  earliest time of death, unix s, or '-inf'
  ARGV[5]  latest time of death, unix s, or '+inf'
  ARGV[6]  where the last walk stopped: time of death; '' to begin
  ARGV[7]  where the last walk stopped: id
  ARGV[8]  letters wanted
  ARGV[9]  letters to look at, at most
  ARGV[10] JSON object: field of the letter hash -> list of accepted values

  Returns  '1' if there may be more, else '0'
           time of death of the last letter looked at, '' if there was none
           its id
           a list of id and time of death, in turn, of each letter found
]]

local dimension, value, order = ARGV[1], ARGV[2], ARGV[3]
local low, high, last_time, last_id = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local wanted, budget = tonumber(ARGV[8]), tonumber(ARGV[9])

local names, accepted = {}, {}
for name, values in pairs(cjson.decode(ARGV[10])) do
  names[#names + 1] = name
  accepted[name] = {}
  for _, one in ipairs(values) do accepted[name][one] = true end
end

local function agrees(id)
  if #names == 0 then return true end
  local values = redis.call('HMGET', letter_key(id), unpack(names))
  for i, name in ipairs(names) do
    if not accepted[name][values[i] or ''] then return false end
  end
  return true
end

local key = dimension == 'all' and ALL or index_key(dimension, value)
local newest = order == 'newest'
if last_time ~= '' then
  if newest then high = last_time else low = last_time end
end

-- Equal times are ordered by id; skip those up to where the last walk stopped.
local function is_behind(id, time)
  if last_time == '' or tonumber(time) ~= tonumber(last_time) then return false end
  if newest then return id >= last_id end
  return id <= last_id
end

local found, looked, offset, exhausted = {}, 0, 0, false
local seen_time, seen_id = '', ''
local CHUNK = 200
while looked < budget and #found < 2 * wanted and not exhausted do
  local chunk
  if newest then
    chunk = redis.call('ZREVRANGEBYSCORE', key, high, low, 'WITHSCORES', 'LIMIT', offset, CHUNK)
  else
    chunk = redis.call('ZRANGEBYSCORE', key, low, high, 'WITHSCORES', 'LIMIT', offset, CHUNK)
  end
  exhausted = #chunk < 2 * CHUNK
  offset = offset + CHUNK
  for i = 1, #chunk, 2 do
    local id, time = chunk[i], chunk[i + 1]
    if not is_behind(id, time) then
      looked = looked + 1
      seen_time, seen_id = time, id
      if agrees(id) then found[#found + 1], found[#found + 2] = id, time end
      if #found >= 2 * wanted then
        exhausted = exhausted and i + 1 >= #chunk
        break
      end
    end
  end
end
return {exhausted and '0' or '1', seen_time, seen_id, found}
