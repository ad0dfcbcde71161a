-- What calls tell when they have ended.
local COUNTS = '{"calls":%.0f,"failed":%.0f,"slow":%.0f}'

-- It has opened on one host more: are they enough?
local function hear_witnesses()
  local all = record_of('')
  local witnesses = redis.call('ZRANGEBYSCORE', WITNESSES, '(' .. precise(at), '+inf')
  if all.state ~= 'closed' or policy.host_quorum == 0 or #witnesses < policy.host_quorum then return end
  table.sort(witnesses)
  move(all, 'host_quorum', cjson.encode({hosts = witnesses}))
end

-- The shares of the window, and the failures in a row.
local function trip(record, calls, failed, slow)
  local event
  if calls >= policy.minimum_calls and failed / calls >= policy.failure_rate_threshold then
    event = 'failure_rate'
  elseif calls >= policy.minimum_calls and slow / calls >= policy.slow_call_rate_threshold then
    event = 'slow_call_rate'
  elseif policy.consecutive_failures > 0 and record.row >= policy.consecutive_failures then
    event = 'consecutive_failures'
  end
  if not event then return end
  move(record, event, string.format(COUNTS, calls, failed, slow))
  if record.scope ~= '' then hear_witnesses() end
end

-- All probes have been heard of: by their shares it closes, or opens again.
local function judge(record)
  local calls, failed, slow = record.calls, record.failed, record.slow
  if calls < policy.half_open_permits then return end
  local bad = failed / calls >= policy.failure_rate_threshold or slow / calls >= policy.slow_call_rate_threshold
  move(record, bad and 'probes_failed' or 'probes_passed', string.format(COUNTS, calls, failed, slow))
  if bad and record.scope ~= '' then hear_witnesses() end
end

-- Parked tasks return more slowly when calls fail.
local function slow_down()
  local all = record_of('')
  if all.state == 'closed' and all.rate then touch(all, 'rate', math.max(first_rate(all), all.rate / 2)) end
end

local function report(generation, calls, failed, slow, token, scope)
  local record = record_of(scope)
  if record.fresh or generation ~= record.generation then return end
  if record.state == 'closed' and calls > 0 then
    local window = window_of(record)
    add(window, calls, failed, slow)
    touch(record, 'window', cmsgpack.pack(window))
    touch(record, 'row', calls > failed and failed or record.row + failed)
    trip(record, window[2], window[3], window[4])
    if failed > 0 then slow_down() end
  elseif record.state == 'half_open' and redis.call('ZREM', places_key(scope), token) == 1 and calls > 0 then
    touch(record, 'calls', record.calls + calls)
    touch(record, 'failed', record.failed + failed)
    touch(record, 'slow', record.slow + slow)
    judge(record)
  end
end
