-- The record of a group: letters with one fingerprint, those that are gone included. Kept for 90 days after a death.
local GROUP_KEPT, MOST_GROUPS, MOST_PARTS = 90 * 86400, 10000, 200
local HOUR, HOURS, FACTOR = 3600, 48, 3

local function forget_group(fingerprint)
  redis.call('DEL', group_key(fingerprint), group_parts_key(fingerprint))
  redis.call('ZREM', GROUPS, fingerprint)
end

-- One more death from this queue, worker, version of the code. Beyond so many different ones they are counted as one.
-- Of a version it is kept when it was met first.
local function count_parts(key, parts, died_at)
  for name, value in pairs(parts) do
    if value ~= '' then
      local field = name .. ' ' .. value
      if redis.call('HEXISTS', key, field) == 0 and redis.call('HLEN', key) >= MOST_PARTS then field = name .. ' …' end
      redis.call('HINCRBY', key, field, 1)
      if name == 'version' then
        local since = tonumber(redis.call('HGET', key, 'since ' .. value))
        if not since or died_at < since then redis.call('HSET', key, 'since ' .. value, string.format('%.6f', died_at)) end
      end
    end
  end
  redis.call('EXPIRE', key, GROUP_KEPT)
end

-- One more death in its hour; returns how many there are, and whether that is many for this group: ten, a hundred … and
-- so many times what an hour of the last day had.
local function count_hour(key, died_at, at)
  local hour, now_hour = math.floor(died_at / HOUR), math.floor(at / HOUR)
  if hour <= now_hour - HOURS or hour > now_hour then return false end
  local count = redis.call('HINCRBY', key, 'h' .. hour, 1)
  if count == 1 then
    for _, field in ipairs(redis.call('HKEYS', key)) do
      local old = tonumber(string.match(field, '^h(%d+)$'))
      if old and old <= now_hour - HOURS then redis.call('HDEL', key, field) end
    end
  end
  if hour < now_hour or not string.match(tostring(count), '^10+$') then return false end
  local before = {}
  for n = 1, 24 do before[n] = 'h' .. (hour - n) end
  local sum = 0
  for _, value in ipairs(redis.call('HMGET', key, unpack(before))) do sum = sum + (tonumber(value) or 0) end
  return count >= FACTOR * sum / 24
end

-- What a death means to a group that somebody has resolved or ignored; returns the state that it comes to, and the news.
local function judged(group, version, died_at, at)
  if group.state == 'resolved' then
    -- It died before that, or in code that was known to have the fault.
    if died_at <= tonumber(group.at) then return 'resolved', '' end
    local old = version ~= '' and version ~= group.version and cjson.decode(group.old_versions or '{}')[version]
    if old then return 'resolved', '' end
    return 'open', 'regressed'
  elseif group.state == 'ignored' then
    local over = group['until'] and at > tonumber(group['until'])
    local full = group.quota and tonumber(group.total) + 1 > tonumber(group.quota)
    if over or full then return 'open', 'unignored' end
    return 'ignored', ''
  end
  return 'open', ''
end

local GROUP_FIELDS = {'state', 'at', 'version', 'old_versions', 'until', 'quota', 'total', 'first_seen', 'last_seen'}

-- Counts a death; returns what is news: '' for nothing, 'new', 'growing', 'regressed' or 'unignored'.
local function count_death(letter, facts, at)
  local fingerprint, died_at = letter.fingerprint, tonumber(letter.died_at)
  local key = group_key(fingerprint)
  local group = {}
  for i, value in ipairs(redis.call('HMGET', key, unpack(GROUP_FIELDS))) do group[GROUP_FIELDS[i]] = value or nil end
  local state, news = judged(group, facts.version, died_at, at)
  if not group.total then news = 'new' end
  local first = math.min(died_at, tonumber(group.first_seen) or died_at)
  local last = math.max(died_at, tonumber(group.last_seen) or died_at)
  redis.call('HSET', key, 'task', letter.task, 'error_type', letter.error_type, 'exception', letter.exception,
    'message', facts.message, 'code', facts.code, 'state', state, 'first_seen', string.format('%.6f', first),
    'last_seen', string.format('%.6f', last))
  redis.call('HINCRBY', key, 'total', 1)
  local many = count_hour(key, died_at, at)
  if news == 'regressed' then
    redis.call('HINCRBY', key, 'regressions', 1)
    redis.call('HSET', key, 'regressed_at', string.format('%.6f', at), 'regressed_in', facts.version)
  elseif many and news == '' and state == 'open' then
    news = 'growing'
  end
  redis.call('EXPIRE', key, GROUP_KEPT)
  count_parts(group_parts_key(fingerprint), {queue = letter.queue, worker = facts.worker, version = facts.version},
    died_at)
  redis.call('ZADD', GROUPS, string.format('%.6f', last), fingerprint)
  if news == 'new' and redis.call('ZCARD', GROUPS) > MOST_GROUPS then
    for _, oldest in ipairs(redis.call('ZRANGE', GROUPS, 0, 9)) do
      if redis.call('HEXISTS', open_key('fingerprint'), oldest) == 0 then forget_group(oldest) end
    end
  end
  return news
end
