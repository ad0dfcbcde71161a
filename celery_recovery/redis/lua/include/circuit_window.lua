-- The window: which part is the last one, then calls, failed and slow ones of all parts together, then those of each.
local function width() return policy.window / BUCKETS end

local function window_of(record)
  if record.window and record.window ~= '' then return cmsgpack.unpack(record.window) end
  local window = {}
  for i = 1, 4 + 3 * BUCKETS do window[i] = 0 end
  return window
end

-- Forget what is too old. A clock that went back changes nothing.
local function advance(window)
  local index = math.floor(at / width())
  for part = math.max(window[1] + 1, index - BUCKETS + 1), index do
    local first = 5 + 3 * (part % BUCKETS)
    for n = 0, 2 do
      window[2 + n] = window[2 + n] - window[first + n]
      window[first + n] = 0
    end
  end
  window[1] = math.max(window[1], index)
end

local function add(window, ...)
  advance(window)
  local first = 5 + 3 * (window[1] % BUCKETS)
  for n, count in ipairs({...}) do
    window[1 + n] = window[1 + n] + count
    window[first + n - 1] = window[first + n - 1] + count
  end
end

-- Calls per second since it closed, or in the window.
local function rate_of(record)
  local window = window_of(record)
  advance(window)
  return window[2] / math.max(math.min(at - record.since, policy.window), 1)
end
