-- The one place where the state of a circuit changes, and what follows from it.
local records, changes = {}, {}

local function tell(record, before, event, detail)
  local change = string.format('{"before":"%s","after":"%s","cause":"%s","at":%s,"generation":%s,"scope":%s,"detail":%s}',
    before, record.state, event, precise(at), precise(record.generation), cjson.encode(record.scope), detail)
  changes[#changes + 1] = change
  redis.call('LPUSH', HISTORY, change)
  redis.call('LTRIM', HISTORY, 0, HISTORY_LIMIT - 1)
  redis.call('EXPIRE', HISTORY, 7 * KEPT)
end

-- Calls per second on all hosts together, from what each host's own circuit has seen.
local function rate_of_hosts()
  local sum = 0
  for _, host in ipairs(redis.call('ZRANGE', HOSTS, 0, -1)) do
    local record = records[host] or stored(host)
    sum = sum + (record.state == 'closed' and rate_of(record) or record.steady)
  end
  return sum
end

-- Calls per second while it was closed, for the pace of the return. While tasks return, more comes than usually comes.
local function remember_rate(record)
  if record.steady > 0 and at - (record.returned_at or -math.huge) <= policy.window then return end
  local of_hosts = record.scope == '' and policy.host_quorum > 0
  record.steady = of_hosts and rate_of_hosts() or rate_of(record)
end

local function open_for(openings)
  return math.min(policy.open_duration * 2 ^ math.min(math.max(openings - 1, 0), 60), policy.longest_open)
end

-- A host of which the circuit is open is a witness for that time. When all is well for all hosts, none is suspected.
local function follow(record)
  if record.scope == '' then
    if record.state == 'closed' then forget_hosts(redis.call('ZRANGE', HOSTS, 0, -1)) end
  elseif record.state == 'open' then
    redis.call('ZADD', WITNESSES, precise(record.open_until), record.scope)
    redis.call('EXPIRE', WITNESSES, math.ceil(policy.longest_open) + KEPT)
  else
    redis.call('ZREM', WITNESSES, record.scope)
  end
end

local function move(record, event, detail)
  local before = record.state
  if before == 'closed' then remember_rate(record) end
  record.state = TRANSITIONS[before][event]
  record.generation = math.max(record.generation + 1, math.floor(at * 1000))
  record.since, record.open_until, record.row, record.window = at, nil, 0, nil
  record.calls, record.failed, record.slow, record.rate, record.probed_at = 0, 0, 0, nil, nil
  redis.call('DEL', places_key(record.scope))
  if record.state == 'open' then
    record.openings = record.openings + 1
    record.open_until = at + open_for(record.openings)
  elseif record.state == 'closed' then
    record.openings = 0
  end
  if event == 'reset' then record.steady = 0 end
  record.whole = true
  tell(record, before, event, detail)
  follow(record)
end

-- One record, as it is now: the time that it was to be open may be over.
local function record_of(scope)
  if not records[scope] then
    local record = stored(scope)
    records[scope] = record
    if record.open_until and at >= record.open_until then move(record, 'wait_over', '{}') end
  end
  return records[scope]
end
