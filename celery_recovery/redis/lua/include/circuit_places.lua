-- Places for probes: token -> end of its lease. A lease that ended a whole lease ago is forgotten.
local function held_places(record)
  return redis.call('ZCOUNT', places_key(record.scope), '(' .. precise(at), '+inf')
end

local function free_places(record) return policy.half_open_permits - record.calls - held_places(record) end

local function take_place(record, token)
  local key = places_key(record.scope)
  local lease = redis.call('ZSCORE', key, token)
  if lease and tonumber(lease) > at then return true end
  if free_places(record) <= 0 then return false end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', precise(at - policy.permit_lease))
  redis.call('ZADD', key, precise(at + policy.permit_lease), token)
  redis.call('EXPIRE', key, math.ceil(2 * policy.permit_lease) + KEPT)
  return true
end

-- Seconds until the first place becomes free; 0: there is one.
local function wait_for_place(record)
  if free_places(record) > 0 then return 0 end
  local first = redis.call('ZRANGEBYSCORE', places_key(record.scope), '(' .. precise(at), '+inf', 'WITHSCORES',
    'LIMIT', 0, 1)
  return first[2] and tonumber(first[2]) - at or 0
end
