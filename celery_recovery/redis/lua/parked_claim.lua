--[[
  Claims parked tasks for a while: those that are due, those that have waited longest for a circuit, or those that are
  named. Nobody else gets them until the lease is over; then they are due again, or in the line of their circuit,
  whatever became of their claimer.

  KEYS[1]  root of the store's keys

  ARGV[1]  token of this claim
  ARGV[2]  lease in seconds
  ARGV[3]  most tasks
  ARGV[4]  bytes of bodies after which no more are claimed
  ARGV[5]  circuit whose tasks are claimed; '' for those that are due
  ARGV[6]  seconds until that circuit is to be asked again; '' if that is known already
  ARGV[7…] keys; none: those of the circuit, or those that are due

  Returns  a list: seconds until the next one is to be looked at, as text, '' if nothing is left to wait for;
           then one list per task: key, status, and
           'claimed', row      (see parked_read)
           'leased', seconds   somebody else has it for so long
           'unknown'           it is not there
]]
-- include now parked

local token, lease, most, budget = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local at = now()
local circuit, next_look = ARGV[5], tonumber(ARGV[6])
local line = circuit == '' and PARKED_DUE or parked_circuit_key(circuit)
local keys, named, bytes = {}, #ARGV > 6, 0
for i = 7, #ARGV do keys[#keys + 1] = ARGV[i] end
if not named then keys = redis.call('ZRANGEBYSCORE', line, '-inf', at, 'LIMIT', 0, most) end

local function claim(key)
  local parked = read_parked(key, {'claim', 'claimed_until', 'size', unpack(PLACED_BY)})
  local row = parked and parked_row(key)
  if not row or #row == 0 then -- nothing is left of it (a store that evicts): an index entry alone helps nobody
    redis.call('ZREM', PARKED_DUE, key)
    redis.call('ZREM', PARKED_REFUSED, key)
    if circuit ~= '' then leave_circuit(key, circuit) end
    return {key, 'unknown'}
  end
  local left = (tonumber(parked.claimed_until) or 0) - tonumber(at)
  if parked.claim ~= '' and parked.claim ~= token and left > 0 then
    return {key, 'leased', string.format('%.3f', left)}
  end
  local until_then = tonumber(at) + lease
  -- A Redis that is full refuses to begin with a write that takes memory; and this is the way to free some.
  redis.call('HDEL', parked_key(key), 'claim', 'claimed_until')
  redis.call('HSET', parked_key(key), 'claim', token, 'claimed_until', string.format('%.6f', until_then))
  place_parked(key, parked, until_then)
  bytes = bytes + (tonumber(parked.size) or 0)
  return {key, 'claimed', row}
end

local replies = {''}
for _, key in ipairs(keys) do
  if #replies > most or bytes > budget then break end
  replies[#replies + 1] = claim(key)
end
if next_look and redis.call('ZSCORE', PARKED_CIRCUITS, circuit) then look_at(circuit, tonumber(at) + next_look) end
local first = redis.call('ZRANGE', PARKED_DUE, 0, 0, 'WITHSCORES')
if first[2] then replies[1] = string.format('%.6f', tonumber(first[2]) - tonumber(at)) end
return replies
