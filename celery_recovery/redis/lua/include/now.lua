-- The server's clock: unix seconds with microseconds, as text. Workers' clocks differ; this one decides.
local function now()
  local time = redis.call('TIME')
  return string.format('%d.%06d', time[1], time[2])
end
