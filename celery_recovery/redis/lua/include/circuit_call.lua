-- What every script on a circuit is told: when it is now, by which settings, and the name of this very call.
local at, policy, call

local function begin(clock, settings, name)
  at, policy, call = tonumber(clock == '' and now() or clock), {}, name
  local values = {struct.unpack('>' .. string.rep('d', #POLICY), settings)}
  for i, field in ipairs(POLICY) do policy[field] = values[i] end
end

-- A client whose connection breaks asks once more, and does not know whether it was heard: what counts, counts once.
local REMEMBERED = 10000 -- milliseconds

local function is_first() return redis.call('SET', told_key(call), '', 'NX', 'PX', REMEMBERED) ~= false end

local function precise(number) return string.format('%.17g', number) end
