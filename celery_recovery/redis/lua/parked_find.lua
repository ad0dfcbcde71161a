--[[
  Finds parked tasks that agree with a filter, the one that is due first in front.

  KEYS[1]  root of the store's keys

  ARGV[1]  where the last walk stopped: score; '' to begin
  ARGV[2]  where the last walk stopped: key
  ARGV[3]  tasks wanted
  ARGV[4]  tasks to look at, at most
  ARGV[5]  latest time that they are due, unix seconds; '' for any
  ARGV[6]  JSON object: field of the hash -> list of accepted values; `ids` accepts ids of tasks and keys

  Returns  a list: '1' if there may be more, else '0'; score and key of the last task looked at, '' if there was none;
           a list of key and score, in turn, of each one found
]]
-- include parked

local last_score, last_key, wanted, budget = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local latest = tonumber(ARGV[5])

local names, accepted, ids = {}, {}, nil
for name, values in pairs(cjson.decode(ARGV[6])) do
  local set = {}
  for _, one in ipairs(values) do set[one] = true end
  if name == 'ids' then ids = set else names[#names + 1], accepted[name] = name, set end
end

local function agrees(key)
  if #names == 0 and not ids and not latest then return true end
  local parked = read_parked(key, {'id', unpack(names)})
  if not parked or (latest and tonumber(parked.due) > latest) then return false end
  if ids and not ids[parked.id] and not ids[key] then return false end
  for _, name in ipairs(names) do
    if not accepted[name][parked[name]] then return false end
  end
  return true
end

local CHUNK = 200
local found, looked, offset, exhausted = {}, 0, 0, false
local seen_score, seen_key = '', ''
while looked < budget and #found < 2 * wanted and not exhausted do
  local low = last_score ~= '' and last_score or '-inf'
  local chunk = redis.call('ZRANGEBYSCORE', PARKED_DUE, low, '+inf', 'WITHSCORES', 'LIMIT', offset, CHUNK)
  exhausted = #chunk < 2 * CHUNK
  offset = offset + CHUNK
  for i = 1, #chunk, 2 do
    local key, score = chunk[i], chunk[i + 1]
    -- Equal scores are ordered by key; skip those up to where the last walk stopped.
    if last_score == '' or tonumber(score) ~= tonumber(last_score) or key > last_key then
      looked = looked + 1
      seen_score, seen_key = score, key
      if agrees(key) then found[#found + 1], found[#found + 2] = key, score end
      if #found >= 2 * wanted then
        exhausted = exhausted and i + 1 >= #chunk
        break
      end
    end
  end
end
return {exhausted and '0' or '1', seen_score, seen_key, found}
