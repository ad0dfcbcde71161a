-- The record that says whether this host may call: that of all, and when that is closed the host's own.
local function record_for(host)
  local record = record_of('')
  if policy.host_quorum > 0 and host ~= '' and record.state == 'closed' then record = record_of(host) end
  return record
end

local function retry_after(record, permitted)
  if permitted or record.state == 'closed' or record.state == 'disabled' then return 0 end
  if record.state == 'half_open' then return wait_for_place(record) end
  return record.open_until and math.max(record.open_until - at, 0)
end

-- The transitions of this call, as JSON; also when it is heard for the second time.
local function told(again)
  if #changes > 0 then
    local text = '[' .. table.concat(changes, ',') .. ']'
    redis.call('SET', told_key(call), text, 'PX', REMEMBERED)
    return text
  end
  return again and redis.call('GET', told_key(call)) or ''
end

local function answer(record, permitted, again)
  if record.fresh then record.whole = true end
  keep_settings(records[''])
  for _, one in pairs(records) do save(one) end
  local wait = retry_after(record, permitted)
  return {permitted and 1 or 0, record.state, precise(record.generation), wait and precise(wait) or '', record.scope,
    told(again or record.state == 'half_open')}
end
