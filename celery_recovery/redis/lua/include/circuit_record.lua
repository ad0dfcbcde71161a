-- The record of a circuit, that of all ('') or that of one host: read with one call, written with one. What happens to
-- it is told in circuit/machine.py, in the same order and the same names.
local TEXTS = 3 -- the first of the fields are texts, the others numbers
local FIELDS = {'state', 'window', 'settings', 'generation', 'since', 'open_until', 'openings', 'row', 'steady', 'calls', 'failed',
  'slow', 'rate', 'paced_at', 'credit', 'returned_at', 'probed_at', 'kept_at'}
local KEPT, KEPT_AGAIN = 86400, 600 -- seconds that an unused record stays, and within which that is not said again
local MOST_HOSTS = 1000

-- As it is stored. One that is not there is closed, and its generation above all that it had before it was lost.
local function stored(scope)
  local values = redis.call('HMGET', record_key(scope), unpack(FIELDS))
  local record = {scope = scope, touched = {}}
  if not values[1] then
    record.fresh, record.state, record.generation, record.since = true, 'closed', math.floor(at * 1000), at
    record.openings, record.row, record.steady, record.paced_at, record.credit = 0, 0, 0, at, 0
    record.calls, record.failed, record.slow = 0, 0, 0
    return record
  end
  for i, name in ipairs(FIELDS) do
    if i <= TEXTS then record[name] = values[i] else record[name] = tonumber(values[i]) end
  end
  return record
end

local function touch(record, name, value)
  record[name] = value
  record.touched[#record.touched + 1] = name
end

-- What it goes by is kept with it, for those who do not know.
local function keep_settings(record)
  if record.settings ~= settings then touch(record, 'settings', settings) end
end

local function forget_hosts(hosts)
  for _, host in ipairs(hosts) do
    redis.call('DEL', record_key(host), places_key(host))
    redis.call('ZREM', HOSTS, host)
    redis.call('ZREM', WITNESSES, host)
  end
end

-- Beyond so many, the host that was not heard of for longest is forgotten.
local function keep_host(host, seconds)
  redis.call('ZADD', HOSTS, precise(at), host)
  redis.call('EXPIRE', HOSTS, seconds)
  local beyond = redis.call('ZCARD', HOSTS) - MOST_HOSTS
  if beyond > 0 then forget_hosts(redis.call('ZRANGE', HOSTS, 0, beyond - 1)) end
end

-- What a person has set stays until a person changes it; all else goes when it was not used for long.
local function keep(record)
  local key = record_key(record.scope)
  local longest = math.max(policy.longest_open, policy.window, policy.permit_lease)
  local seconds = math.ceil(KEPT + math.max(longest, (record.open_until or at) - at))
  if not record.open_until and (record.state == 'forced_open' or record.state == 'disabled') then
    redis.call('PERSIST', key)
  else
    redis.call('EXPIRE', key, seconds)
  end
  if record.scope ~= '' then keep_host(record.scope, seconds) end
end

-- Only what has changed; all of it when it is new, or another state has begun.
local function save(record)
  if not record.whole and #record.touched == 0 then return end
  local again = record.whole or at - (record.kept_at or 0) >= KEPT_AGAIN
  if again then touch(record, 'kept_at', at) end
  local fields = {}
  for _, name in ipairs(record.whole and FIELDS or record.touched) do
    local value = record[name]
    fields[#fields + 1] = name
    fields[#fields + 1] = type(value) == 'number' and precise(value) or value or ''
  end
  redis.call('HSET', record_key(record.scope), unpack(fields))
  if again then keep(record) end
end
