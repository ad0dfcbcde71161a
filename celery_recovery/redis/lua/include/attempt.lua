-- What is known of one life of a task: see custody.py.
local GRACE = 15 -- seconds in which a worker need not have said yet what it runs: three of its beats

local function attempt_of(life)
  local names = {'step', 'copy', 'state', 'boot', 'worker', 'at', 'next', 'revoked', 'crashes', 'seen', 'ended', 'asked'}
  local values = redis.call('HMGET', attempt_key(life), unpack(names))
  if not values[1] then return nil end
  local known = {}
  for i, name in ipairs(names) do known[name] = values[i] or '' end
  known.step, known.crashes = tonumber(known.step) or 0, tonumber(known.crashes) or 0
  return known
end

local function is_alive(boot) return boot ~= '' and redis.call('EXISTS', worker_key(boot)) == 1 end

-- Does the worker that started it still run it? It says so itself with every beat, but for what it has just begun.
local function is_running(known, life, at)
  if not is_alive(known.boot) then return false end
  if redis.call('SISMEMBER', running_key(known.boot), life) == 1 then return true end
  return tonumber(at) - (tonumber(known.at) or 0) < GRACE
end

local function is_revoked(known, copy)
  return copy ~= '' and string.find(' ' .. known.revoked .. ' ', ' ' .. copy .. ' ', 1, true) ~= nil
end

-- The copy that was announced is not to run any more; the last few are remembered.
local function revoked_with(known)
  if known.next == '' then return known.revoked end
  local kept = {}
  for copy in string.gmatch(known.revoked, '%S+') do kept[#kept + 1] = copy end
  kept[#kept + 1] = known.next
  return table.concat(kept, ' ', math.max(1, #kept - 4))
end

-- Of the tasks that have crashed a worker each worker runs one at a time; this one is through.
local function leave_the_dock(boot, life)
  if boot ~= '' and redis.call('GET', suspect_key(boot)) == life then redis.call('DEL', suspect_key(boot)) end
end
