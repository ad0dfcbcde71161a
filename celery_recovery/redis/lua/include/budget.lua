-- The window of a retry budget, in parts: see circuit/budget.py, where the same is told in Python.
local PARTS = 10
local ANSWERED = 10 -- seconds in which a question that is repeated, its answer lost, is answered as before
local KEPT = 86400 -- seconds after which a budget that nobody uses is forgotten

-- Microseconds: what a test says, or the server's clock.
local function instant(clock)
  if clock ~= '' then return tonumber(clock) end
  return tonumber((string.gsub(now(), '%.', '')))
end

-- What this asker was told when it asked this very question; nil: it never did.
local function answered(asker, number)
  local known = redis.call('GET', asked_key(asker))
  if not known then return nil end
  local last, answer = string.match(known, '^(%d+) (%d+)$')
  return last == number and tonumber(answer) or nil
end

local function remember(asker, number, answer)
  redis.call('SET', asked_key(asker), number .. ' ' .. answer, 'EX', ANSWERED)
end

-- Calls and retries of the window that ends at `at`, totals by name, and the fields that no window has any more. Of
-- calls only parts that lie wholly in the window count, of retries each that reaches into it: never too many are granted.
local function looked_at(at, window)
  local flat, width = redis.call('HGETALL', BUDGET), window / PARTS
  local sums, totals, old = {calls = 0, retries = 0}, {granted = 0, refused = 0}, {}
  for i = 1, #flat, 2 do
    local kind, start = string.match(flat[i], '^(%l+):(%d+)$')
    local count = tonumber(flat[i + 1])
    if not kind then
      totals[flat[i]] = count
    elseif tonumber(start) + width <= at - window or tonumber(start) > at + window then
      old[#old + 1] = flat[i]
    elseif kind == 'retries' or (tonumber(start) > at - window and tonumber(start) <= at) then
      sums[kind] = sums[kind] + count
    end
  end
  return sums, totals, old
end

-- Counts in the part that `at` lies in.
local function count_part(kind, at, window, count)
  redis.call('HINCRBY', BUDGET, kind .. ':' .. string.format('%.0f', at - at % (window / PARTS)), count)
end

-- Calls that were made `age` ago count from then on.
local function pay_in(at, window, calls, age)
  if calls > 0 and age < window then count_part('calls', at - age, window, calls) end
end

-- Forget what no window has any more.
local function tidy(window, old)
  if #old > 0 then redis.call('HDEL', BUDGET, unpack(old)) end
  redis.call('EXPIRE', BUDGET, math.max(KEPT, math.ceil(window / 500000)))
end
