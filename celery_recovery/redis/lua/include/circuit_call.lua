-- What every script on a circuit is told: when it is now, by which settings, and the name of this very call.
local at, policy, call, settings

local function go_by(packed)
  policy, settings = {}, packed
  local values = {struct.unpack('>' .. string.rep('d', #POLICY), packed)}
  for i, field in ipairs(POLICY) do policy[field] = values[i] end
end

local function begin(clock, packed, name)
  at, call = tonumber(clock == '' and now() or clock), name
  go_by(packed)
end

-- Who neither calls nor reports may not know what the tasks say of the circuit: what they said last counts, if anything.
local function go_by_what_is_known()
  local known = redis.call('HGET', record_key(''), 'settings')
  if known and #known == #settings then go_by(known) end
end

-- A client whose connection breaks asks once more, and does not know whether it was heard: what counts, counts once.
local REMEMBERED = 10000 -- milliseconds

local function is_first() return redis.call('SET', told_key(call), '', 'NX', 'PX', REMEMBERED) ~= false end

local function precise(number) return string.format('%.17g', number) end
